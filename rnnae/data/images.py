"""Image files and images on disk as uint8 arrays of one shape.

Nothing is guessed: an image that is damaged, enormous or has the wrong number of channels raises a
DataError, which names the image and says what to do.
"""

import copy
import io
import struct
import warnings
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import IO

import numpy as np
from PIL import Image, ImageOps

from rnnae.errors import ConfigError, DataError, one_line

MAX_PIXELS = 16_000_000  # of an image file
_RECORDS_AT_ONCE = 4096  # encoded and decoded images of a large set would not both fit in memory
_FORMATS = ("PNG", "JPEG", "WEBP", "BMP")
_CHANNELS = {"1": 1, "L": 1, "RGB": 3, "P": 3}  # of the Pillow modes that convert without loss


class Images:
    """The images of a split on disk, used like a uint8 array of shape (N, H, W, C).

    An index is a slice, or a list or array of integers. The images are decoded at every access.
    Indexing raises a DataError if the records on disk are damaged.
    """

    dtype = np.dtype(np.uint8)

    def __init__(
        self,
        path: Path,
        records: Sequence,
        *,
        stored_shape: tuple[int | None, ...],
        shape: tuple[int, int, int],
        scale: int,
    ):
        """
        Args:
            path: the directory of the records, for error messages.
            records: a TFDS data source of dicts, whose `image` is an encoded image.
            stored_shape: H, W, C of the stored images; None where it differs between images.
            shape: H, W, C to resize and crop to, used if `stored_shape` has a None.
            scale: a factor of the stored intensities.
        """
        self._path, self._records, self._scale = path, records, scale
        self._resize = None in stored_shape
        self.shape = (len(records), *(shape if self._resize else stored_shape))

    def __len__(self) -> int:
        return self.shape[0]

    def first(self, n: int) -> "Images":
        """Only the first n images, or all if there are fewer."""
        head = copy.copy(self)
        head.shape = (min(n, len(self)), *self.shape[1:])
        return head

    def __getitem__(self, indices) -> np.ndarray:
        if isinstance(indices, slice):
            indices = range(*indices.indices(len(self)))
        indices = [int(i) for i in indices]
        images_BHWC = np.empty((len(indices), *self.shape[1:]), np.uint8)
        try:
            for start in range(0, len(indices), _RECORDS_AT_ONCE):
                records = self._records.__getitems__(indices[start : start + _RECORDS_AT_ONCE])
                for i, record in enumerate(records, start):
                    images_BHWC[i] = self._decode(record["image"], indices[i])
        except (RuntimeError, OSError, ValueError) as error:  # array_record verifies checksums
            raise DataError(
                f"{self._path} is damaged ({one_line(error)}): remove this folder, and the next "
                f"run prepares it again"
            ) from error
        return images_BHWC * np.uint8(self._scale)

    def _decode(self, encoded: bytes, index: int) -> np.ndarray:
        file = io.BytesIO(encoded)
        if self._resize:
            return read_image(file, self.shape[1:], name=f"image {index} of {self._path}")
        with Image.open(file, formats=("PNG", "JPEG")) as image:
            return np.asarray(image).reshape(self.shape[1:])


ImageArray = np.ndarray | Images  # uint8 (N, H, W, C), in memory or on disk


def check_shape(name: str, shape: tuple[int, int, int]) -> None:
    """Raises ConfigError unless `shape` is a height, a width, and 1 or 3 channels."""
    if len(shape) != 3 or min(shape) < 1 or shape[2] not in (1, 3):
        raise ConfigError(
            f"the images of {name} have no fixed shape: set --config.data.shape to (height, width, "
            f"channels), with 1 channel for grey or 3 for RGB, for example (64,64,3); it is "
            f"{tuple(shape)}"
        )


def read_image(path: Path | IO[bytes], shape: tuple[int, int, int], name: str = "") -> np.ndarray:
    """An image file as uint8 (H, W, C): turned upright by its EXIF tag, resized and cropped.

    `name` is what error messages call the image; the default is its path.
    """
    name = name or str(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            image = Image.open(path, formats=_FORMATS)  # reads only the header, which has the size
        with image:
            if image.width * image.height > MAX_PIXELS:
                raise DataError(_too_large(name, f" ({image.width}x{image.height})"))
            image.load()
            return resize_and_crop(ImageOps.exif_transpose(image), shape, name)
    except DataError:
        raise
    except Image.DecompressionBombError as error:
        raise DataError(_too_large(name)) from error
    except Exception as error:  # Pillow's decoders raise errors of many types for damaged files
        raise DataError(
            f"{name} is not a complete PNG, JPEG, WebP or BMP image ({one_line(error)}): replace "
            f"or remove it"
        ) from error


def resize_and_crop(image: Image.Image, shape: tuple[int, int, int], name: str) -> np.ndarray:
    """uint8 (H, W, C): the largest centred crop with the aspect ratio of `shape`, resized to it.

    Raises DataError if the image does not have the channels of `shape`.
    """
    height, width, channels = shape
    wanted = "grey" if channels == 1 else "RGB"
    has = _CHANNELS.get(image.mode)
    if has is None:
        raise DataError(
            f"{name} has pixels of mode {image.mode} ({len(image.getbands())} channels), which is "
            f"neither 8-bit grey nor 8-bit RGB: convert it to {wanted}"
        )
    if has != channels:
        raise DataError(
            f"{name} has {has} channels (mode {image.mode}), but --config.data.shape has "
            f"{channels}: convert it to {wanted} or change the shape"
        )
    image = image.convert("L" if channels == 1 else "RGB")
    scale = min(image.width / width, image.height / height)
    # The limits keep rounding errors from giving a box beyond the image, which Pillow refuses.
    across, down = min(scale * width, image.width), min(scale * height, image.height)
    left, top = (image.width - across) / 2, (image.height - down) / 2
    box = (left, top, min(left + across, image.width), min(top + down, image.height))
    if image.size != (width, height):
        image = image.resize((width, height), Image.Resampling.LANCZOS, box=box)
    return np.asarray(image, np.uint8).reshape(height, width, channels)


def encode_png(image_HWC: np.ndarray) -> bytes:
    """A PNG of a grey or RGB uint8 image; for tiny images several times faster than Pillow."""
    height, width, channels = image_HWC.shape
    rows = np.zeros((height, 1 + width * channels), np.uint8)  # a row starts with its filter: none
    rows[:, 1:] = image_HWC.reshape(height, -1)
    color = {1: 0, 3: 2}[channels]
    header = struct.pack(">IIBBBBB", width, height, 8, color, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(rows.tobytes(), 6)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in chunks
    )


def _too_large(name: str, size: str = "") -> str:
    limit = MAX_PIXELS // 10**6
    return f"{name} is larger than {limit} megapixels{size}: shrink or remove it"

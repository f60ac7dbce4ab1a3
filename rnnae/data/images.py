"""Image files and images on disk as uint8 arrays of one shape.

Nothing is guessed: an image that is damaged, enormous or has the wrong number of channels raises a
DataError, which names the image and says what to do.
"""

import contextlib
import copy
import io
import struct
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import IO, NamedTuple

import numpy as np
from PIL import ExifTags, Image, ImageColor, ImageOps, UnidentifiedImageError

from rnnae.errors import ConfigError, DataError, one_line

# JPEGs of more pixels are decoded at a fraction of their size, which saves memory and time.
WHOLE_PIXELS = 16_000_000
_RECORDS_AT_ONCE = 4096  # encoded and decoded images of a large set would not both fit in memory
_FORMATS = ("PNG", "JPEG", "WEBP", "BMP")
_CHANNELS = {"1": 1, "L": 1, "RGB": 3, "P": 3}  # of the Pillow modes that convert without loss
_OTHER_MODES = {"F": "32-bit floating-point grey", "I": "more than 8 bits of grey", "CMYK": "CMYK"}
_OTHER_MODES |= {f"I;16{order}": "16-bit grey" for order in ("", "B", "L", "N")}


class ReadOptions(NamedTuple):
    """How image files are read.

    Attributes:
        background: colour behind transparent pixels, such as white or #808080; "" refuses them.
        max_megapixels: a larger image is refused before it is decoded.
    """

    background: str = ""
    max_megapixels: float = 200.0


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
        options: ReadOptions = ReadOptions(),  # noqa: B008
    ):
        """
        Args:
            path: the directory of the records, for error messages.
            records: a TFDS data source of dicts, whose `image` is an encoded image.
            stored_shape: H, W, C of the stored images; None where it differs between images.
            shape: H, W, C to resize and crop to, used if `stored_shape` has a None.
            scale: a factor of the stored intensities.
            options: how to read images that are resized.
        """
        self._path, self._records, self._scale = path, records, scale
        self._resize, self.options = None in stored_shape, options
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
                f"{self._path} is damaged ({_problem(error)}): remove this folder and prepare it "
                f"again"
            ) from error
        return images_BHWC * np.uint8(self._scale)

    def _decode(self, encoded: bytes, index: int) -> np.ndarray:
        file = io.BytesIO(encoded)
        if self._resize:
            name = f"image {index} of {self._path}"
            return read_image(file, self.shape[1:], self.options, name)
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


def check_background(background: str) -> None:
    """Raises ConfigError unless `background` is a colour or ""."""
    try:
        if background and len(ImageColor.getrgb(background)) == 3:
            return
    except ValueError:
        pass
    if background:
        raise ConfigError(
            f"--config.data.background must be a colour, such as white or #808080, or empty to "
            f"refuse transparent images; not {background!r}"
        )


def read_image(
    path: Path | IO[bytes],
    shape: tuple[int, int, int],
    options: ReadOptions = ReadOptions(),  # noqa: B008
    name: str = "",
) -> np.ndarray:
    """An image file as uint8 (H, W, C): turned upright by its EXIF tag, resized and cropped.

    `name` is what error messages call the image; the default is its path.
    """
    name = name or str(path)
    try:
        with _open(path) as image:
            if image.width * image.height > options.max_megapixels * 1e6:
                raise DataError(
                    f"{name} is larger than {options.max_megapixels:g} megapixels "
                    f"({image.width}x{image.height}): raise --config.data.max_megapixels, or "
                    f"shrink or remove it"
                )
            if image.width * image.height > WHOLE_PIXELS:
                least = 2 * max(shape[:2])  # of both sides, so that the result stays sharp
                image.draft(image.mode, (least, least))  # only the decoder of JPEG can
            image.load()
            image = ImageOps.exif_transpose(image)
            return resize_and_crop(_opaque(image, options.background, name), shape, name)
    except DataError:
        raise
    except Exception as error:  # Pillow's decoders raise errors of many types for damaged files
        raise _no_image(name, error) from error


def image_size(path: Path) -> tuple[int, int]:
    """(width, height) of an image file as a person sees it. DataError if it is not an image."""
    try:
        with _open(path) as image:
            turned = image.getexif().get(ExifTags.Base.Orientation, 1) > 4
            return image.size[::-1] if turned else image.size
    except Exception as error:  # see `read_image`
        raise _no_image(str(path), error) from error


def _no_image(name: str, error: Exception) -> DataError:
    return DataError(
        f"{name} is not a complete PNG, JPEG, WebP or BMP image ({_problem(error)}): replace or "
        "remove it"
    )


def read_grey(
    path: Path,
    shape: tuple[int, int],
    options: ReadOptions = ReadOptions(),  # noqa: B008
) -> np.ndarray:
    """`read_image` as uint8 (H, W, 1); also of a colour image whose pixels are all grey, because
    many programs save grey images so."""
    try:
        return read_image(path, (*shape, 1), options)
    except DataError:
        with contextlib.suppress(DataError):
            image_HWC = read_image(path, (*shape, 3), options)
            if (image_HWC == image_HWC[..., :1]).all():
                return image_HWC[..., :1]
        raise


def _problem(error: Exception) -> str:
    """What Pillow or a reader of records says, on one line."""
    if isinstance(error, UnidentifiedImageError):  # its message has only an address in memory
        return "it starts like no image"
    return one_line(error)


def _open(path: Path | IO[bytes]) -> Image.Image:
    """Reads only the header, which has the size. Pillow's own limit of the size is switched off:
    it cannot be set for one image."""
    limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
    try:
        return Image.open(path, formats=_FORMATS)
    finally:
        Image.MAX_IMAGE_PIXELS = limit


def _opaque(image: Image.Image, background: str, name: str) -> Image.Image:
    """The image over `background`. An image without transparent pixels keeps its colours.

    Raises DataError if it has transparent pixels and there is no background.
    """
    if not image.has_transparency_data or image.mode in _OTHER_MODES:
        return image
    grey = image.mode in ("1", "L", "LA", "La")
    image = image.convert("RGBA")
    if image.getchannel("A").getextrema()[0] < 255:
        if not background:
            raise DataError(
                f"{name} has transparent pixels: set the colour behind them, for example "
                f"--config.data.background=white, or convert it to {'grey' if grey else 'RGB'}"
            )
        behind = Image.new("RGBA", image.size, ImageColor.getrgb(background))
        image = Image.alpha_composite(behind, image)
    image = image.convert("RGB")
    # A grey image over a coloured background is a colour image.
    return image.convert("L") if grey and _is_grey(background) else image


def _is_grey(background: str) -> bool:
    return not background or len(set(ImageColor.getrgb(background))) == 1


def resize_and_crop(image: Image.Image, shape: tuple[int, int, int], name: str) -> np.ndarray:
    """uint8 (H, W, C): the largest centred crop with the aspect ratio of `shape`, resized to it.

    Raises DataError if the image does not have the channels of `shape`.
    """
    height, width, channels = shape
    wanted = "grey" if channels == 1 else "RGB"
    has = _CHANNELS.get(image.mode)
    if has is None:
        pixels = _OTHER_MODES.get(image.mode, f"pixels of mode {image.mode}")
        raise DataError(
            f"{name} has {pixels}, but images must be 8-bit grey or 8-bit RGB: convert it to "
            f"8-bit {wanted}"
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

"""Image files as uint8 of one shape: a user's own folder, and the records of a prepared set.

Nothing here guesses: an image that is damaged, enormous or of another channel count stops the
preparation with its path and the remedy.
"""

import copy
import hashlib
import io
import os
import struct
import warnings
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import numpy as np
from PIL import Image, ImageOps

from rnnae.errors import ConfigError, DataError

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp")
MAX_PIXELS = 16_000_000
_RECORDS = 4096  # read at once: all of a large set would not fit in memory beside its images
_FORMATS = ("PNG", "JPEG", "WEBP", "BMP")
_CHANNELS = {"1": 1, "L": 1, "RGB": 3, "P": 3}  # of the modes that convert without a loss


def find_images(source_dir: str) -> list[Path]:
    """Every image file below `source_dir`, in sorted order of path."""
    root = Path(source_dir).expanduser()
    if not source_dir or not root.is_dir():
        raise DataError(
            f"--config.data.source_dir={source_dir!r} is not a folder: name the folder of images"
        )
    paths = (Path(top, name) for top, _, names in os.walk(root) for name in names)
    found = sorted(p for p in paths if p.suffix.lower() in SUFFIXES and p.name[0] != ".")
    if not found:
        raise DataError(f"no image in {source_dir}: looked for {', '.join(SUFFIXES)} at any depth")
    return found


def fingerprint(paths: list[Path], shape: tuple[int, int, int], seed: int) -> str:
    """Changes with any file's path, size or time, with the shape and with the split's seed."""
    try:
        files = [(os.path.abspath(path), path.stat()) for path in paths]
    except OSError as error:  # a link to nothing, for one
        raise DataError(f"{error.filename} cannot be read ({error.strerror}): remove it") from error
    listing = [(name, stat.st_size, stat.st_mtime_ns) for name, stat in files]
    return hashlib.sha256(repr((listing, tuple(shape), seed)).encode()).hexdigest()[:16]


def split(paths: list[Path], seed: int) -> dict[str, list[Path]]:
    """A seeded 80/10/10 split."""
    n = len(paths)
    if n < 10:
        raise DataError(f"{n} images are too few: of ten, validation and test take one each")
    held_out = n // 10
    order = np.random.Generator(np.random.Philox(key=[seed, n])).permutation(n)
    parts = np.split(order, [n - 2 * held_out, n - held_out])
    names = ("train", "validation", "test")
    return {name: [paths[i] for i in part] for name, part in zip(names, parts, strict=True)}


def images(paths: list[Path], shape: tuple[int, int, int]) -> Iterator[np.ndarray]:
    """uint8 (H, W, C) of each file, in order."""
    return (read(path, shape) for path in paths)


def read(path: Path | IO[bytes], shape: tuple[int, int, int], name: str = "") -> np.ndarray:
    """uint8 (H, W, C) of one file, turned upright (EXIF), resized and cropped to `shape`."""
    name = name or str(path)
    try:
        # Open parses the header alone; no pixel is decoded before its size is known.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            image = Image.open(path, formats=_FORMATS)
        with image:
            _check_size(image, name)
            image.load()
            return fit(ImageOps.exif_transpose(image), shape, name)
    except DataError:
        raise
    except Image.DecompressionBombError as error:
        raise DataError(_too_large(name)) from error
    except Exception as error:  # Pillow's decoders raise nearly anything on damaged files
        reason = " ".join(str(error).split()) or type(error).__name__
        raise DataError(
            f"{name} is not a whole PNG, JPEG, WebP or BMP image ({reason}): replace or remove it"
        ) from error


def fit(image: Image.Image, shape: tuple[int, int, int], name: str) -> np.ndarray:
    """uint8 (H, W, C): the largest centred part of `image` that has the proportions of `shape`."""
    height, width, channels = shape
    has = _CHANNELS.get(image.mode)
    if has != channels:
        kind = f"{has or len(image.getbands())} channels (mode {image.mode})"
        raise DataError(
            f"{name} has {kind}, not the {channels} of --config.data.shape: "
            f"convert it to {'grey' if channels == 1 else 'RGB'} or change the shape"
        )
    image = image.convert("L" if channels == 1 else "RGB")
    scale = min(image.width / width, image.height / height)
    # Rounding may take a part as large as the image a hair beyond it, which Pillow refuses.
    across, down = min(scale * width, image.width), min(scale * height, image.height)
    left, top = (image.width - across) / 2, (image.height - down) / 2
    box = (left, top, min(left + across, image.width), min(top + down, image.height))
    if image.size != (width, height):
        image = image.resize((width, height), Image.Resampling.LANCZOS, box=box)
    return np.asarray(image, np.uint8).reshape(height, width, channels)


def check_shape(name: str, shape: tuple[int, int, int]) -> None:
    """A ConfigError unless `shape` is a height, a width and 1 or 3 channels."""
    if len(shape) != 3 or min(shape) < 1 or shape[2] not in (1, 3):
        raise ConfigError(
            f"{name} has images of no fixed shape: set --config.data.shape to height, width and 1 "
            f"(grey) or 3 (RGB) channels, for example (64,64,3); it is {tuple(shape)}"
        )


class Images:
    """Images on disk, as if they were one uint8 array (n, H, W, C) that is indexed by a list."""

    dtype = np.dtype(np.uint8)

    def __init__(self, path: Path, source, stored: tuple, shape: tuple, scale: int):
        self._path, self._source, self._scale = path, source, scale
        self._fit = None in stored
        self.shape = (len(source), *(shape if self._fit else stored))

    def __len__(self) -> int:
        return self.shape[0]

    def first(self, n: int) -> "Images":
        """The same, cut to the first n."""
        head = copy.copy(self)
        head.shape = (min(n, len(self)), *self.shape[1:])
        return head

    def __getitem__(self, indices) -> np.ndarray:
        if isinstance(indices, slice):
            indices = range(*indices.indices(len(self)))
        indices = [int(i) for i in indices]
        images_BHWC = np.empty((len(indices), *self.shape[1:]), np.uint8)
        try:
            for start in range(0, len(indices), _RECORDS):
                records = self._source.__getitems__(indices[start : start + _RECORDS])
                for i, record in enumerate(records, start):
                    images_BHWC[i] = self._decode(record["image"], indices[i])
        except (RuntimeError, OSError, ValueError) as error:  # array_record checks its own sums
            reason = " ".join(str(error).split())
            raise DataError(f"{self._path} is damaged ({reason}): remove that folder") from error
        return images_BHWC * np.uint8(self._scale)

    def _decode(self, encoded: bytes, index: int) -> np.ndarray:
        file = io.BytesIO(encoded)
        if self._fit:
            return read(file, self.shape[1:], name=f"image {index} of {self._path}")
        with Image.open(file, formats=("PNG", "JPEG")) as image:
            return np.asarray(image).reshape(self.shape[1:])


def encode_png(image_HWC: np.ndarray) -> bytes:
    """A PNG of a grey or RGB uint8 image: for tiny ones several times faster than Pillow."""
    height, width, channels = image_HWC.shape
    rows = np.zeros((height, 1 + width * channels), np.uint8)  # each starts with filter 0, none
    rows[:, 1:] = image_HWC.reshape(height, -1)
    color = {1: 0, 3: 2}[channels]
    header = struct.pack(">IIBBBBB", width, height, 8, color, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(rows.tobytes(), 6)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in chunks
    )


def _check_size(image: Image.Image, name: str) -> None:
    if image.width * image.height > MAX_PIXELS:
        raise DataError(f"{_too_large(name)}: it has {image.width}x{image.height}")


def _too_large(name: str) -> str:
    return f"{name} is larger than {MAX_PIXELS // 10**6} megapixels"

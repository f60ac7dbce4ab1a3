"""A cache of decoded images beside the records that they were decoded from.

Decoding the 70,000 small PNGs of MNIST takes four seconds at every start. A cached file belongs to
the present names, sizes and modification times of the records. It starts with a digest of its shape
and pixels, and is written again if that does not fit. If nothing can be written, the images are
decoded every time.
"""

import contextlib
import hashlib
import json
from pathlib import Path

import numpy as np

from rnnae import files
from rnnae.data import manifest
from rnnae.data.images import Images

_DIGEST_BYTES = 32


def load(images: Images, split: str, directory: Path) -> np.ndarray:
    """All of `images` as a uint8 array (N, H, W, C), read from the cache if they are there.

    `split` is the name of the split, such as train[:50000], and `directory` its TFDS directory.
    """
    path = directory / "decoded" / f"{_fingerprint(images, split, directory)}.pixels"
    cached = _read(path, images.shape)
    if cached is not None:
        return cached
    images_NHWC = images[:]
    with contextlib.suppress(OSError):  # for example a disk that is full or read-only
        _save(path, images_NHWC)
    return images_NHWC


def _read(path: Path, shape: tuple[int, ...]) -> np.ndarray | None:
    """The images of a cached file; None if it is not there, or not what was written."""
    try:
        with path.open("rb") as file:
            digest = file.read(_DIGEST_BYTES)
            images_NHWC = np.fromfile(file, np.uint8)
        images_NHWC = images_NHWC.reshape(shape)
    except (OSError, ValueError):
        return None
    return images_NHWC if digest == _digest(images_NHWC) else None


def _save(path: Path, images_NHWC: np.ndarray) -> None:
    def write(temporary: Path) -> None:
        with temporary.open("wb") as file:
            file.write(_digest(images_NHWC))
            images_NHWC.tofile(file)

    path.parent.mkdir(exist_ok=True)
    files.remove_stale(path.parent, ".*.tmp")
    for old in path.parent.glob("*.npz"):  # the cache of an earlier version
        old.unlink(missing_ok=True)
    files.replace_file(path, write)


def _digest(images_NHWC: np.ndarray) -> bytes:
    """SHA-256 of the shape and the pixels."""
    digest = hashlib.sha256(repr(images_NHWC.shape).encode())
    digest.update(np.ascontiguousarray(images_NHWC))
    return digest.digest()


def _fingerprint(images: Images, split: str, directory: Path) -> str:
    """16 hexadecimal digits that change with the records, the split, or how images are read."""
    records = [p for p in sorted(directory.iterdir()) if p.is_file() and p.name != manifest.NAME]
    states = [(path.name, path.stat().st_size, path.stat().st_mtime_ns) for path in records]
    text = json.dumps([split, images.shape, images.options, states])
    return hashlib.sha256(text.encode()).hexdigest()[:16]

"""A cache of decoded images and of labels beside the records that they were read from.

Decoding the 70,000 small PNGs of MNIST takes four seconds at every start, and reading their labels
three. A cached file belongs to the present names, sizes and modification times of the records. It
starts with a digest of its shape and content, and is written again if that does not fit. If nothing
can be written, the records are read every time.
"""

import contextlib
import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import DTypeLike

from rnnae import files
from rnnae.data import manifest
from rnnae.data.images import Images

_DIGEST_BYTES = 32


def load(images: Images, split: str, directory: Path) -> np.ndarray:
    """All of `images` as a uint8 array (N, H, W, C), read from the cache if they are there.

    `split` is the name of the split, such as train[:50000], and `directory` its TFDS directory.
    """
    name = f"{_fingerprint([split, images.shape, images.options], directory)}.pixels"
    return _load(directory / "decoded" / name, images.shape, np.uint8, lambda: images[:])


def load_labels(
    read: Callable[[], np.ndarray], count: int, split: str, directory: Path
) -> np.ndarray:
    """The int32 labels (count,) of a split, from the cache if they are there, else from `read`."""
    name = f"{_fingerprint([split, count, 'labels'], directory)}.labels"
    return _load(directory / "decoded" / name, (count,), np.int32, read)


def _load(
    path: Path, shape: tuple[int, ...], dtype: DTypeLike, read: Callable[[], np.ndarray]
) -> np.ndarray:
    """The array in the cached file `path`. If it is not valid, what `read` returns is saved."""
    cached = _read(path, shape, dtype)
    if cached is not None:
        return cached
    array = read()
    with contextlib.suppress(OSError):  # for example a disk that is full or read-only
        _save(path, array)
    return array


def _read(path: Path, shape: tuple[int, ...], dtype: DTypeLike) -> np.ndarray | None:
    """The array in a cached file; None if it is not there, or not what was written."""
    try:
        with path.open("rb") as file:
            digest = file.read(_DIGEST_BYTES)
            array = np.fromfile(file, np.uint8).view(dtype).reshape(shape)
    except (OSError, ValueError):
        return None
    return array if digest == _digest(array) else None


def _save(path: Path, array: np.ndarray) -> None:
    def write(temporary: Path) -> None:
        with temporary.open("wb") as file:
            file.write(_digest(array))
            array.tofile(file)

    path.parent.mkdir(exist_ok=True)
    files.remove_stale(path.parent, ".*.tmp")
    for old in path.parent.glob("*.npz"):  # the cache of an earlier version
        old.unlink(missing_ok=True)
    files.replace_file(path, write)


def _digest(array: np.ndarray) -> bytes:
    """SHA-256 of the shape and the content."""
    digest = hashlib.sha256(repr(array.shape).encode())
    digest.update(np.ascontiguousarray(array))
    return digest.digest()


def _fingerprint(what: list, directory: Path) -> str:
    """16 hexadecimal digits that change with the records, or with what of them is cached."""
    records = [p for p in sorted(directory.iterdir()) if p.is_file() and p.name != manifest.NAME]
    states = [(path.name, path.stat().st_size, path.stat().st_mtime_ns) for path in records]
    text = json.dumps([*what, states])
    return hashlib.sha256(text.encode()).hexdigest()[:16]

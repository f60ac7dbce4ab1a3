"""A cache of decoded images beside the records that they were decoded from.

Decoding the 70,000 small PNGs of MNIST takes four seconds at every start. A cached file belongs to
the present names, sizes and modification times of the records. It has checksums of its own, and is
written again if it cannot be read. If nothing can be written, the images are decoded every time.
"""

import contextlib
import hashlib
import json
import zipfile
from pathlib import Path

import numpy as np

from rnnae import files
from rnnae.data.images import Images


def load(images: Images, split: str, directory: Path) -> np.ndarray:
    """All of `images` as a uint8 array (N, H, W, C), read from the cache if they are there.

    `split` is the name of the split, such as train[:50000], and `directory` its TFDS directory.
    """
    path = directory / "decoded" / f"{_fingerprint(images, split, directory)}.npz"
    try:
        with path.open("rb") as file:
            return np.load(file)["images"]
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        pass  # not in the cache, or damaged
    images_NHWC = images[:]
    with contextlib.suppress(OSError):  # for example a disk that is full or read-only
        _save(path, images_NHWC)
    return images_NHWC


def _save(path: Path, images_NHWC: np.ndarray) -> None:
    def write(temporary: Path) -> None:
        with temporary.open("wb") as file:  # np.savez would append .npz to the name
            np.savez(file, images=images_NHWC)

    path.parent.mkdir(exist_ok=True)
    files.remove_stale(path.parent, ".*.tmp")
    files.replace_file(path, write)


def _fingerprint(images: Images, split: str, directory: Path) -> str:
    """16 hexadecimal digits that change with the records, the split or the shape of the images."""
    records = [path for path in sorted(directory.iterdir()) if path.is_file()]
    states = [(path.name, path.stat().st_size, path.stat().st_mtime_ns) for path in records]
    text = json.dumps([split, images.shape, states])
    return hashlib.sha256(text.encode()).hexdigest()[:16]

"""A user's own folder of image files: which files it has, and how they are split."""

import hashlib
import os
from pathlib import Path

import numpy as np

from rnnae.errors import DataError

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp")


def find_images(source_dir: str) -> list[Path]:
    """Every image file in `source_dir` and its subfolders, sorted by path.

    Raises DataError if there is none, or no such folder.
    """
    if not source_dir:
        raise DataError(
            "--config.data.name=folder needs --config.data.source_dir: the folder of your images"
        )
    root = Path(source_dir).expanduser()
    if not root.is_dir():
        raise DataError(
            f"--config.data.source_dir={source_dir} is not a folder: give the folder of your images"
        )
    paths = (Path(top, name) for top, _, names in os.walk(root) for name in names)
    found = sorted(p for p in paths if p.suffix.lower() in SUFFIXES and p.name[0] != ".")
    if not found:
        raise DataError(
            f"no image in {source_dir} or its subfolders: files are found by their ending, which "
            f"may be {', '.join(SUFFIXES)}"
        )
    return found


def fingerprint(paths: list[Path], shape: tuple[int, int, int], seed: int) -> str:
    """16 hexadecimal digits that identify the images that are prepared from these files.

    They change with the path, size or modification time of any file, with the shape that the
    images are resized to, and with the seed of the split.
    """
    try:
        files = [(os.path.abspath(path), path.stat()) for path in paths]
    except OSError as error:  # for example a symbolic link to a file that does not exist
        raise DataError(f"{error.filename} cannot be read ({error.strerror}): remove it") from error
    listing = [(name, stat.st_size, stat.st_mtime_ns) for name, stat in files]
    return hashlib.sha256(repr((listing, tuple(shape), seed)).encode()).hexdigest()[:16]


def split(paths: list[Path], seed: int) -> dict[str, list[Path]]:
    """A random split into 80% train, 10% validation and 10% test, the same for the same seed.

    Raises DataError for fewer than 10 images.
    """
    n = len(paths)
    if n < 10:
        raise DataError(
            f"there are only {n} images, but at least 10 are needed: a tenth each is held out for "
            f"validation and test"
        )
    held_out = n // 10
    order = np.random.Generator(np.random.Philox(key=[seed, n])).permutation(n)
    parts = np.split(order, [n - 2 * held_out, n - held_out])
    names = ("train", "validation", "test")
    return {name: [paths[i] for i in part] for name, part in zip(names, parts, strict=True)}

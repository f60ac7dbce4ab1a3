"""The classes of a TFDS directory: its feature `label`, a ClassLabel or else an integer.

A label is the index of a class, or -1 where the class is not known. Labels are read from the
records without decoding images, and are then kept in a small file beside the decoded images.
"""

import functools
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from rnnae.data import decode_cache, tfds_directory
from rnnae.errors import one_line

_RECORDS_AT_ONCE = 4096  # their encoded images would not all fit in memory
# With integers from here on, labels are identifiers, not classes.
_MOST_CLASSES = 10_000


def open_labels(
    path: Path, sizes: Sequence[tuple[str, int]]
) -> tuple[Callable[[], list[np.ndarray]] | None, tuple[str, ...]]:
    """(a function that reads the labels of some splits, the names of the classes).

    The function returns int32 (N,) for each split. It raises a DataError if the records are
    damaged. Without classes the result is (None, ()).

    Args:
        path: a directory that `prepare` returned.
        sizes: the TFDS name of each split, such as train[:50000], and its number of examples.
    """
    feature = tfds_directory.feature(path, "label")
    if feature is None or feature.shape != () or not np.issubdtype(feature.np_dtype, np.integer):
        return None, ()
    count = getattr(feature, "num_classes", None)
    read = functools.partial(_load, path, sizes, count)
    if count is not None:
        return read, tuple(feature.names)
    # The number of classes of a plain integer is known only from its values.
    labels = read()
    count = 1 + max(int(label_N.max(initial=-1)) for label_N in labels)
    if count > _MOST_CLASSES or not all(_valid(label_N, count) for label_N in labels):
        return None, ()
    return lambda: labels, tuple(map(str, range(count)))


def _load(path: Path, sizes: Sequence[tuple[str, int]], count: int | None) -> list[np.ndarray]:
    """The labels of each split, from the cache if they are there."""
    labels = []
    for split, size in sizes:
        read = functools.partial(_read, path, split, size)
        labels.append(decode_cache.load_labels(read, size, split, path))
        if count is not None and not _valid(labels[-1], count):
            reason = f"{split} has a label that is none of its {count} classes"
            raise tfds_directory.damaged(path, reason)
    return labels


def _valid(label_N: np.ndarray, count: int) -> bool:
    """Whether all are classes or -1."""
    return bool(np.all((label_N >= -1) & (label_N < count)))


def _read(path: Path, split: str, size: int) -> np.ndarray:
    """The labels of a split from its records. What is no int32 from -2 on becomes the nearest."""
    records = tfds_directory.open_records(path, split)
    values: list[int | None] = []
    try:
        for start in range(0, size, _RECORDS_AT_ONCE):
            indices = range(start, min(start + _RECORDS_AT_ONCE, size))
            values += (record["label"] for record in records.__getitems__(indices))
    except (RuntimeError, OSError, ValueError) as error:  # array_record verifies checksums
        raise tfds_directory.damaged(path, one_line(error)) from error
    if None in values:  # a file that was cut off may give empty records
        raise tfds_directory.damaged(path, f"{split} has a record without a label")
    return np.clip(np.array(values, object), -2, np.iinfo(np.int32).max).astype(np.int32)

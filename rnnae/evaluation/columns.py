"""Tables of numbers by image, in Parquet or .npz files."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from rnnae import files


def of_images(split: str, label_N: np.ndarray) -> dict[str, np.ndarray]:
    """The columns that say which images these are: the first ones of a split."""
    count = len(label_N)
    return {
        "split": np.full(count, split),
        "index": np.arange(count, dtype=np.int32),
        "label": label_N,
    }


def of_scores(
    split: str, label_N: np.ndarray, by_seed: dict[int, dict[str, np.ndarray]]
) -> dict[str, np.ndarray]:
    """The metrics of each image of a split: split, index in the split, label, seed of binarisation
    and latent samples, and the metrics. `by_seed` is that of `evaluate.Report`."""
    parts = []
    for seed, values in by_seed.items():
        count = len(next(iter(values.values())))
        images = of_images(split, label_N[:count])
        parts.append(images | {"seed": np.full(count, seed, np.int32)} | values)
    return join(parts)


def join(parts: Sequence[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """Tables one below the other. A column that a part does not have is NaN there."""
    names = list(dict.fromkeys(name for part in parts for name in part))
    counts = [len(next(iter(part.values()))) for part in parts]
    return {
        name: np.concatenate(
            [
                part[name] if name in part else np.full(count, np.nan)
                for part, count in zip(parts, counts, strict=True)
            ]
        )
        for name in names
    }


def write(path: Path, columns: dict[str, np.ndarray]) -> None:
    """Writes arrays of equal length, (N,) or (N, D), by the ending of the path. A column (N, D) of
    a Parquet file has a list of D numbers for each row. The same columns give the same bytes."""

    def save(temporary: Path) -> None:
        with temporary.open("wb") as file:
            if path.suffix == ".npz":
                np.savez(file, **columns)
                return
            import pyarrow
            from pyarrow import parquet

            arrays = [pyarrow.array(list(x) if x.ndim == 2 else x) for x in columns.values()]
            parquet.write_table(pyarrow.table(arrays, names=list(columns)), file)

    files.replace_file(path, save)

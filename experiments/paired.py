"""Differences between the rows of a table, paired by test image and by seed.

Two models find the same images hard. So the error of the mean difference over images is several
times smaller than those of the two means. What is paired is the first metric of the table that each
image has a value of.
"""

import math
import statistics
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

from experiments.records import damaged
from experiments.tables import Table
from rnnae import files

# Beginnings of the names of metrics that are means over images.
_OF_IMAGES = ("test/nll", "test/bound", "test/bits_per_dim", "test/mse", "test/mae", "test/ssim")
EVALUATED = "evaluated.json"  # of a row that evaluates other weights; its scores are beside it

Scores = Mapping[int, np.ndarray]  # seed of training -> the value of each test image, (N,)


class Difference(NamedTuple):
    """The difference of a row from the reference, with its standard error."""

    mean: float
    error: float

    @property
    def is_significant(self) -> bool:
        """Whether it is beyond two standard errors."""
        return abs(self.mean) > 2 * self.error


def heading(table: Table) -> str | None:
    """The heading of the metric whose differences are shown; None if there is none."""
    found = (h for h, names in table.metrics.items() if names[0].startswith(_OF_IMAGES))
    return next(found, None)


def read(
    directory: Path, metrics: Mapping[str, float], names: tuple[str, ...]
) -> np.ndarray | None:
    """The value of each test image for the one metric of `names` that the run in `directory` has,
    as float16 (N,), the mean over the seeds of its evaluation. None if the run did not keep them:
    those of versions before 0.2 did not. ConfigError if the file is damaged."""
    paths = directory / Path(EVALUATED).with_suffix(".parquet"), directory / files.SCORES
    path = next((path for path in paths if path.exists()), None)
    name = next((name for name in names if name in metrics), None)
    if path is None or name is None:
        return None
    from pyarrow import parquet

    try:
        table = parquet.read_table(path)
    except (OSError, ValueError) as error:
        raise damaged(path) from error
    # Bits per dimension are the nats in another unit.
    same = [name.replace("bits_per_dim", kind) for kind in ("bits_per_dim", "nll", "bound")]
    column = next(
        (n for n in (s.removeprefix("test/") for s in same) if n in table.schema.names), ""
    )
    if not column:
        return None
    is_test = np.array(table["split"].to_pylist()) == "test"
    index_N, value_N = (table[n].to_numpy()[is_test] for n in ("index", column))
    sums = np.bincount(index_N, value_N)
    mean_N = sums / np.bincount(index_N)
    return (mean_N * (metrics[name] / mean_N.mean())).astype(np.float16)


def difference(
    values: Mapping[int, float], scores: Scores, other: Mapping[int, float], other_scores: Scores
) -> Difference | None:
    """The difference of a row from another one, from the values of both by seed and the scores of
    their test images. None if the images are not the same, or no seed has both.

    Its variance is that of the mean over images, plus that of the mean over seeds if there are
    several.
    """
    seeds = sorted(scores.keys() & other_scores.keys() & values.keys() & other.keys())
    if not seeds or any(len(scores[s]) != len(other_scores[s]) for s in seeds):
        return None
    by_seed = [values[seed] - other[seed] for seed in seeds]
    difference_N = np.mean(
        [scores[s].astype(np.float64) - other_scores[s].astype(np.float64) for s in seeds], axis=0
    )
    variance = difference_N.var(ddof=1) / len(difference_N)
    if len(seeds) > 1:
        variance += statistics.variance(by_seed) / len(seeds)
    return Difference(statistics.mean(by_seed), math.sqrt(variance))

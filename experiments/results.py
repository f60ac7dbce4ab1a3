"""The finished runs of a table, grouped by row: what a report prints.

`find` collects the finished runs of a table from run directories and from the stored records.
`collect` groups them into one `Result` per row. `store` writes the records of all of them back. So
a table can be made again without its runs, and it can grow by rows and seeds that are trained later
or elsewhere.
"""

import dataclasses
import math
import statistics
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from experiments import jobs, paired, tables
from experiments.records import RunRecords, read_picture
from experiments.table_file import TableFile
from experiments.tables import Row, Table
from rnnae.errors import ConfigError

_SPLIT = ("name", "train_on_all", "train_images")  # of config.data: together, the training images


@dataclasses.dataclass(frozen=True)
class FinishedRun:
    """One finished run of a row."""

    row: Row
    seed: int
    records: RunRecords
    weights: RunRecords  # of the training whose weights were evaluated; often `records` itself
    picture: np.ndarray | None  # sample images, uint8, height x width x 3
    scores_N: np.ndarray | None  # the value of each test image, see `paired.read`

    @property
    def key(self) -> tuple[str, int]:
        return tables.slug(self.row.label), self.seed


@dataclasses.dataclass(frozen=True)
class Result:
    """The finished runs of one row."""

    row: Row
    by_seed: dict[int, dict[str, float]]  # seed -> test metrics
    starts: list[dict]  # commit, date, devices and machine of each training or evaluation
    model_size: dict[str, float]  # parameters, training_flop_per_image; {} if of no model
    seconds: list[float]  # per seed: of the training, or of the evaluation of other weights
    speeds: list[float]  # per seed: median images/s in training; nan if the row trains nothing
    losses: list[dict]  # of the first seed: step, epoch, train/loss, valid/loss
    picture: np.ndarray | None  # sample images of the first seed
    scores: dict[int, np.ndarray]  # seed -> the value of each test image, where it is known

    @property
    def machines(self) -> str:
        return format_machines(self.starts)

    def values(self, names: tuple[str, ...]) -> dict[int, float]:
        """seed -> value of the one metric of `names` that the row has.

        A KL of exactly 0 counts as missing: the model has no random latent.
        """
        return {
            seed: metrics[name]
            for seed, metrics in self.by_seed.items()
            for name in names
            if name in metrics and (name != "test/kl" or metrics[name])
        }

    def estimate(self, names: tuple[str, ...]) -> tuple[float, float]:
        """(mean, standard error) of the one metric of `names` that the row has.

        The error is over seeds; with a single seed it is over test images. nan if unknown.
        """
        values = list(self.values(names).values())
        if len(values) > 1:
            return statistics.mean(values), statistics.stdev(values) / math.sqrt(len(values))
        (metrics,) = self.by_seed.values() if len(self.by_seed) == 1 else ({},)
        errors = [metrics[f"{name}_se"] for name in names if f"{name}_se" in metrics]
        return (*values, math.nan)[0], (*errors, math.nan)[0]


def _shown(metrics: dict[str, float], shows: str) -> dict[str, float]:
    """All metrics, or those of the images that the row shows, under the names of new images."""
    part = f"_{shows}"
    if not shows:
        return metrics
    return {name.replace(part, "", 1): x for name, x in metrics.items() if part in name}


def format_machines(starts: Sequence[dict]) -> str:
    """The devices that were used, each with the processor of its machine."""
    return " and ".join(sorted({f"{s['devices']} on {s['machine']}" for s in starts}))


def collect(table: Table, finished: Sequence[FinishedRun]) -> list[Result]:
    """One result for each row that has finished runs, in the order of the table."""
    results = []
    for row in table.rows:
        runs = [r for r in finished if r.row is row]
        if not runs:
            continue
        if row.weights_from:
            seconds = [r.records.evaluation["seconds"] for r in runs]
            speeds = [math.nan] * len(runs)
        else:
            seconds = [r.records.timing.get("seconds", 0.0) for r in runs]
            speeds = [r.records.timing.get("images_per_second", math.nan) for r in runs]
        trainings = [start for r in runs for start in r.weights.contributing_starts]
        results.append(
            Result(
                row,
                {r.seed: _shown(r.records.test_metrics, row.shows) for r in runs},
                [start for r in runs for start in r.records.contributing_starts],
                trainings[-1] if trainings and row.shows != "floor" else {},
                seconds,
                speeds,
                runs[0].records.metrics,
                runs[0].picture,
                {r.seed: r.scores_N for r in runs if r.scores_N is not None and not row.shows},
            )
        )
    return results


def find(table: Table, root: Path, stored: TableFile) -> tuple[Table, list[FinishedRun]]:
    """The table with all seeds that have results, and its finished runs.

    A run is read from its directory below `root`. Where the training there is missing or not
    finished, its stored records are used instead.

    Raises:
      ConfigError: if runs or stored records belong to another version of the table, or if two runs
        were trained on different images of the same data set.
    """
    slugs = {tables.slug(row.label) for row in table.rows}
    if unknown := [label for name, label in stored.labels.items() if name not in slugs]:
        rows = ", ".join(unknown)
        raise ConfigError(f"{stored.path} has {rows}, no row of {table.name}: {_forget(unknown)}")
    numbers = {d.name.removeprefix("seed") for d in (root / table.directory).glob("*/seed*")}
    seeds = {int(number) for number in numbers if number.isdecimal()}
    seeds |= {seed for _, seed in stored.runs}
    every_seed = dataclasses.replace(table, seeds=tuple(sorted(seeds)))
    names = table.metrics.get(paired.heading(table), ())
    candidates = [_choose(planned, stored, names) for planned in jobs.plan(every_seed, root)]
    finished = [r for r in candidates if r.records.test_metrics]
    _check_images(finished)
    seeds = tuple(sorted({r.seed for r in finished})) or table.seeds
    return dataclasses.replace(table, seeds=seeds), finished


def _choose(planned: jobs.Run, stored: TableFile, paired_names: tuple[str, ...]) -> FinishedRun:
    """The run in its directory or its stored records; ConfigError if of another table."""
    row, seed = planned.row, planned.seed
    key = tables.slug(row.label), seed
    saved = stored.runs.get(key, RunRecords(""))
    local, weights = planned.records(), planned.weights_records()
    records = local
    if not weights.test_metrics:
        records, trained_as = saved, tables.slug(row.weights_from or row.label)
        weights = stored.runs.get((trained_as, seed), RunRecords(""))
    elif row.weights_from and not records.test_metrics:
        # The stored evaluation is valid as long as the weights are still the same.
        same_weights = saved.evaluation.get("weights") == weights.test_metrics
        records = saved if same_weights else records
    if records.test_metrics:
        if records is saved:
            if differences := records.differences(row, seed, weights.test_metrics):
                hint = _forget([row.label])
                raise ConfigError(f"{records.source} is of another run ({differences}): {hint}")
        else:
            planned.check()
    if records is local:
        picture = read_picture(planned.workdir)
        scores_N = paired.read(planned.workdir, records.test_metrics, paired_names)
    else:
        picture, scores_N = stored.pictures.get(key), stored.scores.get(key)
    return FinishedRun(row, seed, records, weights, picture, scores_N)


def _forget(labels: list[str]) -> str:
    flags = " ".join(f'--forget "{label}"' for label in labels)
    return f"add {flags} to drop these records"


def _check_images(finished: Sequence[FinishedRun]) -> None:
    """ConfigError if two trainings on the same split of a data set saw different images."""
    # Data set, split, and whether the fingerprint is also of the labels -> fingerprint, source
    fingerprints: dict[tuple, tuple[str, str]] = {}
    for r in finished:
        if r.row.weights_from:
            continue
        data = r.records.config["data"]
        labelled = bool(r.records.config["model"].get("classes", 0))
        split = (*(str(data.get(name)) for name in _SPLIT), labelled)
        fingerprint, source = fingerprints.setdefault(
            split, (data.get("fingerprint"), r.records.source)
        )
        if fingerprint != data.get("fingerprint"):
            raise ConfigError(
                f"{r.records.source} was trained on other images than {source}: move one away"
            )


def store(finished: Sequence[FinishedRun], stored: TableFile) -> list[str]:
    """Replaces the stored records of a table by those of these runs.

    Returns:
      One line for each stored run that is now missing, or has other results.
    """
    now = {r.key: r.records for r in finished}
    changes = []
    for key, before in stored.runs.items():
        if key not in now:
            changes.append(f"{before.source}: was of {before.origin} and is gone")
        elif not before.same_result(now[key]):
            after = now[key].origin
            changes.append(f"{before.source}: was of {before.origin} and is now of {after}")
    first = {tables.slug(r.row.label): r for r in reversed(finished)}
    stored.replace(
        {(r.row.label, r.seed): r.records for r in finished},
        {
            (r.row.label, r.seed): r.picture
            for r in finished
            if r.picture is not None and first[r.key[0]] is r
        },
        {(r.row.label, r.seed): r.scores_N for r in finished if r.scores_N is not None},
    )
    return changes

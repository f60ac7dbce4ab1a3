"""What a report reads of every run; kept beside the table under version control, the same files
under the same names as in the run's own directory, without its weights and its machine's paths.

So a table can be made again, to the byte, without its runs, and grow by rows and seeds that are run
elsewhere and later.
"""

import dataclasses
import json
import math
import shutil
import statistics
from collections.abc import Sequence
from pathlib import Path

from experiments import run, tables
from experiments.run import Run
from experiments.tables import Row, Table
from rnnae.config import saved_config
from rnnae.errors import ConfigError
from rnnae.records import writer

_SPLIT = ("name", "train_on_all", "train_images")  # of config.data: what a fingerprint is of
_DRAWN = Path("pictures") / "generated.png"  # of a row's first seed


@dataclasses.dataclass(frozen=True)
class Result:
    """A row's finished runs."""

    row: Row
    by_seed: dict[int, dict[str, float]]  # seed -> test metrics
    starts: list[dict]  # where and with what each seed was trained, or evaluated
    arithmetic: dict[str, float]  # of the model: parameters, FLOP
    seconds: list[float]  # of training, or of another row's weights of evaluation, by seed
    speeds: list[float]  # images/s in training, the median of each seed; nan where it has none
    workdirs: list[Path]

    @property
    def machines(self) -> str:
        return machines(self.starts)

    def values(self, names: tuple[str, ...]) -> dict[int, float]:
        """seed -> the one of the metrics `names` that the row has. A KL of exactly 0 is of a model
        without a random code, which has none."""
        return {
            seed: metrics[name]
            for seed, metrics in self.by_seed.items()
            for name in names
            if name in metrics and (name != "test/kl" or metrics[name])
        }

    def estimate(self, names: tuple[str, ...]) -> tuple[float, float]:
        """(mean, standard error) of such a metric: over seeds, or of a single one over images;
        nan where there is none."""
        values = list(self.values(names).values())
        if len(values) > 1:
            return statistics.mean(values), statistics.stdev(values) / math.sqrt(len(values))
        (metrics,) = self.by_seed.values() if len(self.by_seed) == 1 else ({},)
        errors = [metrics[f"{name}_se"] for name in names if f"{name}_se" in metrics]
        return (*values, math.nan)[0], (*errors, math.nan)[0]


def machines(starts: Sequence[dict]) -> str:
    """The devices of these starts, and the machines that have them."""
    found = {f"{start['devices']} on {start['machine']}" for start in starts}
    return " and ".join(sorted(found))


def collect(table: Table, finished: Sequence[Run]) -> list[Result]:
    """The rows of a table that have one of these runs, in its order."""
    found = []
    for row in table.rows:
        done = [r for r in finished if r.row is row]
        if not done:
            continue
        timings = [writer.read_timings(r.weights) for r in done]
        speeds = [[t["images_per_second"] for t in timing] for timing in timings]
        seconds = [timing[-1]["seconds"] if timing else 0.0 for timing in timings]
        trainings = starts = [start for r in done for start in _trained(r.weights)]
        if row.trained:
            seconds = [r.evaluation()["seconds"] for r in done]
            starts = [r.evaluation()["environment"] for r in done]
        found.append(
            Result(
                row,
                {r.seed: r.result() for r in done},
                starts,
                trainings[-1] if trainings else {},
                seconds,
                [statistics.median(s) if s and not row.trained else math.nan for s in speeds],
                [r.weights for r in done],
            )
        )
    return found


def _trained(workdir: Path) -> list[dict]:
    """The starts that trained what is there or measured it: not one that only drew pictures in the
    end, or whose steps were lost."""
    starts = writer.read_starts(workdir)
    last = writer.read_metrics(workdir)[-1]["step"]
    measured = [start for start in starts if not start.get("tested")][-1:]
    trained, end = [], last
    for start in reversed(starts):
        if start["step"] < end:
            trained.insert(0, start)
            end = start["step"]
    return trained + [start for start in measured if start not in trained]


def find(table: Table, root: Path, kept: Path) -> tuple[Table, list[Run]]:
    """The table with the seeds that there are results of, and its finished runs: those below
    `root`, and where the training is not there to its end, those that were kept. ConfigError for
    what is not of this table: runs or records of other rows, runs of one set on other images."""
    place, old = _places(table, kept)
    if old.exists() and not place.exists():  # `keep` was stopped
        old.rename(place)
    slugs = {tables.slug(row.label) for row in table.rows}
    strangers = sorted(p.name for p in place.glob("*") if p.is_dir() and p.name not in slugs)
    if strangers:
        raise ConfigError(f"{place} has {', '.join(strangers)}, no row of {table.name}: move it")
    directories = [d for where in (root, kept) for d in (where / table.directory).glob("*/seed*")]
    numbers = {path.name.removeprefix("seed") for path in directories}
    seeds = tuple(sorted(int(number) for number in numbers if number.isdecimal()))
    every = dataclasses.replace(table, seeds=seeds)
    pairs = zip(run.runs(every, root), run.runs(every, kept), strict=True)
    finished = [r for r in (_either(here, before) for here, before in pairs) if r.result()]
    run.check(finished)
    images: dict[tuple, tuple[str, Path]] = {}  # set and split -> fingerprint, of which run
    for r in finished:
        if r.row.trained:
            continue
        own = saved_config.read(r.workdir / saved_config.NAME)["data"]
        key = tuple(str(own.get(name)) for name in _SPLIT)
        found, first = images.setdefault(key, (own.get("fingerprint"), r.workdir))
        if found != own.get("fingerprint"):
            raise ConfigError(f"{r.workdir} is of other images than {first}: move one away")
    seeds = tuple(sorted({r.seed for r in finished})) or table.seeds
    return dataclasses.replace(table, seeds=seeds), finished


def _either(here: Run, before: Run) -> Run:
    """The one to report: an evaluation that was kept counts while its weights are there."""
    if not (weights := run.trained_to(here.weights)):
        return before
    if here.row.trained and not here.result() and before.evaluation().get("weights") == weights:
        return dataclasses.replace(before, weights=here.weights)
    return here


def keep(table: Table, finished: Sequence[Run], kept: Path) -> list[str]:
    """The records of these runs, instead of those that there were of the table; a line for each of
    those that is gone, or is of another run now."""
    place, old = _places(table, kept)
    new = place.with_suffix(".new")
    for left in (new, old):
        shutil.rmtree(left, ignore_errors=True)
    new.mkdir(parents=True)
    first = set()
    for r in finished:
        directory = new / r.workdir.relative_to(r.workdir.parents[1])
        directory.mkdir(parents=True)
        for name in (run.EVALUATION,) if r.row.trained else writer.RECORDS:
            shutil.copy(r.workdir / name, directory / name)
        if not r.row.trained:
            config = saved_config.read(r.workdir / saved_config.NAME)
            for key in {*tables.OF_THE_MACHINE} - {"data.fingerprint"}:
                section, _, name = key.rpartition(".")
                (config[section] if section else config).pop(name, None)
            (directory / saved_config.NAME).write_text(json.dumps(config, indent=2) + "\n")
        if r.row.label not in first and (r.workdir / _DRAWN).exists():
            (directory / _DRAWN.parent).mkdir()
            shutil.copy(r.workdir / _DRAWN, directory / _DRAWN)
        first.add(r.row.label)
    runs = sorted(place.glob("*/seed*"))
    changed = []
    for path in runs:
        now = new / path.relative_to(place)
        if _content(path) != _content(now):
            what = f"is now of {_origin(now)}" if now.exists() else "is gone"
            changed.append(f"{path} was of {_origin(path)} and {what}")
    if place.exists():
        place.rename(old)
    new.rename(place)
    shutil.rmtree(old, ignore_errors=True)
    return changed


def _places(table: Table, kept: Path) -> tuple[Path, Path]:
    """Where its records are, and where they are while new ones come in their place."""
    place = kept / table.directory
    return place, place.with_suffix(".old")


def _content(directory: Path) -> list[str]:
    """What was found, and of what: not when, where and how fast."""
    evaluation = directory / run.EVALUATION
    kept = [saved_config.read(evaluation)["metrics"]] if evaluation.exists() else []
    config = directory / saved_config.NAME
    return [*kept, *writer.read_metrics(directory), config.exists() and config.read_text()]


def _origin(directory: Path) -> str:
    """The commits and days of a record."""
    evaluation = directory / run.EVALUATION
    if evaluation.exists():
        starts = [saved_config.read(evaluation)["environment"]]
    else:
        starts = _trained(directory)
    return ", ".join(f"commit {s['commit'] or 'unknown'} ({s['date'][:10]})" for s in starts)

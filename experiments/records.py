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

from experiments import run
from experiments.run import Run
from experiments.tables import Row, Table
from rnnae import saved_config, writer

_DRAWN = Path("pictures") / "generated.png"  # of a row's first seed


@dataclasses.dataclass(frozen=True)
class Result:
    """A row's finished runs."""

    row: Row
    by_seed: dict[int, dict[str, float]]  # seed -> test metrics
    starts: list[dict]  # where and with what each seed was trained, or evaluated
    arithmetic: dict[str, float]  # of the model: parameters, FLOP
    seconds: list[float]  # of training, or of another row's weights of evaluation, by seed
    speeds: list[float]  # images/s, the median of each seed
    workdirs: list[Path]

    @property
    def devices(self) -> str:
        return ", ".join(sorted({str(start["devices"]) for start in self.starts}))

    def values(self, names: tuple[str, ...]) -> dict[int, float]:
        """seed -> the one of the metrics `names` that the row has."""
        return {
            seed: metrics[name]
            for seed, metrics in self.by_seed.items()
            for name in names
            if name in metrics
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
        trainings = starts = [start for r in done for start in writer.read_starts(r.weights)]
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
                [statistics.median(s) for s in speeds if s],
                [r.weights for r in done],
            )
        )
    return found


def find(table: Table, root: Path, kept: Path) -> tuple[Table, list[Run]]:
    """The table with the seeds that there are results of, and its finished runs: those below
    `root`, and where the training is not there to its end, those that were kept."""
    directories = [
        path
        for place in (root, kept)
        for path in (place / f"{table.name}-{table.size}").glob("*/seed*")
    ]
    numbers = {path.name.removeprefix("seed") for path in directories}
    seeds = tuple(sorted(int(number) for number in numbers if number.isdecimal()))
    every = dataclasses.replace(table, seeds=seeds)
    pairs = zip(run.runs(every, root), run.runs(every, kept), strict=True)
    found = [here if run.trained_to(here.weights) else before for here, before in pairs]
    finished = [r for r in found if r.result()]
    seeds = tuple(sorted({r.seed for r in finished})) or table.seeds
    return dataclasses.replace(table, seeds=seeds), finished


def keep(table: Table, finished: Sequence[Run], kept: Path) -> None:
    """The records of these runs, instead of those that there were of the table."""
    place = kept / f"{table.name}-{table.size}"
    new = place.with_name(place.name + ".new")
    shutil.rmtree(new, ignore_errors=True)
    first = set()
    for r in finished:
        directory = new / r.workdir.relative_to(r.workdir.parents[1])
        directory.mkdir(parents=True)
        for name in (run.EVALUATION,) if r.row.trained else writer.RECORDS:
            shutil.copy(r.workdir / name, directory / name)
        if not r.row.trained:
            config = json.loads((r.workdir / saved_config.NAME).read_text())
            for key in run.OF_THE_MACHINE:
                section, _, name = key.rpartition(".")
                (config[section] if section else config).pop(name, None)
            (directory / saved_config.NAME).write_text(json.dumps(config, indent=2) + "\n")
        if r.row.label not in first and (r.workdir / _DRAWN).exists():
            (directory / _DRAWN.parent).mkdir()
            shutil.copy(r.workdir / _DRAWN, directory / _DRAWN)
        first.add(r.row.label)
    shutil.rmtree(place, ignore_errors=True)
    new.rename(place)

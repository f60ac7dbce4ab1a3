"""What a report reads of every run, kept beside the table under version control: the same files
under the same names as in the run's own directory, without its weights and its machine's paths.

So a table can be made again, to the byte, without its runs, and grow by rows and seeds that are run
elsewhere and later.
"""

import dataclasses
import json
import shutil
from collections.abc import Sequence
from pathlib import Path

from experiments import run
from experiments.run import Run
from experiments.tables import Table

_OF_TRAINING = ("metrics.jsonl", "timing.jsonl", "environment.jsonl")
_OF_EVALUATION = ("evaluation.json",)
_CONFIG = "config.json"
_DRAWN = Path("pictures") / "generated.png"  # of a row's first seed


def find(table: Table, root: Path, kept: Path) -> tuple[Table, list[Run]]:
    """The table with the seeds that there are results of, and its runs: those below `root`, and
    where the training is not there to its end, those that were kept."""
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
    seeds = tuple(sorted({r.seed for r in found if r.result()})) or table.seeds
    return dataclasses.replace(table, seeds=seeds), [r for r in found if r.seed in seeds]


def keep(table: Table, found: Sequence[Run], kept: Path) -> None:
    """The records of these runs, instead of those that there were of the table."""
    place = kept / f"{table.name}-{table.size}"
    new = place.with_name(place.name + ".new")
    shutil.rmtree(new, ignore_errors=True)
    first = set()
    for r in found:
        if not r.result():
            continue
        directory = new / r.workdir.relative_to(r.workdir.parents[1])
        directory.mkdir(parents=True)
        for name in _OF_EVALUATION if r.row.trained else _OF_TRAINING:
            shutil.copy(r.workdir / name, directory / name)
        if not r.row.trained:
            config = json.loads((r.workdir / _CONFIG).read_text())
            for key in run.OF_THE_MACHINE:
                section, _, name = key.rpartition(".")
                (config[section] if section else config).pop(name, None)
            (directory / _CONFIG).write_text(json.dumps(config, indent=2) + "\n")
        if r.row.label not in first and (r.workdir / _DRAWN).exists():
            (directory / _DRAWN.parent).mkdir()
            shutil.copy(r.workdir / _DRAWN, directory / _DRAWN)
        first.add(r.row.label)
    shutil.rmtree(place, ignore_errors=True)
    new.rename(place)

"""Trains every row of a table over its seeds; what is finished is skipped, what was stopped
continues.

    python -m experiments.run cells [--size cpu] [--row LSTM ...] [--seeds 0,1,2] [--shard 0/4]
                                    [--root runs/tables] [-- --config.data.data_dir=DIR ...]

The seeds of a row are trained by one process, on accelerators as one program. Flags after `--` go
to every run. A row that fails is reported, the others go on. `--shard i/n` is every n-th row from
the i-th on, with the rows that evaluate it, for n machines or the jobs of an array. Exit codes:
0 done, 1 a run failed, 2 a flag or a run that was made by another table, 130 SIGINT, 143 SIGTERM.
"""

import argparse
import dataclasses
import json
import re
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from experiments import tables
from experiments.tables import Row, Table
from rnnae import config as config_lib
from rnnae.errors import ConfigError
from rnnae.writer import read_config, read_metrics

ROOT = Path("runs/tables")


@dataclasses.dataclass(frozen=True)
class Run:
    """One seed of one row, in a directory of its own."""

    row: Row
    seed: int
    workdir: Path
    weights: Path  # the directory of the run whose weights it evaluates; `workdir` of one it trains

    def result(self) -> dict[str, float]:
        """Its test metrics; empty until it is finished."""
        if self.row.trained:
            path = self.workdir / "evaluation.json"
            return json.loads(path.read_text()) if path.exists() else {}
        last = (read_metrics(self.workdir) or [{}])[-1]
        return {k: v for k, v in last.items() if k.startswith("test/")}

    def differences(self) -> str:
        """What its directory was made with and the row is not, since the table was changed; ""."""
        if self.row.trained or not (self.workdir / "config.json").exists():
            return ""
        saved = config_lib.flat(read_config(self.workdir))
        return ", ".join(
            f"config.{key}: {saved.get(key)} there, {value} in the table"
            for key, value in config_lib.flat(self.row.overrides).items()
            if saved.get(key) != value
        )


def check(chosen: Sequence[Run]) -> None:
    """ConfigError if a finished run is of another row than the table's."""
    for run in chosen:
        if run.result() and (differences := run.differences()):
            raise ConfigError(f"{run.workdir} is another run ({differences}): move it away")


def runs(table: Table, root: Path) -> list[Run]:
    """All runs of a table, those that evaluate others' weights last."""

    def directory(label, seed):
        slug = re.sub(r"[^a-z0-9]+", "-", label.lower()).strip("-")
        return root / f"{table.name}-{table.size}" / slug / f"seed{seed}"

    found = [
        Run(row, seed, directory(row.label, seed), directory(row.trained or row.label, seed))
        for row in table.rows
        for seed in table.seeds
    ]
    return sorted(found, key=lambda run: bool(run.row.trained))


def made(table: Table, root: Path) -> Table:
    """The table with the seeds that there are directories of, which `--seeds` may have chosen."""
    found = (root / f"{table.name}-{table.size}").glob("*/seed*")
    seeds = tuple(sorted({int(directory.name.removeprefix("seed")) for directory in found}))
    return dataclasses.replace(table, seeds=seeds or table.seeds)


def command(job: Sequence[Run], extra: list[str]) -> list[str]:
    """How one process makes the runs of a job: seeds of one row, or one evaluation."""
    run, row = job[0], job[0].row
    settings = [f"--config.{key}={value}" for key, value in row.overrides.items()]
    if row.trained:
        which = [f"--workdir={run.weights}", "--mode=evaluate"]
    elif len(job) > 1:
        seeds = ",".join(str(run.seed) for run in job)
        which = [f"--workdir={run.workdir.parent}", f"--config={row.config}", f"--seeds={seeds}"]
    else:
        seed = f"--config.seed={run.seed}"
        which = [f"--workdir={run.workdir}", f"--config={row.config}", seed]
    return [sys.executable, "-m", "rnnae.main", *which, *extra, *settings]


def perform(job: Sequence[Run], extra: list[str]) -> tuple[int, str]:
    """Exit status, and the last line of what was said, all of which is in log.txt. A signal to this
    process is passed on."""
    run = job[0]
    directory = run.workdir if len(job) == 1 else run.workdir.parent
    directory.mkdir(parents=True, exist_ok=True)
    begin = time.monotonic()
    with (directory / "log.txt").open("a", encoding="utf-8") as log:
        # Of a session of its own: Ctrl-C reaches it once, from here.
        process = subprocess.Popen(
            command(job, extra), stdout=log, stderr=subprocess.STDOUT, start_new_session=True
        )
        previous = {
            number: signal.signal(number, lambda got, frame: process.send_signal(got))
            for number in (signal.SIGINT, signal.SIGTERM)
        }
        try:
            status = process.wait()
        finally:
            for number, handler in previous.items():
                signal.signal(number, handler)
    if run.row.trained and not status:
        result = json.loads((run.weights / "evaluation.json").read_text())
        result["seconds"] = time.monotonic() - begin
        (run.workdir / "evaluation.json").write_text(json.dumps(result, indent=2) + "\n")
    lines = (directory / "log.txt").read_text(errors="replace").strip().splitlines()
    return status, lines[-1] if lines else ""


def main(argv: list[str] | None = None) -> int:
    argv = sys.argv[1:] if argv is None else argv
    split = argv.index("--") if "--" in argv else len(argv)
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("table", choices=tables.TABLES)
    parser.add_argument("--size", choices=tables.SIZES, default="full")
    parser.add_argument("--row", action="append", help="only this row; may be repeated")
    parser.add_argument("--seeds", type=_seeds, help="instead of the table's", metavar="N,N")
    parser.add_argument("--shard", default="0/1", type=_shard, metavar="I/N")
    parser.add_argument("--root", type=Path, default=ROOT)
    arguments, extra = parser.parse_args(argv[:split]), argv[split + 1 :]
    table = tables.load(arguments.table, arguments.size)
    if arguments.seeds:
        table = dataclasses.replace(table, seeds=arguments.seeds)
    labels = [row.label for row in table.rows]
    for label in arguments.row or ():
        if label not in labels:
            parser.error(f"no row {label!r} in {table.name}; its rows: {', '.join(labels)}")
    first, shards = arguments.shard
    rows = [row for row in table.rows if row.label in (arguments.row or labels)]
    # Whoever trains a row evaluates it too.
    trained = list(dict.fromkeys(row.trained or row.label for row in rows))[first::shards]
    chosen = [row for row in rows if (row.trained or row.label) in trained]
    todo = [r for r in runs(table, arguments.root) if r.row in chosen]
    try:
        check(todo)
    except ConfigError as error:
        print(f"experiments.run: {error}", file=sys.stderr)
        return error.exit_code
    return perform_all(todo, extra)


def perform_all(chosen: list[Run], extra: list[str]) -> int:
    """The exit code of `main`."""
    by_row: dict[str, list[Run]] = {}
    for run in chosen:
        by_row.setdefault(run.row.label, []).append(run)
    failed = 0
    for index, (label, row_runs) in enumerate(by_row.items(), 1):
        left = [run for run in row_runs if not run.result()]
        if not left:
            print(f"[{index}/{len(by_row)}] {label}: finished before", flush=True)
            continue
        todo = [[run] for run in left] if left[0].row.trained else [left]
        while todo:
            job = todo.pop(0)
            seeds = ("seed " if len(job) == 1 else "seeds ") + ", ".join(str(r.seed) for r in job)
            name = f"[{index}/{len(by_row)}] {label}, {seeds}"
            print(f"{name}: {job[0].workdir}", flush=True)
            status, said = perform(job, extra)
            if status in (130, 143):
                print(f"{name}: stopped; the same command continues", flush=True)
                return status
            if status:
                print(f"{name}: FAILED, exit code {status}: {said}", flush=True)
                if len(job) > 1:  # each alone: one may have failed all
                    todo += [[run] for run in job if not run.result()]
                else:
                    failed += 1
    if failed:
        print(f"{failed} of {len(chosen)} runs failed; the same command tries them again")
    return 1 if failed else 0


def _seeds(text: str) -> tuple[int, ...]:
    if not re.fullmatch(r"\d+(,\d+)*", text):
        raise argparse.ArgumentTypeError(f"{text!r} is not a list of seeds: 0,1,2")
    return tuple(sorted({int(seed) for seed in text.split(",")}))


def _shard(text: str) -> tuple[int, int]:
    match = re.fullmatch(r"(\d+)/(\d+)", text)
    if not match or not int(match[1]) < int(match[2]):
        raise argparse.ArgumentTypeError(f"{text!r} is not I/N with I from 0 to N - 1")
    return int(match[1]), int(match[2])


if __name__ == "__main__":
    sys.exit(main())

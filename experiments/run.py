"""Trains every row of a table over its seeds; what is finished is skipped, what was stopped
continues.

    python -m experiments.run cells [--size cpu] [--row LSTM ...] [--shard 0/4] [--root runs/tables]
                                    [-- --config.data.data_dir=DIR ...]

Flags after `--` go to every run. A row that fails is reported, the others go on. `--shard i/n` is
every n-th run from the i-th on, for n machines or the jobs of an array. Exit codes: 0 done, 1 a run
failed, 2 a flag, 130 SIGINT, 143 SIGTERM.
"""

import argparse
import dataclasses
import json
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

from experiments import tables
from experiments.tables import Row, Table
from rnnae.writer import read_metrics

ROOT = Path("runs/tables")


@dataclasses.dataclass(frozen=True)
class Run:
    """One seed of one row, in a directory of its own."""

    row: Row
    seed: int
    workdir: Path
    weights: Path  # the directory of the run whose weights it evaluates; `workdir` of one it trains

    def command(self, extra: list[str]) -> list[str]:
        """How it is made."""
        settings = [f"--config.{key}={value}" for key, value in self.row.overrides.items()]
        command = [sys.executable, "-m", "rnnae.main", f"--workdir={self.weights}", *extra]
        if self.row.trained:
            return [*command, "--mode=evaluate", *settings]
        return [*command, f"--config={self.row.config}", f"--config.seed={self.seed}", *settings]

    def result(self) -> dict[str, float]:
        """Its test metrics; empty until it is finished."""
        if self.row.trained:
            path = self.workdir / "evaluation.json"
            return json.loads(path.read_text()) if path.exists() else {}
        last = (read_metrics(self.workdir) or [{}])[-1]
        return {k: v for k, v in last.items() if k.startswith("test/")}


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


def perform(run: Run, extra: list[str]) -> int:
    """Its exit status. What it says is in its log.txt; a signal to this process is passed on."""
    run.workdir.mkdir(parents=True, exist_ok=True)
    begin = time.monotonic()
    with (run.workdir / "log.txt").open("a", encoding="utf-8") as log:
        # Of a session of its own: Ctrl-C reaches it once, from here.
        process = subprocess.Popen(
            run.command(extra), stdout=log, stderr=subprocess.STDOUT, start_new_session=True
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
    return status


def main(argv: list[str] | None = None) -> int:
    argv = sys.argv[1:] if argv is None else argv
    split = argv.index("--") if "--" in argv else len(argv)
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("table", choices=tables.TABLES)
    parser.add_argument("--size", choices=tables.SIZES, default="full")
    parser.add_argument("--row", action="append", help="only this row; may be repeated")
    parser.add_argument("--shard", default="0/1", type=_shard, metavar="I/N")
    parser.add_argument("--root", type=Path, default=ROOT)
    arguments, extra = parser.parse_args(argv[:split]), argv[split + 1 :]
    table = tables.load(arguments.table, arguments.size)
    labels = [row.label for row in table.rows]
    for label in arguments.row or ():
        if label not in labels:
            parser.error(f"no row {label!r} in {table.name}; its rows: {', '.join(labels)}")
    chosen = [
        run for run in runs(table, arguments.root) if run.row.label in (arguments.row or labels)
    ]
    first, shards = arguments.shard
    return perform_all(chosen[first::shards], extra)


def perform_all(chosen: list[Run], extra: list[str]) -> int:
    """The exit code of `main`."""
    failed = 0
    for index, run in enumerate(chosen, 1):
        name = f"[{index}/{len(chosen)}] {run.row.label}, seed {run.seed}"
        if run.result():
            print(f"{name}: finished before", flush=True)
            continue
        print(f"{name}: {run.workdir}", flush=True)
        status = perform(run, extra)
        if status in (130, 143):
            print(f"{name}: stopped; the same command continues", flush=True)
            return status
        if status:
            failed += 1
            lines = (run.workdir / "log.txt").read_text(errors="replace").strip().splitlines()
            print(f"{name}: FAILED, exit code {status}: {lines[-1] if lines else ''}", flush=True)
    if failed:
        print(f"{failed} of {len(chosen)} runs failed; the same command tries them again")
    return 1 if failed else 0


def _shard(text: str) -> tuple[int, int]:
    match = re.fullmatch(r"(\d+)/(\d+)", text)
    if not match or not int(match[1]) < int(match[2]):
        raise argparse.ArgumentTypeError(f"{text!r} is not I/N with I from 0 to N - 1")
    return int(match[1]), int(match[2])


if __name__ == "__main__":
    sys.exit(main())

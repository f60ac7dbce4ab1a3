"""Trains every row of a table over its seeds; what is finished is skipped, what was stopped
continues.

    python -m experiments.run cells [--size cpu] [--row LSTM ...] [--seeds 0,1,2] [--shard 0/4]
                                    [--root runs/tables] [-- --config.data.data_dir=DIR ...]

The seeds of a row are trained by one process, on accelerators as one program. Flags after `--` go
to every run; they say where and how, not what. A row that fails is reported, the others go on.
`--shard i/n` is every n-th row from the i-th on, with the rows that evaluate it, for n machines or
the jobs of an array. Exit codes: 0 done, 1 a run failed, 2 a flag or a run that was made by another
table, 129 SIGHUP, 130 SIGINT, 143 SIGTERM.
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
from rnnae.config import saved_config
from rnnae.errors import ConfigError
from rnnae.records.writer import RECORDS, read_metrics, replace_text

ROOT = Path("runs/tables")
# A closed terminal stops the child as SIGTERM does.
_TO_CHILD = {n: n for n in (signal.SIGINT, signal.SIGTERM)} | {signal.SIGHUP: signal.SIGTERM}
_LAST_PICTURE = "curves.png"
EVALUATION = "evaluation.json"


@dataclasses.dataclass(frozen=True)
class Run:
    """One seed of one row, in a directory of its own."""

    row: Row
    seed: int
    workdir: Path
    weights: Path  # the directory of the run whose weights it evaluates; `workdir` of one it trains

    def result(self) -> dict[str, float]:
        """Its test metrics; empty until they are there."""
        if self.row.trained:
            return self.evaluation().get("metrics", {})
        return trained_to(self.workdir)

    def evaluation(self) -> dict:
        """Of one that evaluates: its metrics, and what of; empty until it is finished."""
        path = self.workdir / EVALUATION
        return saved_config.read(path) if path.exists() else {}

    @property
    def finished(self) -> bool:
        """Whether nothing is left to do, the last pictures included."""
        pictures = self.workdir / "pictures" / _LAST_PICTURE
        return bool(self.result()) and (bool(self.row.trained) or pictures.exists())

    def differences(self) -> str:
        """What its directory was made with and the row is not, since the table was changed; ""."""
        if self.row.trained:
            made = self.evaluation()
            if made and made["weights"] != trained_to(self.weights):
                return "of weights that are no longer there"
            new = config_lib.flat(self.row.overrides)
            old = made.get("overrides", new)
        elif (config := self.workdir / saved_config.NAME).exists():
            old = config_lib.flat(saved_config.get_config(str(config)).to_dict())
            new = config_lib.flat(self.row.made().to_dict()) | {"seed": self.seed}
        else:
            return ""
        return ", ".join(
            f"config.{key}: {old.get(key)} there, {new.get(key)} in the table"
            for key in sorted(old.keys() | new.keys())
            if key not in tables.OF_THE_MACHINE and old.get(key) != new.get(key)
        )


def trained_to(workdir: Path) -> dict[str, float]:
    """The test metrics that a finished training recorded; else empty."""
    last = (read_metrics(workdir) or [{}])[-1]
    return {k: v for k, v in last.items() if k.startswith("test/")}


def check(chosen: Sequence[Run]) -> None:
    """ConfigError if a run, finished or not, is of another row than the table's, or of one that is
    finished a record is missing."""
    for run in chosen:
        if differences := run.differences():
            raise ConfigError(f"{run.workdir} is another run ({differences}): move it away")
        if run.row.trained or not run.result():
            continue
        for name in (saved_config.NAME, *RECORDS):
            if not (run.workdir / name).exists():
                raise ConfigError(f"{run.workdir} has no {name}: restore it, or move the run away")


def runs(table: Table, root: Path) -> list[Run]:
    """All runs of a table, those that evaluate others' weights last."""

    def directory(label, seed):
        return root / table.directory / tables.slug(label) / f"seed{seed}"

    found = [
        Run(row, seed, directory(row.label, seed), directory(row.trained or row.label, seed))
        for row in table.rows
        for seed in table.seeds
    ]
    return sorted(found, key=lambda run: bool(run.row.trained))


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
    return [sys.executable, "-m", "rnnae.main", *which, *settings, *extra]


def perform(job: Sequence[Run], extra: list[str]) -> tuple[int, str]:
    """Exit status, and the last line of what was said, all of which is in log.txt. A signal to this
    process is passed on, and its status is 128 + the signal's number."""
    run = job[0]
    if run.row.trained and not trained_to(run.weights):
        return 1, f"{run.weights} is not trained to the end; run the row {run.row.trained!r} first"
    file = log_of(job)
    file.parent.mkdir(parents=True, exist_ok=True)
    begin, received, passed, process = time.monotonic(), 0, False, None

    def pass_on(number, frame):
        nonlocal received, passed
        received = number
        if process:
            passed = True
            process.send_signal(_TO_CHILD[number])

    previous = {
        number: signal.signal(number, pass_on)
        for number in _TO_CHILD
        if signal.getsignal(number) is not signal.SIG_IGN  # as nohup leaves SIGHUP
    }
    try:
        with file.open("a", encoding="utf-8") as log:
            # Of a session of its own: Ctrl-C reaches it once, from here.
            process = subprocess.Popen(
                command(job, extra), stdout=log, stderr=subprocess.STDOUT, start_new_session=True
            )
            if received and not passed:  # before there was somebody to pass it on to
                process.send_signal(_TO_CHILD[received])
            status = process.wait()
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
    if run.row.trained and not status and not keep(run, time.monotonic() - begin):
        return 1, f"{run.weights} was evaluated by somebody else at the same time"
    lines = file.read_text(errors="replace").strip().splitlines()
    return 128 + received if received else status, lines[-1] if lines else ""


def log_of(job: Sequence[Run]) -> Path:
    """What the process of a job says."""
    return (job[0].workdir if len(job) == 1 else job[0].workdir.parent) / "log.txt"


def keep(run: Run, seconds: float) -> bool:
    """What an evaluation left beside the weights, into its own directory, with what it is of; False
    if what is there is another's."""
    found = json.loads((run.weights / EVALUATION).read_text())
    settings = config_lib.flat({"eval": found["eval"]})
    if any(settings.get(k) != v for k, v in config_lib.flat(run.row.overrides).items()):
        return False
    made = {
        "metrics": {k: v for k, v in found.items() if isinstance(v, float)},
        "environment": found["environment"],
        "seconds": seconds,
        "overrides": config_lib.flat(run.row.overrides),
        "weights": trained_to(run.weights),
    }
    replace_text(run.workdir / EVALUATION, json.dumps(made, indent=2) + "\n")
    return True


def main(argv: list[str] | None = None) -> int:
    argv = sys.argv[1:] if argv is None else argv
    split = argv.index("--") if "--" in argv else len(argv)
    parser = tables.parser("run", __doc__)
    parser.add_argument("--row", action="append", help="only this row; may be repeated")
    parser.add_argument("--seeds", type=_seeds, help="instead of the table's", metavar="N,N")
    parser.add_argument(
        "--shard", default="0/1", type=_shard, metavar="I/N", help="every N-th row from the I-th on"
    )
    parser.add_argument("--root", type=Path, default=ROOT, help="where the runs are: %(default)s")
    if settings := [word for word in argv[:split] if word.startswith("--config")]:
        parser.error(f"{settings[0]}: flags of every run come last, after --")
    arguments, extra = parser.parse_args(argv[:split]), argv[split + 1 :]
    for word in extra:
        key, equals, _ = word.removeprefix("--config.").partition("=")
        if not (word.startswith("--config.") and equals and key in tables.OF_THE_MACHINE):
            names = ", ".join(tables.OF_THE_MACHINE)
            parser.error(f"{word} makes another row; after -- are --config.KEY=VALUE of {names}")
    try:
        table = tables.load(arguments.table, arguments.size)
    except ConfigError as error:
        parser.error(str(error))
    if arguments.seeds:
        table = dataclasses.replace(table, seeds=arguments.seeds)
    labels = [row.label for row in table.rows]
    for label in arguments.row or ():
        if label not in labels:
            names = ", ".join(map(repr, labels))
            parser.error(f"no row {label!r} in {table.name}; its rows: {names}")
    first, shards = arguments.shard
    # A shard has rows of its own, though SLURM or Open MPI may have started all as one program.
    extra += ["--processes=1"] * (shards > 1)
    rows = [row for row in table.rows if row.label in (arguments.row or labels)]
    # Whoever trains a row evaluates it too.
    trained = list(dict.fromkeys(row.trained or row.label for row in rows))[first::shards]
    chosen = [row for row in rows if (row.trained or row.label) in trained]
    if not chosen:
        print(f"no row is left for shard {first}/{shards}", flush=True)
    every = runs(table, arguments.root)
    todo = [r for r in every if r.row in chosen]
    try:
        check([r for r in every if r.row in chosen or r.row.label in trained])
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
        left = [run for run in row_runs if not run.finished]
        if not left:
            print(f"[{index}/{len(by_row)}] {label}: finished before", flush=True)
            continue
        todo = [[run] for run in left] if left[0].row.trained else [left]
        while todo:
            job = todo.pop(0)
            seeds = ("seed " if len(job) == 1 else "seeds ") + ", ".join(str(r.seed) for r in job)
            name = f"[{index}/{len(by_row)}] {label}, {seeds}"
            print(f"{name}: {job[0].workdir}", flush=True)
            try:
                status, said = perform(job, extra)
            except OSError as error:  # a full disk, a directory that may not be written to
                status, said = 1, str(error)
            if status in (129, 130, 143):
                print(f"{name}: stopped; the same command continues", flush=True)
                return status
            if status:
                print(f"{name}: FAILED, exit code {status}: {said} ({log_of(job)})", flush=True)
                if len(job) > 1:  # each alone: one may have failed all
                    todo += [[run] for run in job if not run.finished]
                else:
                    failed += 1
    if failed:
        print(f"{failed} of {len(chosen)} runs failed; the same command tries them again")
    return 1 if failed else 0


def _seeds(text: str) -> tuple[int, ...]:
    match = re.fullmatch(r"\d+(,\d+)*", text)
    if not match or max(map(int, text.split(","))) > config_lib.MAX_SEED:
        words = f"a list of seeds up to {config_lib.MAX_SEED:,}: 0,1,2"
        raise argparse.ArgumentTypeError(f"{text!r} is not {words}")
    return tuple(sorted({int(seed) for seed in text.split(",")}))


def _shard(text: str) -> tuple[int, int]:
    match = re.fullmatch(r"(\d+)/(\d+)", text)
    if not match or not int(match[1]) < int(match[2]):
        raise argparse.ArgumentTypeError(f"{text!r} is not I/N with I from 0 to N - 1")
    return int(match[1]), int(match[2])


if __name__ == "__main__":
    sys.exit(main())

"""Trains every row of an ablation table with each of its seeds.

    python -m experiments.run cells [--size cpu] [--row LSTM ...] [--seeds 0,1,2] [--shard 0/4]
                                    [--root runs/tables] [-- --config.data.data_dir=DIR ...]

Finished runs are skipped and stopped runs continue, so the same command can be repeated. One
process trains all seeds of a row; on accelerators it trains them as one program. If a row fails,
the failure is printed and the other rows are still trained.

Flags after `--` are passed to every run. Only keys that say where files are and how to execute the
run are allowed there, because any other key would make another row.

`--shard i/n` runs every n-th row, starting with row i, for n machines or the jobs of an array. Rows
that evaluate the weights of another row belong to the shard of that row.

Exit codes: 0 all runs are finished, 1 a run failed, 2 a flag is wrong or a run belongs to another
version of the table, 128 + the number of a signal that stopped it.
"""

import dataclasses
import json
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from experiments import tables
from experiments.records import RunRecords, read_directory
from experiments.tables import Row, Table
from rnnae import command as command_line
from rnnae import config as config_lib
from rnnae import files
from rnnae.config import saved_config
from rnnae.errors import ConfigError

ROOT = Path("runs/tables")
_LAST_FIGURE = Path(files.FIGURES) / files.LAST_FIGURE
_RECORDS = (files.CONFIG, files.METRICS, files.TIMING, files.STARTS)


@dataclasses.dataclass(frozen=True)
class Run:
    """One row with one seed, in a directory of its own."""

    row: Row
    seed: int
    workdir: Path
    weights_dir: Path  # run directory with the weights to evaluate; `workdir` if the run trains
    trained: Row  # the row of these weights; `row` if the run trains

    def records(self) -> RunRecords:
        """What the run has recorded so far."""
        return read_directory(self.workdir, evaluates=bool(self.row.weights_from))

    def weights_records(self) -> RunRecords:
        """What the training of the weights has recorded so far."""
        return read_directory(self.weights_dir, evaluates=False)

    @property
    def finished(self) -> bool:
        """Whether nothing is left to do. A training also draws its last figures."""
        if not self.records().test_metrics:
            return False
        return bool(self.row.weights_from) or (self.workdir / _LAST_FIGURE).exists()

    def check(self) -> None:
        """ConfigError if the run has other settings than its row in the table, or if it is finished
        and one of its records is missing."""
        records = self.records()
        weights = self.weights_records().test_metrics
        if differences := records.differences(self.row, self.seed, weights):
            raise ConfigError(f"{self.workdir} is another run ({differences}): move it away")
        if self.row.weights_from or not records.test_metrics:
            return
        for name in _RECORDS:
            if not (self.workdir / name).exists():
                raise ConfigError(f"{self.workdir} has no {name}: restore it, or move the run away")


def plan(table: Table, root: Path) -> list[Run]:
    """All runs of a table. Runs that evaluate the weights of other rows come last."""

    def directory(label, seed):
        return root / table.directory / tables.slug(label) / f"seed{seed}"

    by_label = {row.label: row for row in table.rows}
    runs = [
        Run(
            row,
            seed,
            directory(row.label, seed),
            directory(row.weights_from or row.label, seed),
            by_label.get(row.weights_from, row),
        )
        for row in table.rows
        for seed in table.seeds
    ]
    return sorted(runs, key=lambda run: bool(run.row.weights_from))


def command(job: Sequence[Run], extra: list[str]) -> list[str]:
    """The command of a job. A job is one process: it trains one or more seeds of a row, or does one
    evaluation."""
    run, row = job[0], job[0].row
    settings = [f"--config.{key}={value}" for key, value in row.overrides.items()]
    if row.weights_from:
        # The paths that the run saved are not used.
        config = config_lib.flat(run.trained.config().to_dict())
        usual = config_lib.flat(config_lib.default().to_dict())
        flags = [f"--workdir={run.weights_dir}", "--mode=evaluate"]
        flags += [
            f"--config.{key}={config[key]}"
            for key in saved_config.MACHINE_PATHS
            if config[key] != usual[key]
        ]
    elif len(job) > 1:
        seeds = ",".join(str(run.seed) for run in job)
        config = f"--config={row.config_file}"
        flags = [f"--workdir={run.workdir.parent}", config, f"--seeds={seeds}"]
    else:
        seed = f"--config.seed={run.seed}"
        flags = [f"--workdir={run.workdir}", f"--config={row.config_file}", seed]
    return [sys.executable, "-m", "rnnae.main", *flags, *settings, *extra]


def execute(job: Sequence[Run], extra: list[str]) -> tuple[int, str]:
    """Executes a job and waits for it. Its output is appended to `log_path(job)`.

    Returns:
      The exit code and the last line of the output. A signal to this process is passed on to the
      job, and the exit code is then 128 + the number of the signal.
    """
    run = job[0]
    if run.row.weights_from and not run.weights_records().test_metrics:
        row = run.row.weights_from
        return 1, f"the training in {run.weights_dir} is not finished; run the row {row!r} first"
    path = log_path(job)
    path.parent.mkdir(parents=True, exist_ok=True)
    begin, received, passed, process = time.monotonic(), 0, False, None

    def pass_on(number, frame):
        nonlocal received, passed
        received = number
        if process:
            passed = True
            process.send_signal(number)

    previous = {n: signal.signal(n, pass_on) for n in command_line.stopping_signals()}
    try:
        with path.open("a", encoding="utf-8") as log:
            # In a session of its own the process does not receive Ctrl-C from the terminal. It
            # receives the signal once, from here.
            process = subprocess.Popen(
                command(job, extra), stdout=log, stderr=subprocess.STDOUT, start_new_session=True
            )
            if received and not passed:  # the signal came before the process existed
                process.send_signal(received)
            status = process.wait()
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
    if run.row.weights_from and not status and not save_evaluation(run, time.monotonic() - begin):
        return 1, f"another process evaluated {run.weights_dir} at the same time"
    lines = path.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    return 128 + received if received else status, lines[-1] if lines else ""


def log_path(job: Sequence[Run]) -> Path:
    """The file with the output of a job."""
    return (job[0].workdir if len(job) == 1 else job[0].workdir.parent) / "log.txt"


def save_evaluation(run: Run, seconds: float) -> bool:
    """Writes evaluation.json of a run that evaluated the weights of another row.

    `rnnae.main --mode=evaluate` leaves its result beside the weights. It is copied to the directory
    of this run, together with the duration, the settings and the test metrics of the weights.

    Returns:
      False if the result beside the weights was made with other settings.
    """
    result = files.read_json(run.weights_dir / files.EVALUATION)
    settings, overrides = config_lib.flat({"eval": result["eval"]}), run.row.overrides
    if any(settings.get(key) != value for key, value in config_lib.flat(overrides).items()):
        return False
    evaluation = {
        "metrics": {k: v for k, v in result.items() if isinstance(v, float)},
        "environment": result["environment"],
        "seconds": seconds,
        "overrides": config_lib.flat(overrides),
        "weights": run.weights_records().test_metrics,
    }
    files.replace_text(run.workdir / files.EVALUATION, json.dumps(evaluation, indent=2) + "\n")
    return True


def main(argv: list[str] | None = None) -> int:
    argv = sys.argv[1:] if argv is None else argv
    split = argv.index("--") if "--" in argv else len(argv)
    parser = tables.argument_parser("run", __doc__)
    parser.add_argument("--row", action="append", help="only this row; may be repeated")
    parser.add_argument(
        "--seeds", type=tables.parse_seeds, help="other seeds than the table's", metavar="N,N"
    )
    shard_help = "only every N-th row, starting with row I"
    parser.add_argument(
        "--shard", default="0/1", type=tables.parse_shard, metavar="I/N", help=shard_help
    )
    root_help = "directory of all runs (default: %(default)s)"
    parser.add_argument("--root", type=files.expand, default=ROOT, help=root_help)
    if settings := [word for word in argv[:split] if word.startswith("--config")]:
        parser.error(f"{settings[0]}: flags that go to every run come last, after --")
    arguments, extra = parser.parse_args(argv[:split]), argv[split + 1 :]
    for word in extra:
        key, equals, _ = word.removeprefix("--config.").partition("=")
        if not (word.startswith("--config.") and equals and key in tables.MACHINE_KEYS):
            keys = ", ".join(tables.MACHINE_KEYS)
            parser.error(
                f"{word} would make another row; after -- use --config.KEY=VALUE of {keys}"
            )
    try:
        table = tables.load(arguments.table, arguments.size)
    except ConfigError as error:
        parser.error(str(error))
    if arguments.seeds:
        table = dataclasses.replace(table, seeds=arguments.seeds)
    labels = [row.label for row in table.rows]
    for label in arguments.row or ():
        if label not in labels:
            rows = ", ".join(map(repr, labels))
            parser.error(f"{table.name} has no row {label!r}; its rows: {rows}")
    first, shards = arguments.shard
    # SLURM or Open MPI may have started all shards as one distributed program. They are not one.
    extra += ["--processes=1"] * (shards > 1)
    rows = [row for row in table.rows if row.label in (arguments.row or labels)]
    # The shard that trains a row also evaluates its weights.
    trained = list(dict.fromkeys(row.weights_from or row.label for row in rows))[first::shards]
    chosen = [row for row in rows if (row.weights_from or row.label) in trained]
    if not chosen:
        print(f"shard {first}/{shards} has no rows", flush=True)
    runs = plan(table, arguments.root)
    try:
        for run in runs:
            if run.row in chosen or run.row.label in trained:
                run.check()
    except ConfigError as error:
        print(f"experiments.run: {error}", file=sys.stderr)
        return error.exit_code
    return execute_all([run for run in runs if run.row in chosen], extra)


def execute_all(runs: list[Run], extra: list[str]) -> int:
    """Executes the runs that are not finished, one job after another; returns the exit code."""
    by_row: dict[str, list[Run]] = {}
    for run in runs:
        by_row.setdefault(run.row.label, []).append(run)
    failed = 0
    for index, (label, row_runs) in enumerate(by_row.items(), 1):
        unfinished = [run for run in row_runs if not run.finished]
        if not unfinished:
            print(f"[{index}/{len(by_row)}] {label}: already finished", flush=True)
            continue
        evaluates = bool(unfinished[0].row.weights_from)
        jobs = [[run] for run in unfinished] if evaluates else [unfinished]
        while jobs:
            job = jobs.pop(0)
            seeds = ("seed " if len(job) == 1 else "seeds ") + ", ".join(str(r.seed) for r in job)
            name = f"[{index}/{len(by_row)}] {label}, {seeds}"
            print(f"{name}: {job[0].workdir}", flush=True)
            try:
                status, last_line = execute(job, extra)
            except OSError as error:  # the disk is full, or a directory is not writable
                status, last_line = 1, str(error)
            if status in {128 + number for number in command_line.stopping_signals()}:
                print(f"{name}: stopped; the same command continues", flush=True)
                return status
            if status:
                reason = f"exit code {status}: {last_line} ({log_path(job)})"
                print(f"{name}: FAILED, {reason}", flush=True)
                if len(job) > 1:  # one seed may have failed all of them: run each seed alone
                    jobs += [[run] for run in job if not run.finished]
                else:
                    failed += 1
    if failed:
        print(f"{failed} of {len(runs)} runs failed; the same command tries them again")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(command_line.execute(main, "experiments.run"))

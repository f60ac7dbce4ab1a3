"""The runs of a table, and their execution as processes.

A *run* is one row with one seed, in a directory of its own. A *job* is one process: it trains one
or more seeds of a row, or does one evaluation.
"""

import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from experiments import paired, tables
from experiments.records import RunRecords, read_directory
from experiments.tables import Row, Table
from rnnae import command as command_line
from rnnae import config as config_lib
from rnnae import files
from rnnae.config import saved_config
from rnnae.errors import ConfigError

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
    """The command of a job."""
    run, row = job[0], job[0].row
    settings = [f"--config.{key}={value}" for key, value in row.overrides.items()]
    if row.weights_from:
        # The paths that the run saved are not used.
        config = config_lib.flat(run.trained.config().to_dict())
        usual = config_lib.flat(config_lib.default().to_dict())
        flags = [f"--workdir={run.weights_dir}", "--mode=evaluate"]
        flags += [f"--out={run.workdir / paired.EVALUATED}"]
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


class Processes:
    """Starts processes. In its `with` block the signals that would stop this process are passed on
    to them instead.

    Attributes:
      received: number of the last such signal; 0 if none came.
    """

    def __init__(self):
        self.received = 0
        self._told: dict[subprocess.Popen, bool] = {}  # process -> whether a signal was passed on

    def __enter__(self) -> "Processes":
        signals = command_line.stopping_signals()
        self._previous = {number: signal.signal(number, self._pass_on) for number in signals}
        return self

    def __exit__(self, *exception) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def _pass_on(self, number, frame) -> None:
        self.received = number
        for process in list(self._told):
            self._told[process] = True
            process.send_signal(number)

    def start(self, words: list[str], log: Path, lock: int | None) -> subprocess.Popen:
        """Starts the command `words`, whose output is appended to `log`.

        `lock` is the file descriptor of a lock that the process shares, so that it is held until
        both processes have ended.
        """
        log.parent.mkdir(parents=True, exist_ok=True)
        shared = () if lock is None or os.name == "nt" else (lock,)
        with log.open("a", encoding="utf-8") as output:
            # In a session of its own the process does not receive Ctrl-C from the terminal. It
            # receives the signal once, from here.
            process = subprocess.Popen(
                words,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                pass_fds=shared,
            )
        self._told.setdefault(process, False)
        if self.received and not self._told[process]:  # it came before the process existed
            process.send_signal(self.received)
        return process


def execute(job: Sequence[Run], extra: list[str], lock: int | None = None) -> tuple[int, str]:
    """Executes a job and waits for it. Its output is appended to `log_path(job)`; its process
    shares the `lock`.

    Returns:
      The exit code and the last line of the output. A signal to this process is passed on to the
      job, and the exit code is then 128 + the number of the signal.
    """
    run = job[0]
    if run.row.weights_from and not run.weights_records().test_metrics:
        row = run.row.weights_from
        return 1, f"the training in {run.weights_dir} is not finished; run the row {row!r} first"
    begin = time.monotonic()
    with Processes() as processes:
        status = processes.start(command(job, extra), log_path(job), lock).wait()
    if run.row.weights_from and not status:
        save_evaluation(run, time.monotonic() - begin)
    return 128 + processes.received if processes.received else status, last_line(log_path(job))


def last_line(log: Path) -> str:
    """The last line of the output of a process."""
    lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    return lines[-1] if lines else ""


def log_path(job: Sequence[Run]) -> Path:
    """The file with the output of a job."""
    return (job[0].workdir if len(job) == 1 else job[0].workdir.parent) / "log.txt"


def save_evaluation(run: Run, seconds: float) -> None:
    """Writes evaluation.json of a run that evaluated the weights of another row: what the command
    has left, with the duration, the settings and the test metrics of the weights."""
    result = files.read_json(run.workdir / paired.EVALUATED)
    evaluation = {
        "metrics": {k: v for k, v in result.items() if isinstance(v, float)},
        "environment": result["environment"],
        "seconds": seconds,
        "overrides": config_lib.flat(run.row.overrides),
        "weights": run.weights_records().test_metrics,
    }
    files.replace_text(run.workdir / files.EVALUATION, json.dumps(evaluation, indent=2) + "\n")

"""Searches the settings of a space by successive halving (Jamieson & Talwalkar 2016).

    python -m experiments.search mnist --trials 40 --jobs 2 [--root runs/searches]
                                      [-- --config.data.data_dir=DIR ...]
    python -m experiments.search mnist --report [--out experiments/results/searches]

A trial is an ordinary run in ROOT/SPACE/trialNNN that is planned for its whole length. Optuna
proposes its settings by what the trials before it reached at the first rung, and SIGTERM stops it
there. When all have been there, the best of them continue to the next rung, and so on. Nothing is
lost by a stop, because a run continues exactly: with rungs at 1, 3 and 9 epochs, 40 trials take 90
epochs instead of 360.

The same command continues a search that was stopped or killed. With more --trials it adds trials,
and those that are now among the best go on. A trial whose loss is not finite, or that does not fit
into memory, counts as the worst. Flags after `--` are as for experiments.run.

`--report` writes SPACE.md, SPACE.png and a copy of the search's journal to OUT. Where the search
itself is not, they are made from that copy.

Exit codes: 0 the search is finished, 1 a trial failed, 2 a flag or the space is wrong, or the
search belongs to another version of the space, 128 + the number of a signal that stopped it.
"""

import contextlib
import itertools
import math
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from experiments import jobs, search_report, spaces, tables
from experiments import study as study_lib
from experiments.jobs import Processes, Run
from experiments.spaces import Space
from experiments.study import value_at
from rnnae import command as command_line
from rnnae import files
from rnnae.errors import ConfigError, NonFiniteError, OutOfMemory, RnnaeError, Stopped

ROOT = Path("runs/searches")
POLL_SECONDS = 1.0  # between two looks at the trials that run
_WORST = (NonFiniteError.exit_code, OutOfMemory.exit_code)


class TrialFailed(RnnaeError):
    """A trial ended in a way that says nothing about how good its settings are."""

    def __init__(self, message: str, number: int, status: int):
        super().__init__(message)
        self.number, self.status = number, status


def search(space: Space, directory: Path, trials: int, workers: int, extra: list[str]) -> None:
    """Searches in `directory` until there are `trials` trials, `workers` at a time, or continues
    the search there. `extra` are flags of every trial.

    Raises ConfigError, TrialFailed, or Stopped after a signal.
    """
    with _lock(directory) as lock, Processes() as processes:
        study = study_lib.open_study(space, directory / search_report.JOURNAL)

        def start(run: Run) -> subprocess.Popen:
            run.check()
            return processes.start(jobs.command([run], extra), jobs.log_path([run]), lock)

        def run_of(trial) -> Run:
            row, workdir = space.trial(trial.number, trial.params), f"trial{trial.number:03}"
            return Run(row, 0, directory / workdir, directory / workdir, row)

        def train(runs: Iterable[tuple[int, Run]], epochs: int) -> Iterator[tuple[int, float]]:
            for number, run, value in train_to(epochs, runs, space, workers, start, processes):
                study_lib.note(study, run, space, value)
                print(f"{run.row.label}: {value:.5g} at epoch {epochs}", flush=True)
                yield number, value

        proposed = study_lib.proposals(study, space, trials)
        try:
            for number, value in train(((t.number, run_of(t)) for t in proposed), space.rungs[0]):
                study.tell(number, value)
        except TrialFailed as failed:
            if failed.status == ConfigError.exit_code:  # it would fail again
                study_lib.give_up(study, failed.number)
            raise
        valued = study_lib.valued(study)
        runs = {trial.number: run_of(trial) for trial in valued}
        values = {trial.number: trial.value for trial in valued}
        for before, epochs in itertools.pairwise(space.rungs):
            best = promoted(values, max(1, len(values) * before // epochs))
            print(f"{len(best)} of {len(values)} trials go on to epoch {epochs}", flush=True)
            values = dict(train([(number, runs[number]) for number in best], epochs))


def promoted(values: dict[int, float], count: int) -> list[int]:
    """The numbers of the `count` best trials, the best first. None that could not be trained."""
    finite = [number for number in values if math.isfinite(values[number])]
    return sorted(finite, key=lambda number: (values[number], number))[:count]


def train_to(
    epochs: int,
    runs: Iterable[tuple[int, Run]],
    space: Space,
    workers: int,
    start: Callable[[Run], subprocess.Popen],
    processes: Processes,
) -> Iterator[tuple[int, Run, float]]:
    """Trains numbered runs until they are validated after `epochs` epochs, `workers` at a time.

    Yields:
      Each run with its number and its value there, as soon as it is known; inf if its settings
      cannot be trained. SIGTERM stops a run there unless it is complete.

    Raises:
      TrialFailed if a run ends otherwise, Stopped after a signal to this process. By then no run
      trains any more.
    """
    queue, active, told = iter(runs), {}, set()
    whole = epochs == space.rungs[-1]

    def value_of(run: Run) -> float | None:
        return value_at(run, space.metric, epochs) if run.finished or not whole else None

    try:
        while True:
            while not processes.received and len(active) < workers and (item := next(queue, None)):
                number, run = item
                if (value := value_of(run)) is not None:  # from before this search was stopped
                    yield number, run, value
                else:
                    print(f"{run.row.label} to epoch {epochs}: {run.workdir}", flush=True)
                    active[start(run)] = number, run
            if not active:
                break
            for process, (number, run) in list(active.items()):
                status, value = process.poll(), value_of(run)  # in this order
                if status is None:
                    if value is not None and not whole and process not in told:
                        told.add(process)
                        process.send_signal(signal.SIGTERM)
                    continue
                del active[process]
                if status in _WORST:
                    yield number, run, math.inf
                elif value is not None:
                    yield number, run, value
                elif not processes.received:
                    log = jobs.log_path([run])
                    line = f"exit code {status}: {jobs.last_line(log)} ({log})"
                    raise TrialFailed(f"{run.row.label} FAILED, {line}", number, status)
            time.sleep(POLL_SECONDS)
    finally:
        for process in active:
            if process not in told and not processes.received:
                process.send_signal(signal.SIGTERM)
        for process in active:
            process.wait()
    if processes.received:
        raise Stopped("stopped; the same command continues", 128 + processes.received)


@contextlib.contextmanager
def _lock(directory: Path) -> Iterator[int]:
    """Holds the directory of a search; ConfigError if another search or a trial of one does."""
    with contextlib.ExitStack() as stack:
        try:
            lock = stack.enter_context(files.exclusive_lock(directory))
        except ConfigError as error:
            raise ConfigError(
                f"another search, or a trial of one that was killed, works in {directory}: wait "
                "for it, or stop it"
            ) from error
        yield lock


def main(argv: list[str] | None = None) -> int:
    parser = tables.command_parser("search", __doc__)
    parser.add_argument("space", choices=spaces.SPACES)
    count = {"type": tables.parse_count, "metavar": "N"}
    parser.add_argument("--trials", **count, default=40, help="in all (default: %(default)s)")
    parser.add_argument("--jobs", **count, default=1, help="at a time (default: %(default)s)")
    root_help = "directory of all searches (default: %(default)s)"
    parser.add_argument("--root", type=files.expand, default=ROOT, help=root_help)
    parser.add_argument("--report", action="store_true", help="write the report, and run nothing")
    out_help = "directory of the report (default: %(default)s)"
    out = search_report.RESULTS
    parser.add_argument("--out", type=files.expand, default=out, help=out_help)
    arguments, extra = tables.parse_arguments(parser, argv)
    space = spaces.load(arguments.space)
    directory = arguments.root / space.name
    if arguments.report:
        search_report.write(space, directory, arguments.out)
    else:
        # A trial is a run of its own, even if SLURM or Open MPI has started several processes.
        extra += ["--processes=1"]
        search(space, directory, arguments.trials, arguments.jobs, extra)
    return 0


if __name__ == "__main__":
    sys.exit(command_line.execute(main, "experiments.search"))

"""The rows of tables as a queue, for any number of workers on one disk.

A worker takes the first row that no other process holds. When all that are left are held, it waits
for them: if their worker dies, it continues them. While a worker executes the jobs of a row, it
holds a lock in the row's directory, and its job shares the lock. So a row is held until both have
ended, and a job that outlives its worker is not started twice.
"""

import contextlib
import math
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from experiments import jobs
from experiments.jobs import Run
from experiments.tables import Row
from rnnae import command as command_line
from rnnae import config as config_lib
from rnnae import files
from rnnae.errors import ConfigError, import_optional

WAIT_SECONDS = 10.0  # between two looks at rows that other processes hold
_USUAL_IMAGES = 50_000  # training images of a data set, for the comparison of costs


def work(runs: list[Run], extra: list[str]) -> int:
    """Executes the runs that are not finished, one row after another; returns the exit code.

    `runs` are in the order of `jobs.plan`; `extra` are flags for every job.
    """
    rows: dict[Path, list[Run]] = {}
    for run in runs:
        rows.setdefault(run.workdir.parent, []).append(run)
    rows, count, failed = longest_first(rows), len(rows), []
    while rows:
        with _free_row(rows) as (directory, lock):
            row_runs = rows.pop(directory)
            name = f"[{count - len(rows)}/{count}] {row_runs[0].row.label}"
            status, failed_of_row = _execute_row(name, row_runs, extra, lock)
        if status:
            return status
        failed += failed_of_row
    failed = [run for run in failed if not run.finished]  # another worker may have done better
    if failed:
        print(f"{len(failed)} of {len(runs)} runs failed; the same command tries them again")
    return 1 if failed else 0


def longest_first(rows: dict[Path, list[Run]]) -> dict[Path, list[Run]]:
    """The same rows by directory: those that are finished, those to train, the most expensive
    first, and those that evaluate the weights of other rows."""
    order = {}
    for directory, runs in rows.items():
        if runs[0].row.weights_from:
            order[directory] = math.inf
        elif all(run.finished for run in runs):
            order[directory] = -math.inf
        else:
            order[directory] = -cost(runs[0].row)
    return {directory: rows[directory] for directory in sorted(rows, key=order.__getitem__)}


def cost(row: Row) -> float:
    """About the FLOP of one training of a row, as far as its config tells them; 0 if it does not.

    A data set counts as 50,000 images. Tests are not counted.
    """
    import jax  # slow to import, like all that builds models

    from rnnae import build
    from rnnae.evaluation import flops

    jax.config.update("jax_platforms", "cpu")  # leaves the accelerators to the jobs
    config = row.config()
    shape = build.image_shape(config)
    if not shape:
        return 0.0
    try:
        config_lib.check(config)
        flop = flops.training(build.build_model(config_lib.resolved(config, shape)))
    except ConfigError:  # the job will fail, and say why
        return 0.0
    images = config.train.epochs * (config.data.train_images or _USUAL_IMAGES)
    return float(flop * (config.train.max_steps * config.data.batch_size or images))


@contextlib.contextmanager
def _free_row(rows: dict[Path, list[Run]]) -> Iterator[tuple[Path, int | None]]:
    """Waits for a row that no other process holds, and holds it in the body.

    Yields:
      The directory of the row, and the file descriptor of the lock; None if there can be no lock.
    """
    waiting = False
    while True:
        for directory, runs in rows.items():
            weights = runs[0].weights_dir.parent
            if weights != directory and weights in rows:  # these weights are not trained yet
                continue
            with contextlib.ExitStack() as stack:
                try:
                    # Evaluations of new images write pictures beside the weights, one at a time.
                    lock = stack.enter_context(files.exclusive_lock(weights))
                except ConfigError:
                    continue
                except OSError:  # the job will fail, and say why
                    lock = None
                yield directory, lock
                return
        if not waiting:
            labels = ", ".join(runs[0].row.label for runs in rows.values())
            print(f"waiting for {labels}: other processes hold them", flush=True)
        waiting = True
        time.sleep(WAIT_SECONDS)


def _execute_row(
    name: str, runs: list[Run], extra: list[str], lock: int | None
) -> tuple[int, list[Run]]:
    """Executes the runs of a row that are not finished.

    Returns:
      The exit code of a job that a signal stopped, else 0; and the runs that failed.
    """
    unfinished = [run for run in runs if not run.finished]
    if not unfinished:
        print(f"{name}: already finished", flush=True)
        return 0, []
    evaluates, failed = bool(runs[0].row.weights_from), []
    left = [[run] for run in unfinished] if evaluates else [unfinished]
    while left:
        job = left.pop(0)
        seeds = ("seed " if len(job) == 1 else "seeds ") + ", ".join(str(r.seed) for r in job)
        print(f"{name}, {seeds}: {job[0].workdir}", flush=True)
        try:
            status, last_line = jobs.execute(job, extra, lock)
        except OSError as error:  # the disk is full, or a directory is not writable
            status, last_line = 1, str(error)
        if status in {128 + number for number in command_line.stopping_signals()}:
            print(f"{name}, {seeds}: stopped; the same command continues", flush=True)
            return status, failed
        if status:
            reason = f"exit code {status}: {last_line} ({jobs.log_path(job)})"
            print(f"{name}, {seeds}: FAILED, {reason}", flush=True)
            if len(job) > 1:  # one seed may have failed all of them: run each seed alone
                left += [[run] for run in job if not run.finished]
            else:
                failed += job
    return 0, failed


def submit(words: list[str], workers: int, logs: Path, **parameters) -> list:
    """Starts `workers` processes `python -m experiments.run WORDS` and returns them as jobs of
    submitit: by SLURM, or on this machine where there is no SLURM.

    `parameters` are those of `submitit.AutoExecutor.update_parameters`.
    """
    submitit = import_optional("submitit", 'pip install "rnnae[slurm]"')
    executor = submitit.AutoExecutor(logs)
    executor.update_parameters(**parameters)
    worker = submitit.helpers.CommandFunction([sys.executable, "-m", "experiments.run", *words])
    submitted = [executor.submit(worker) for _ in range(workers)]
    for job in submitted:
        print(f"job {job.job_id}: {job.paths.stdout}", flush=True)
    return submitted

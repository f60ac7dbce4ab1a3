"""Several seeds of one config: as one program, or one run after another.

As one program, the states are stacked along an axis of seeds and the training step is vmapped over
it. Each seed writes the same files as a separate run.
"""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import jax
import ml_collections
import numpy as np

from rnnae import build, files, state
from rnnae.devices import distributed, parallel, signals
from rnnae.errors import NonFiniteError, TooLargeError
from rnnae.records.checkpoint import align_checkpoints
from rnnae.training import milestones
from rnnae.training.loop import SyncPolicy, ThroughputMeter, batches, updates
from rnnae.training.progress import Reading
from rnnae.training.schedule import Schedule
from rnnae.training.step import make_train_step
from rnnae.training.train import (
    agree_on_devices,
    load_data,
    lock,
    make_progress,
    open_run,
    train,
)
from rnnae.types import Batch


def train_seeds(
    config: ml_collections.ConfigDict,
    workdir: str | Path,
    seeds: Sequence[int],
    together: bool | None = None,
) -> list[dict[str, float]]:
    """`train` with each of the seeds, in `workdir`/seed<n>; returns the test metrics of each.

    `together` trains them as one program; False trains one after another. None chooses: together on
    accelerators, which a single small model leaves idle, but not on CPUs, where it is slower
    (configs/mnist.py, two seeds on two cores: 1.14 times the time). Seeds train one after another
    in any case if the device has no memory for all of them, or if their checkpoints are of
    different steps.
    """
    configs = [config.copy_and_resolve_references() for _ in seeds]
    for own, seed in zip(configs, seeds, strict=True):
        own.seed = seed
    workdirs = [files.expand(workdir) / f"seed{seed}" for seed in seeds]
    if together is None:
        together = jax.default_backend() != "cpu"
    if together and len(seeds) > 1:
        try:
            if results := train_together(configs, workdirs):
                return results
            print("the seeds are at different steps: training them one by one", flush=True)
        except (TooLargeError, jax.errors.JaxRuntimeError) as error:
            if not isinstance(error, TooLargeError) and "RESOURCE_EXHAUSTED" not in str(error):
                raise
            print("no memory for all seeds on the device: training them one by one", flush=True)
    results = []
    for own, directory in zip(configs, workdirs, strict=True):
        print(f"seed {own.seed}, in {directory}", flush=True)
        results.append(train(own, directory))
    return results


def train_together(
    configs: Sequence[ml_collections.ConfigDict], workdirs: Sequence[Path]
) -> list[dict[str, float]] | None:
    """`train` of configs that differ in their seeds only, as one program. None, and nothing is
    trained, if their checkpoints are of different steps."""
    count = len(configs)
    with contextlib.ExitStack() as stack:
        stack.enter_context(signals.handled())
        devices = agree_on_devices(configs[0], workdirs[0])
        distributed.check_same("the list of seeds", str([config.seed for config in configs]))
        # For everything that does not depend on the seed, such as the images.
        config, splits = load_data(configs[0], workdirs[0])
        loaded = [
            load_data(own, workdir, splits) for own, workdir in zip(configs, workdirs, strict=True)
        ]
        schedule = Schedule.from_config(config, len(splits.train))
        progress = stack.enter_context(make_progress(config, splits, schedule))
        logs = [progress.prefixed(f"seed {own.seed}") for own in configs]
        for workdir, log in zip(workdirs, logs, strict=True):
            lock(workdir, log, stack)
        if not align_checkpoints(workdirs):
            return None
        opened = [
            open_run(own, workdir, parts, schedule, devices, log, stack)
            for (own, parts), workdir, log in zip(loaded, workdirs, logs, strict=True)
        ]
        runs = [run for run, _ in opened]
        step = int(opened[0][1].step)
        train_state = parallel.replicate(state.stack([s for _, s in opened]), devices)
        del opened  # the states would take memory beside their stack

        def for_each_seed(milestone: Callable, step: int, train_state) -> list:
            states = state.unstack(train_state, count)
            return [milestone(run, step, own) for run, own in zip(runs, states, strict=True)]

        if schedule.validation_due(step):
            for_each_seed(milestones.validate, step, train_state)
        optimizer, learning_rate = build.build_optimizer(config, schedule.total)
        train_step = make_train_step(config, optimizer, learning_rate, devices[0])
        signals.defer()
        steps = updates(
            step,
            train_state,
            parallel.train_call(vmap_over_seeds(train_step), devices),
            _stacked_batches(runs, schedule, step),
            devices,
            SyncPolicy(schedule, config.train.checkpoint_every_seconds),
            SeedMeters(
                [ThroughputMeter(schedule, run.writer, seeds_in_program=count) for run in runs],
                [own.seed for own in configs],
            ),
            progress,
        )
        for step, train_state in steps:
            for_each_seed(milestones.save, step, train_state)
            signals.check(f"at step {step}")
            if schedule.validation_due(step):
                for_each_seed(milestones.validate, step, train_state)
        signals.stop_immediately("after the last step")
        return for_each_seed(milestones.finish, step, train_state)


def vmap_over_seeds(train_step: Callable) -> Callable:
    """`train_step` of one seed -> that of S seeds: states and batches have an axis of seeds."""

    def steps(train_state, batches, positions_B, average):
        def one_seed(own, batch):
            return train_step(own, batch, positions_B, average)

        return jax.vmap(one_seed)(train_state, batches)

    return steps


def _stacked_batches(
    runs: Sequence[milestones.TrainingRun], schedule: Schedule, step: int
) -> Iterator[Batch]:
    """Batches with the axes K, S and B for each call from `step` on: each seed has its own data
    order."""
    streams = [batches(run.splits, run.config, schedule, step) for run in runs]
    for of_seeds in zip(*streams, strict=True):
        yield Batch(*(np.stack(parts, axis=1) for parts in zip(*of_seeds, strict=True)))


class SeedMeters:
    """The meters of several seeds that train in one program, as if they were one meter."""

    def __init__(self, meters: Sequence[ThroughputMeter], seeds: Sequence[int]):
        self._meters, self._seeds = meters, seeds

    def start(self) -> None:
        for meter in self._meters:
            meter.start()

    def exclude(self, seconds: float) -> None:
        for meter in self._meters:
            meter.exclude(seconds)

    def read(self, step: int, metrics: dict[str, jax.Array]) -> Reading:
        """Metrics have shape (K, S). The reading has means over the seeds."""
        values = jax.device_get(metrics)
        readings = []
        for index, meter in enumerate(self._meters):
            own = {name: np.ascontiguousarray(x[:, index]) for name, x in values.items()}
            try:
                readings.append(meter.read(step, own))
            except NonFiniteError as error:
                raise NonFiniteError(f"seed {self._seeds[index]}: {error}") from error
        means = {
            name: float(np.mean([r.metrics[name] for r in readings]))
            for name in readings[0].metrics
        }
        return readings[0]._replace(metrics=means)

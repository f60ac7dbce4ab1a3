"""`updates`: the training loop, as calls of compiled programs.

A *program call* runs up to `config.train.steps_per_call` training steps as one compiled program.
`updates` makes one call after another, and hands out the state whenever `SyncPolicy` asks for it.
"""

import time
from collections.abc import Callable, Iterator, Sequence

import jax
import ml_collections
import numpy as np

from rnnae.data import pipeline
from rnnae.data.splits import Splits
from rnnae.devices import distributed, memory, parallel, signals
from rnnae.errors import TRAIN_ANEW, NonFiniteError
from rnnae.records.writer import Writer
from rnnae.state import TrainState
from rnnae.training.profile import Profiler
from rnnae.training.progress import Progress, Reading
from rnnae.training.schedule import Schedule
from rnnae.types import Batch


def batches(
    splits: Splits, config: ml_collections.ConfigDict, schedule: Schedule, step: int
) -> Iterator[Batch]:
    """This process's slice of the training batches of each program call from `step` on, with the
    axes K and B."""
    return pipeline.stream(
        splits.train,
        splits.labels.train if config.model.classes else None,
        schedule.calls(step),
        seed=config.seed,
        batch_size=schedule.batch_size,
        local_slice=distributed.local_slice(schedule.batch_size),
    )


def updates(
    step: int,
    train_state: TrainState,
    call: Callable,
    batches: Iterator[Batch],
    devices: Sequence[jax.Device],
    sync: "SyncPolicy",
    meter: "ThroughputMeter",
    progress: Progress,
    profiler: Profiler | None = None,
) -> Iterator[tuple[int, TrainState]]:
    """Trains from `step` on, one program call per item of `batches`; yields (step, state) whenever
    `sync` asks for a pause.

    Call n is dispatched before the metrics of call n - 1 are read, so that the device does not wait
    for the host. All metrics have been read before a state is yielded.
    """
    programs, unread = {}, []

    def read_oldest():
        progress.update(meter.read(*unread.pop(0)))

    meter.start()
    for call_batches in batches:
        count = len(call_batches.label_B)
        shards = parallel.shard_batches(call_batches, devices)
        if count not in programs:  # calls at the ends of epochs and of the run may be shorter
            # Finish earlier calls first: their time must not be excluded as compilation time.
            while unread:
                read_oldest()
            begin = time.monotonic()
            programs[count] = call.lower(train_state, shards).compile()
            memory.check_program(programs[count], len(devices) // jax.process_count())
            seconds = time.monotonic() - begin
            if len(programs) == 1:
                progress.log(f"compiled in {seconds:.1f} s")
            meter.exclude(seconds)
        if profiler:
            profiler.before(count)
        train_state, metrics = programs[count](train_state, shards)
        if profiler:
            profiler.after(metrics)
        step += count
        unread.append((step, metrics))
        pause = sync.pause_after(step)
        while len(unread) > (0 if pause else 1):
            read_oldest()
        if pause:
            yield step, train_state
            meter.start()


class SyncPolicy:
    """When the loop pauses to hand out its state: for a validation, for a checkpoint every
    `seconds`, because of a signal, and at the end."""

    def __init__(self, schedule: Schedule, seconds: float):
        self._schedule, self._seconds = schedule, seconds
        self._last = time.monotonic()
        self._previous_answer: Callable[[], int] = lambda: 0

    def pause_after(self, step: int) -> bool:
        """Whether to pause after `step`; the same in every process."""
        now = time.monotonic()
        wants_pause = signals.received() or now - self._last > self._seconds
        answer = distributed.async_max(wants_pause)
        if distributed.several():
            # Asking all processes takes time, so the loop acts on the answer one call later.
            answer, self._previous_answer = self._previous_answer, answer
        schedule = self._schedule
        pause = answer() > 0 or step == schedule.total or schedule.validation_due(step)
        if pause:
            self._last = now
            self._previous_answer()  # no collective may be in flight during a validation
            self._previous_answer = lambda: 0
        return pause


class ThroughputMeter:
    """Reads the metrics of each call, checks that they are finite, and records them with the speed.

    `seeds_in_program` seeds train in the same program, and each counts an equal share of the time.
    """

    def __init__(self, schedule: Schedule, writer: Writer, seeds_in_program: int = 1):
        self._schedule, self._writer, self._seeds = schedule, writer, seeds_in_program
        self._seconds = max((r["seconds"] for r in writer.timings()), default=0.0)
        self._seconds_here, self._steps_here = 0.0, 0  # since this process started
        self.start()

    def start(self) -> None:
        """Training time counts from now: what came before was not training."""
        self._begin = time.monotonic()

    def exclude(self, seconds: float) -> None:
        """Leaves out time that was not training, such as compilation."""
        self._begin += seconds

    def read(self, step: int, metrics: dict[str, jax.Array]) -> Reading:
        """Waits for the call that ended at `step`, whose metrics have shape (K,).

        Raises NonFiniteError if the loss or the gradient of one of its steps is not finite.
        """
        values = {name: np.asarray(x, np.float64) for name, x in jax.device_get(metrics).items()}
        count = len(values["loss"])
        _check_finite(values, step - count)
        means = {name: float(x.mean(axis=0)) for name, x in values.items()}
        now = time.monotonic()
        seconds, self._begin = (now - self._begin) / self._seeds, now
        self._seconds += seconds
        self._seconds_here += seconds
        self._steps_here += count
        speed = count * self._schedule.batch_size / max(seconds, 1e-9)
        epoch = self._schedule.epoch(step)
        self._writer.write_metrics(step, epoch, {f"train/{k}": v for k, v in means.items()})
        self._writer.write_timing(step, seconds=self._seconds, images_per_second=speed)
        # At the mean speed of this process: a run may continue on another machine.
        seconds_per_step = self._seconds_here / self._steps_here * self._seeds
        seconds_left = seconds_per_step * (self._schedule.total - step)
        return Reading(step, means, speed, seconds_left)


def finite_steps(values: dict[str, np.ndarray]) -> np.ndarray:
    """Whether the loss and the gradient of each step of a call are finite, (K,)."""
    return np.isfinite(values["loss"]) & np.isfinite(values["grad_norm"])


def _check_finite(values: dict[str, np.ndarray], step: int) -> None:
    """NonFiniteError for the first step after `step` whose loss or gradient is not finite."""
    finite_K = finite_steps(values)
    if finite_K.all():
        return
    k = int(np.argmin(finite_K))
    raise NonFiniteError(
        f"loss {values['loss'][k]} with gradient norm {values['grad_norm'][k]} at step "
        f"{step + k + 1}, learning rate {values['learning_rate'][k]:.3g}; {TRAIN_ANEW}"
    )

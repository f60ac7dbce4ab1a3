"""`updates`: program calls one after another, when they stop to synchronise, and their metrics."""

import time
from collections.abc import Callable, Iterator, Sequence

import jax
import numpy as np

from rnnae.data import pipeline
from rnnae.data.images import ImageArray
from rnnae.devices import distributed, parallel, signals
from rnnae.errors import NonFiniteError
from rnnae.records.writer import Writer
from rnnae.state import TrainState
from rnnae.training.progress import Progress, Reading
from rnnae.training.schedule import Schedule


def batches(images: ImageArray, schedule: Schedule, step: int, seed: int) -> Iterator[np.ndarray]:
    """This process's slice of the batches of each program call from `step` on, uint8
    (K, B, H, W, C)."""
    return pipeline.stream(
        images,
        schedule.calls(step),
        seed=seed,
        batch_size=schedule.batch_size,
        local_slice=distributed.local_slice(schedule.batch_size),
    )


def updates(
    step: int,
    train_state: TrainState,
    call: Callable,
    batches: Iterator[np.ndarray],
    devices: Sequence[jax.Device],
    sync: "SyncPolicy",
    meter: "ThroughputMeter",
    progress: Progress,
) -> Iterator[tuple[int, TrainState]]:
    """Trains from `step` on, one program call per item of `batches`; yields (step, state) whenever
    `sync` says so.

    Call n is dispatched before the metrics of call n - 1 are read, so that the device does not wait
    for the host. All metrics have been read before a state is yielded.
    """
    programs, unread = {}, []

    def read_oldest():
        progress.update(meter.read(*unread.pop(0)))

    meter.start()
    for images in batches:
        count = len(images)
        shards = parallel.shard_batches(images, devices)
        if count not in programs:  # a run has two or three different lengths of call
            while unread:  # or the running call would be timed as part of the compilation
                read_oldest()
            begin = time.monotonic()
            programs[count] = call.lower(train_state, shards).compile()
            seconds = time.monotonic() - begin
            if len(programs) == 1:
                progress.log(f"compiled in {seconds:.1f} s")
            meter.exclude(seconds)
        train_state, metrics = programs[count](train_state, shards)
        step += count
        unread.append((step, metrics))
        due = sync.due(step)
        while len(unread) > (0 if due else 1):
            read_oldest()
        if due:
            yield step, train_state
            meter.start()


class SyncPolicy:
    """When the loop stops to hand out its state: for a validation, for a checkpoint after `seconds`
    of training, because of a signal, and at the end."""

    def __init__(self, schedule: Schedule, seconds: float):
        self._schedule, self._seconds = schedule, seconds
        self._last = time.monotonic()
        self._pending: Callable[[], int] = lambda: 0

    def due(self, step: int) -> bool:
        """Whether to stop after `step`; the same in every process."""
        now = time.monotonic()
        wanted = signals.received() or now - self._last > self._seconds
        asked = distributed.async_max(wanted)
        if distributed.several():  # use the answer one call later, so that no process waits for it
            asked, self._pending = self._pending, asked
        due = asked() > 0 or step == self._schedule.total or self._schedule.validation_due(step)
        if due:
            self._last = now
            self._pending()  # no collective may be in flight beside those of the validation
            self._pending = lambda: 0
        return due


class ThroughputMeter:
    """Reads the metrics of each call: checks that they are finite and records them, with the speed.

    `share` is the number of seeds that train in the same program, each of which counts an equal
    share of the time.
    """

    def __init__(self, schedule: Schedule, writer: Writer, share: int = 1):
        self._schedule, self._writer, self._share = schedule, writer, share
        self._seconds = max((r["seconds"] for r in writer.timings()), default=0.0)
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
        seconds, self._begin = (now - self._begin) / self._share, now
        self._seconds += seconds
        speed = count * self._schedule.batch_size / max(seconds, 1e-9)
        epoch = self._schedule.epoch(step)
        self._writer.write_metrics(step, epoch, {f"train/{k}": v for k, v in means.items()})
        self._writer.write_timing(step, seconds=self._seconds, images_per_second=speed)
        # At the mean speed so far.
        left = self._seconds / step * (self._schedule.total - step) * self._share
        return Reading(step, means, speed, left)


def _check_finite(values: dict[str, np.ndarray], step: int) -> None:
    """NonFiniteError for the first step after `step` whose loss or gradient is not finite."""
    finite_K = np.isfinite(values["loss"]) & np.isfinite(values["grad_norm"])
    if finite_K.all():
        return
    k = int(np.argmin(finite_K))
    raise NonFiniteError(
        f"loss {values['loss'][k]} with gradient norm {values['grad_norm'][k]} at step "
        f"{step + k + 1}, learning rate {values['learning_rate'][k]:.3g}; the last checkpoint is "
        "from before it; lower config.optim.learning_rate or config.optim.clip_norm"
    )

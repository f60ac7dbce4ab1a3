"""`updates`: the steps of a run, one program call after another, when they pause, and what they
measured."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence

import jax
import numpy as np

from rnnae.data import pipeline
from rnnae.data.images import ImageArray
from rnnae.devices import distributed, parallel
from rnnae.devices.signals import Interrupt
from rnnae.errors import NonFiniteError
from rnnae.records.writer import Writer
from rnnae.state import TrainState
from rnnae.training.progress import Progress
from rnnae.training.schedule import Timetable


def batches_of(
    images: Mapping[int, ImageArray], timetable: Timetable, step: int
) -> Iterator[np.ndarray]:
    """uint8 (K, B, H, W, C) for each call from `step` on; of several runs, each with `images` and
    a seed of its own, (K, S, B, H, W, C)."""
    streams = [
        pipeline.stream(
            source,
            timetable.calls(step),
            seed=seed,
            batch_size=timetable.size,
            local_slice=distributed.part(timetable.size),
        )
        for seed, source in images.items()
    ]
    if len(streams) == 1:
        return streams[0]
    return (np.stack(own, axis=1) for own in zip(*streams, strict=True))


def updates(
    step: int,
    train_state: TrainState,
    call: Callable,
    batches: Iterator[np.ndarray],
    devices: Sequence[jax.Device],
    meter: "Meter",
    pause: "Pause",
) -> Iterator[tuple[int, TrainState]]:
    """Trains from `step` over `batches`, one program call each; yields (step, state) whenever
    `pause` says so.

    Call n is dispatched before the metrics of call n - 1 are read, so that the device does not
    wait for the host; at a pause all metrics have been read.
    """
    programs, unread = {}, []
    meter.start()
    for images in batches:
        count = len(images)
        shards = parallel.shard_batches(images, devices)
        if count not in programs:  # two or three lengths in a run
            while unread:  # or the call still running would hide behind the compiler's time
                meter.read(*unread.pop(0))
            begin = time.monotonic()
            programs[count] = call.lower(train_state, shards).compile()
            meter.compiled(time.monotonic() - begin)
        train_state, metrics = programs[count](train_state, shards)
        step += count
        unread.append((step, metrics))
        paused = pause.due(step)
        while len(unread) > (0 if paused else 1):
            meter.read(*unread.pop(0))
        if paused:
            yield step, train_state
            meter.start()


class Pause:
    """When the state is handed out: to be validated, saved, or because a signal came."""

    def __init__(self, timetable: Timetable, interrupt: Interrupt, seconds: float):
        self._timetable, self._interrupt, self._seconds = timetable, interrupt, seconds
        self._last = time.monotonic()
        self._asked: Callable[[], int] = lambda: 0

    def due(self, step: int) -> bool:
        now = time.monotonic()
        wanted = self._interrupt.requested or now - self._last > self._seconds
        asked = distributed.greatest_soon(wanted)
        if distributed.several():  # one call later, so that nobody waits for the call under way
            asked, self._asked = self._asked, asked
        due = asked() > 0 or step == self._timetable.total or self._timetable.validation_due(step)
        if due:
            self._last = now
            self._asked()  # or this exchange would be under way beside those of the pause
            self._asked = lambda: 0
        return due


class Meter:
    """Reads the metrics of each call: checks, records and shows them, with the training speed.

    Of runs that train as one, each has its own record, and an equal part of the time.
    """

    def __init__(self, timetable: Timetable, writers: Sequence[Writer], progress: Progress):
        self._timetable, self._writers, self._progress = timetable, writers, progress
        recorded = [r["seconds"] for writer in writers for r in writer.timings()]
        self._seconds = max(recorded, default=0.0)  # of each run
        self._compiled = False
        self.start()

    def start(self) -> None:
        """Training time runs from here: what came before was not training."""
        self._begin = time.monotonic()

    def compiled(self, seconds: float) -> None:
        """Compile time is said once, and is not training time."""
        if not self._compiled:
            self._progress.say(f"compiled in {seconds:.1f} s")
        self._compiled = True
        self._begin += seconds

    def read(self, step: int, metrics: dict[str, jax.Array]) -> None:
        """Waits for the call that ended at `step`, whose metrics are (K,) each, or (K, S) of S
        runs; raises NonFiniteError if a step of it failed."""
        runs = len(self._writers)
        values = {
            name: np.asarray(x, np.float64).reshape(-1, runs)
            for name, x in jax.device_get(metrics).items()
        }
        count = len(values["loss"])
        _check_finite(values, step - count)
        means = {f"train/{name}": x.mean(axis=0) for name, x in values.items()}
        now = time.monotonic()
        seconds, self._begin = (now - self._begin) / runs, now
        self._seconds += seconds
        speed = count * self._timetable.size / max(seconds, 1e-9)
        for run, writer in enumerate(self._writers):
            own = {name: float(x[run]) for name, x in means.items()}
            writer.write(step, self._timetable.epoch(step), own)
            writer.timing(step, seconds=self._seconds, images_per_second=speed)
        # At the mean speed so far.
        left = self._seconds / step * (self._timetable.total - step) * runs
        self._progress.update(step, float(means["train/loss"].mean()), speed, left)


def _check_finite(values: dict[str, np.ndarray], step: int) -> None:
    """NonFiniteError for the first of the steps after `step`, (K, S), that failed in any run."""
    finite = np.isfinite(values["loss"]) & np.isfinite(values["grad_norm"])
    if finite.all():
        return
    k, run = np.argwhere(~finite)[0]
    which = f" of run {run + 1} of {finite.shape[1]}" if finite.shape[1] > 1 else ""
    raise NonFiniteError(
        f"loss {values['loss'][k, run]} with gradient norm {values['grad_norm'][k, run]} at step "
        f"{step + k + 1}{which}, learning rate {values['learning_rate'][k, run]:.3g}; the last "
        "checkpoint is from before it; lower config.optim.learning_rate or config.optim.clip_norm"
    )

"""What a person sees of a run: a progress bar on a terminal, plain lines elsewhere."""

import time
from collections.abc import Callable
from typing import NamedTuple

from rich.progress import BarColumn, TextColumn
from rich.progress import Progress as Bar

from rnnae.console import Console
from rnnae.objective import bits_per_dim

_SECONDS_BETWEEN_LINES = 10.0


class Reading(NamedTuple):
    """What the progress line shows of a call that ended at `step`."""

    step: int
    metrics: dict[str, float]  # means over the call's steps
    images_per_second: float
    seconds_left: float


def loss_text(model, protocol: str) -> Callable[[dict[str, float]], str]:
    """How to show the training metrics of a model in a unit that a person can read.

    That is the error for a likelihood that measures one (whose nats are mostly a constant),
    bits/dim for 8-bit images, and nats per image otherwise.
    """
    height, width, channels = model.image_shape
    dimensions = height * width * channels

    def text(means: dict[str, float]) -> str:
        error = model.likelihood.error_text(means["reconstruction"], dimensions)
        if error and model.generative:
            return error
        if protocol == "8bit" and model.likelihood.discrete:
            return f"{bits_per_dim(means['loss'], dimensions):.3f} bits/dim"
        digits = 2 if model.generative else 4  # a cross-entropy of classes is small
        return f"{means['loss']:.{digits}f} nats"

    return text


class Progress:
    """Context manager. `loss_text` turns the metrics of a call into words; only the `primary`
    process prints."""

    def __init__(
        self,
        total: int,
        epochs: float,
        loss_text: Callable[[dict[str, float]], str],
        primary: bool = True,
    ):
        self._total, self._epochs, self._primary = total, epochs, primary
        self._loss_text = loss_text
        self._console = Console(soft_wrap=True, highlight=False)
        self._last = -float("inf")
        self._bar = None
        if primary and self._console.is_terminal:
            head, rest = TextColumn("{task.description}"), TextColumn("{task.fields[rest]}")
            self._bar = Bar(head, BarColumn(), rest, console=self._console)
            self._task = self._bar.add_task("starting", total=total, rest="")

    def __enter__(self) -> "Progress":
        if self._bar:
            self._bar.start()
        return self

    def __exit__(self, *_):
        if self._bar:
            self._bar.stop()

    def log(self, line: str) -> None:
        """Prints a line, above the bar if there is one."""
        if self._primary:
            self._console.print(line, markup=False)

    def prefixed(self, name: str) -> Callable[[str], None]:
        """`log` for one of several seeds: its lines begin with `name`."""
        return lambda line: self.log(f"{name}: {line}")

    def update(self, reading: Reading) -> None:
        """Shows a reading; outside a terminal at most one line every ten seconds."""
        if not self._primary:
            return
        step = reading.step
        epoch = f"epoch {min(int(step / self._total * self._epochs) + 1, round(self._epochs))}"
        head = f"{epoch}/{self._epochs:.3g}  step {step}/{self._total}"
        minutes, seconds = divmod(int(reading.seconds_left), 60)
        rest = (
            f"{self._loss_text(reading.metrics)}  {reading.images_per_second:,.0f} images/s  "
            f"{minutes}:{seconds:02d} left"
        )
        if self._bar:
            self._bar.update(self._task, completed=step, description=head, rest=rest)
        elif time.monotonic() - self._last > _SECONDS_BETWEEN_LINES or step == self._total:
            self._last = time.monotonic()
            self.log(f"{head}  {rest}")

"""What a person sees of a run: a bar on a terminal, plain lines off it."""

import time
from collections.abc import Callable

from rich.console import Console
from rich.progress import BarColumn, TextColumn
from rich.progress import Progress as Bar

_SECONDS_BETWEEN_LINES = 10.0


class Progress:
    """Context manager; only the `primary` process prints."""

    def __init__(self, total: int, epochs: float, primary: bool = True):
        self._total, self._epochs, self._primary = total, epochs, primary
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

    def say(self, line: str) -> None:
        """A line of its own, above the bar."""
        if self._primary:
            self._console.print(line, markup=False)

    def named(self, name: str) -> Callable[[str], None]:
        """`say` of one run of several."""
        return lambda line: self.say(f"{name}: {line}")

    def update(self, step: int, loss: float, images_per_second: float, seconds_left: float) -> None:
        """Where the run is; off a terminal at most one line every ten seconds."""
        if not self._primary:
            return
        epoch = f"epoch {min(int(step / self._total * self._epochs) + 1, round(self._epochs))}"
        head = f"{epoch}/{self._epochs:.3g}  step {step}/{self._total}"
        minutes, seconds = divmod(int(seconds_left), 60)
        rest = f"loss {loss:.4g}  {images_per_second:,.0f} images/s  {minutes}:{seconds:02d} left"
        if self._bar:
            self._bar.update(self._task, completed=step, description=head, rest=rest)
        elif time.monotonic() - self._last > _SECONDS_BETWEEN_LINES or step == self._total:
            self._last = time.monotonic()
            self.say(f"{head}  {rest}")

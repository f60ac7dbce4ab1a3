"""SIGTERM and SIGINT, owned by the run: finish the step, save, then leave with the shell's code."""

import signal
import threading

from rnnae.errors import Stopped

# The exit code a shell gives a process that the signal killed: 128 + its number.
_EXIT_CODES = {signal.SIGTERM: 143, signal.SIGINT: 130}


class Interrupt:
    """While entered, signals raise Stopped: at once, or between `defer` and `nothing_to_lose` when
    the run asks by `check`. A second signal is always raised at once.

    Signals reach the main thread only: elsewhere, as in a notebook's worker thread, none is taken.
    """

    def __init__(self):
        self._received: int | None = None
        self._immediate = True
        self._previous = {}

    def __enter__(self) -> "Interrupt":
        if threading.current_thread() is threading.main_thread():
            for number in _EXIT_CODES:
                self._previous[number] = signal.signal(number, self._handle)
        return self

    def __exit__(self, *_):
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    @property
    def requested(self) -> bool:
        """Whether a signal has come."""
        return self._received is not None

    def check(self, where: str) -> None:
        """Raises Stopped if a signal has come; `where` completes the line 'stopped by ... '."""
        if self._received is not None:
            name = signal.Signals(self._received).name
            raise Stopped(
                f"stopped by {name} {where}; the same command continues",
                _EXIT_CODES[self._received],
            )

    def defer(self) -> None:
        """From here on there are steps to save: signals wait for `check`."""
        self._immediate = False

    def nothing_to_lose(self) -> None:
        """From here on all is saved: a signal, also one already here, stops the run at once."""
        self._immediate = True
        self.check("after the last step")

    def _handle(self, number, frame):
        del frame
        again, self._received = self.requested, number
        if self._immediate or again:
            self.check("between steps")

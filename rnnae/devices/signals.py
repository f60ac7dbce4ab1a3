"""SIGTERM and SIGINT, owned by the run: finish the step, save, then leave with the shell's code.

In a run of several processes a signal to one of them stops all at the same step.
"""

import signal
import threading

from rnnae.devices import distributed
from rnnae.errors import Stopped

# The exit code a shell gives a process that the signal killed: 128 + its number.
_EXIT_CODES = {signal.SIGTERM: 143, signal.SIGINT: 130}


class Interrupt:
    """While entered, signals raise Stopped: at once, or between `defer` and `nothing_to_lose` when
    the run asks by `check`, as always in one process of several. A second signal is always raised
    at once.

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
        """Whether a signal has come to this process."""
        return self._received is not None

    def check(self, where: str) -> None:
        """Raises Stopped if a signal has come, to any process, all of which call this; `where`
        completes the line 'stopped by ... '."""
        _stop(distributed.greatest(self._received or 0), where)

    def check_alone(self, where: str) -> None:
        """`check` where this process acts without the others; for several, whom it would leave
        waiting, the signal waits instead."""
        if not distributed.several():
            _stop(self._received or 0, where)

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
        if again or (self._immediate and not distributed.several()):
            _stop(number, "between steps")


def _stop(number: int, where: str) -> None:
    if number:
        name = signal.Signals(number).name
        raise Stopped(f"stopped by {name} {where}; the same command continues", _EXIT_CODES[number])

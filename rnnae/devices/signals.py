"""Signals that stop a run, which handles them in one of two ways.

They are those of `command.stopping_signals`.

*Deferred*: the signal is remembered, and `check` raises Stopped where the run can stop without
losing anything. *Immediate*: the signal raises Stopped at once. Signals are immediate before
the first step and after the last checkpoint, and deferred between. A second signal is always
immediate, unless it comes within a second of the first: then both are one. Where several processes
train one model, a signal to one of them stops all at the same step, so there signals are always
deferred.

Signal handlers belong to the process, and so does the state of this module: `check` may be called
anywhere, and does nothing outside `handled`. `command` handles signals before; its thread also ends
the process where native code, such as a compilation, keeps an immediate signal from being seen.
"""

import contextlib
import signal
import threading
import time
from collections.abc import Iterator
from types import FrameType

from rnnae import command
from rnnae.devices import distributed
from rnnae.errors import Stopped


class _Signals:
    received: int = 0  # number of the signal that has come; 0 = none
    came: float = 0.0  # when, in seconds of the monotonic clock
    immediate: bool = True


_state = _Signals()


@contextlib.contextmanager
def handled() -> Iterator[None]:
    """Handles signals in the body. At first they are immediate.

    Only the main thread can receive signals. In another thread, as in some notebooks, nothing is
    installed and no signal is ever seen.
    """
    _state.received = 0
    _set_immediate(True)
    previous = {}
    if threading.current_thread() is threading.main_thread():
        previous = {n: signal.signal(n, _handle) for n in command.stopping_signals()}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
        _state.received = 0
        command.set_may_exit(True)


def defer() -> None:
    """From here on signals are deferred: they wait for `check`."""
    _set_immediate(False)


def stop_immediately(where: str) -> None:
    """From here on signals are immediate; one that has come already stops the run now."""
    _set_immediate(True)
    check(where)


def received() -> bool:
    """Whether a signal has come to this process."""
    return bool(_state.received)


def check(where: str) -> None:
    """Raises Stopped if a signal has come to any process; all processes call it at the same place.

    `where` completes the message 'stopped by SIGTERM ...'.
    """
    _stop(distributed.maximum(_state.received), where)


def check_single_process(where: str) -> None:
    """`check`, in work that only process 0 does. It does nothing if there are several processes,
    because the others would wait for process 0."""
    if not distributed.several():
        _stop(_state.received, where)


def _set_immediate(value: bool) -> None:
    _state.immediate = value
    command.set_may_exit(value and not distributed.several())


def _handle(number: int, frame: FrameType | None) -> None:
    command.mark_answered()
    now = time.monotonic()
    again = received() and now - _state.came >= command.SECONDS_OF_ONE_SIGNAL
    if not received():
        _state.received, _state.came = number, now
    if again or (_state.immediate and not distributed.several()):
        command.before_raising(number, frame)
        _stop(number, "at once")


def _stop(number: int, where: str) -> None:
    if number:
        name = signal.Signals(number).name
        # A shell reports 128 + the number of the signal that ended a process.
        raise Stopped(f"stopped by {name} {where}; the same command continues", 128 + number)

"""How the processes of a run wait for each other at the start.

Inside jax the wait cannot be interrupted, and at its end jax aborts the process. So everything that
can be checked is checked before, and a timer ends the wait.
"""

import contextlib
import os
import socket
import sys
import threading
from collections.abc import Iterator

from rnnae.errors import ConfigError, ProcessError

NAME_THEM = "name them by --coordinator=HOST:PORT --processes=N --process_id=I"
_SILENT_SECONDS = 10  # of waiting, before a line says what for


def check_address(address: str, count: int, index: int) -> None:
    """ConfigError unless they name a coordinator, a number of processes and one of them."""
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal() or not 0 < int(port) < 2**16:
        raise ConfigError(
            f"--coordinator={address} must be HOST:PORT of process 0, for instance 10.0.0.1:1234"
        )
    if not 0 <= index < count:
        raise ConfigError(f"--process_id={index} must be from 0 to {count - 1} (--processes - 1)")
    if index == 0:
        try:  # jax would end the process by a signal
            socket.create_server(("", int(port))).close()
        except OSError as error:
            raise ProcessError(
                f"process 0 cannot listen at --coordinator={address} ({error.strerror}): "
                "take another port"
            ) from error


@contextlib.contextmanager
def waiting(where: str, count: int, index: int | None, seconds: float) -> Iterator[None]:
    """Says in the body what it waits for, if that takes long, and exits after `seconds`."""
    me = "this process" if index is None else f"process {index}"
    others = "the others" if count == 1 else f"the others of {count}"

    def speak():
        limit = f"at most {seconds:g} s (--join_seconds)"
        print(f"{me} waits at {where} for {others}, {limit}", flush=True)

    def leave():
        print(
            f"rnnae: {me} waited {seconds:g} s at {where}, and not all processes came; start all "
            f"of them within that time, or raise --join_seconds; {NAME_THEM}",
            file=sys.stderr,
            flush=True,
        )
        os._exit(ProcessError.exit_code)

    timers = [threading.Timer(seconds, leave)]
    if seconds > _SILENT_SECONDS:
        timers.append(threading.Timer(_SILENT_SECONDS, speak))
    for timer in timers:
        timer.daemon = True
        timer.start()
    try:
        yield
    finally:
        for timer in timers:
            timer.cancel()

"""What a command does around its work: its streams, its signals, and one line for each error.

Nothing slow is imported here, so that a signal is answered from the first moment on.
"""

import contextlib
import errno
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from types import FrameType

from rnnae.errors import BROKEN_PIPE, FILE_ERROR, OutOfMemory, RnnaeError, one_line

_SIGNALS = (signal.SIGTERM, signal.SIGINT)
# A terminal was closed; a scheduler's time limit comes. Windows has neither.
_UNLESS_IGNORED = (signal.SIGHUP, signal.SIGUSR1) if hasattr(signal, "SIGHUP") else ()
# A scheduler, or a program that started the command, may send a signal twice, as on Ctrl-C, which a
# terminal sends to both. Signals so close are one.
SECONDS_OF_ONE_SIGNAL = 1.0
# A signal that Python has not handled after so many seconds finds the process in native code, such
# as a compilation or the wait for other processes, which may take minutes.
_SECONDS_IN_NATIVE_CODE = 2.0
_SECONDS_TO_CLEAN_UP = 5.0  # until the exception that a signal has raised arrives at `exit_code`
_IMPORT = "<frozen importlib._bootstrap>"  # the file of the frames of every import
_LEAST_ADDRESS_SPACE = 2_000_000_000  # bytes; a tiny run needs them
# Words of errors that say that memory is exhausted, from jax, the dynamic linker and threads.
_MEMORY_WORDS = (
    "RESOURCE_EXHAUSTED",
    "Out of memory",
    "failed to map segment",
    "cannot allocate memory",
    "can't start new thread",
)


class Interrupted(KeyboardInterrupt):
    """A signal that came while nothing else handled signals."""

    def __init__(self, number: int):
        super().__init__()
        self.number = number


class _Signals:
    """Shared by the handlers of signals and the thread that watches them."""

    may_exit = True  # whether a first signal may end the process where it stands
    unanswered = 0  # signals that Python has not handled yet
    raised = False  # whether an exception that a signal has raised is on its way


def set_may_exit(value: bool) -> None:
    """Whether a signal may end the process at once: not while a run waits for a good place."""
    _Signals.may_exit = value


def mark_answered() -> None:
    """Every handler of signals calls this first: Python has reached it."""
    _Signals.unanswered = 0


def stopping_signals() -> list[signal.Signals]:
    """The signals that stop a command: SIGTERM, SIGINT, SIGHUP and SIGUSR1. The last two are left
    out where the process was started to ignore them, as by nohup."""
    asked = [n for n in _UNLESS_IGNORED if signal.getsignal(n) != signal.SIG_IGN]
    return [*_SIGNALS, *asked]


def end_on_signals() -> None:
    """From here on a signal ends the process at once, with one line: there is nothing to lose."""
    prepare_streams()
    for number in stopping_signals():
        signal.signal(number, _end_now)


def before_raising(number: int, frame: FrameType | None) -> None:
    """Every handler of signals calls this, with its arguments, before it raises an exception.

    The exception may be lost, as in a callback of the garbage collector: a thread ends the process
    if it has not arrived at `exit_code` in time. During an import the process ends here, because
    the exception would come out as another one, such as an ImportError of a library in C.
    """
    _Signals.raised = True
    while frame is not None:
        if frame.f_code.co_filename == _IMPORT:
            _end_now(number)
        frame = frame.f_back


def _end_now(number: int, frame: FrameType | None = None) -> None:
    del frame
    with contextlib.suppress(Exception):  # such as the signal came while it is flushed
        sys.stdout.flush()
    _leave(number, _stopped_by(number))


def _leave(number: int, line: str) -> None:
    with contextlib.suppress(OSError):  # nobody reads it
        os.write(2, f"rnnae: {line}\n".encode())
    os._exit(128 + number)  # as a shell reports a signal


@contextlib.contextmanager
def answered_signals() -> Iterator[None]:
    """The `stopping_signals` in the body raise Interrupted, or end the process in an import.

    In native code Python does not see a signal. There a thread ends the process after two seconds,
    with the exit code of the signal, if `set_may_exit` allows it or if it is the second signal.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    prepare_streams()
    previous = {n: signal.signal(n, _raise_interrupted) for n in stopping_signals()}
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    old_writer = signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    watched = (reader, frozenset(previous))
    threading.Thread(target=_watch, args=watched, name="signals", daemon=True).start()
    try:
        yield
    finally:
        _Signals.raised = False
        signal.set_wakeup_fd(old_writer)
        os.close(writer)  # which ends the thread
        for number, handler in previous.items():
            signal.signal(number, handler)


def _raise_interrupted(number: int, frame: FrameType | None) -> None:
    mark_answered()
    before_raising(number, frame)
    raise Interrupted(number)


def _watch(reader: int, watched: frozenset[int]) -> None:
    """Reads the number of each signal as it comes. Python writes it before it runs a handler."""
    last = -float("inf")
    with os.fdopen(reader, "rb", buffering=0) as numbers:
        while number := numbers.read(1):
            now = time.monotonic()
            if number[0] in watched and now - last >= SECONDS_OF_ONE_SIGNAL:
                last = now
                _Signals.unanswered += 1
                for seconds, end in (
                    (_SECONDS_IN_NATIVE_CODE, _end),
                    (_SECONDS_TO_CLEAN_UP, _end_if_lost),
                ):
                    timer = threading.Timer(seconds, end, (number[0],))
                    timer.daemon = True
                    timer.start()


def _end(number: int) -> None:
    """Ends the process, unless Python has answered the signal or a run wants to stop later."""
    if _Signals.unanswered > 1 or (_Signals.unanswered and _Signals.may_exit):
        _leave(number, f"{_stopped_by(number)} at once")


def _end_if_lost(number: int) -> None:
    """Ends the process if the exception that a signal has raised was lost."""
    if _Signals.raised:
        _leave(number, f"{_stopped_by(number)} at once")


def _stopped_by(number: int) -> str:
    return f"stopped by {signal.Signals(number).name}"


def prepare_streams() -> None:
    """Opens standard streams that are closed (as by `2>&-`) on the null device, because the next
    file would take the place of one and get what is written to it. Makes the others replace the
    characters that their encoding does not have."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # as the lowest number that is free
        if getattr(sys, name) is None:
            mode = "w" if number else "r"
            setattr(sys, name, os.fdopen(number, mode, encoding="utf-8", closefd=False))
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")


def flush() -> None:
    """Flushes standard output. If that fails, the rest of the output is dropped: Python would fail
    on it again when it exits."""
    try:
        if sys.stdout is not None:
            sys.stdout.flush()
    except OSError as error:
        with contextlib.suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise OSError(error.errno, error.strerror, "standard output") from error


def execute(main: Callable[[], int], program: str = "rnnae") -> int:
    """The exit code of `main()`. An error that a user can correct becomes one line on stderr."""
    prepare_streams()
    try:
        code = main()
        flush()
        return code
    except (Exception, KeyboardInterrupt) as error:
        known = exit_code(error, program)
        if known is None:
            raise
        return known


def exit_code(error: BaseException, program: str = "rnnae") -> int | None:
    """The exit code of an error that a user can act on, whose line is printed; None for a bug."""
    _Signals.raised = False
    where = getattr(error, "filename", None)
    try:
        flush()
    except OSError as failed:  # as printing did
        where = where or failed.filename
    if isinstance(error, BrokenPipeError):  # the reader of the output is gone, as in `| head -1`
        return BROKEN_PIPE
    if isinstance(error, KeyboardInterrupt):
        number = getattr(error, "number", signal.SIGINT)
        return _say(program, _stopped_by(number), 128 + number)
    if out_of_memory(error):
        return _say(program, _memory_line(error), OutOfMemory.exit_code)
    if isinstance(error, RnnaeError):
        return _say(program, str(error), error.exit_code)
    if isinstance(error, OSError):
        where = where or "standard output, or a file without a name"
        return _say(program, f"{error.strerror or one_line(error)}: {where}", FILE_ERROR)
    return None


def out_of_memory(error: BaseException) -> bool:
    """Whether the error says that the memory of the machine or of a device is exhausted."""
    if isinstance(error, OSError) and error.errno == errno.ENOMEM:
        return True
    if isinstance(error, ImportError | RuntimeError) and not isinstance(error, RnnaeError):
        return any(word in str(error) for word in _MEMORY_WORDS)
    return isinstance(error, MemoryError | OutOfMemory)


def check_address_space() -> None:
    """OutOfMemory if the shell (ulimit -v) leaves less than jax and its libraries are mapped to: in
    native code an allocation that fails ends the process by a signal."""
    limit = address_space()
    if limit is not None and limit < _LEAST_ADDRESS_SPACE:
        raise OutOfMemory(
            f"the limit of virtual memory (ulimit -v) is {limit / 1e9:.1f} GB, and the libraries "
            f"need {_LEAST_ADDRESS_SPACE / 1e9:g} GB: raise it"
        )


def address_space() -> int | None:
    """The limit of virtual memory of this process (ulimit -v) in bytes; None if there is none."""
    try:
        import resource
    except ImportError:  # on Windows
        return None
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    return None if limit == resource.RLIM_INFINITY else limit


def _memory_line(error: BaseException) -> str:
    if isinstance(error, OutOfMemory):
        return str(error)
    return (
        f"out of memory ({one_line(error)}): free some, raise the limit of the process "
        "(ulimit -v), or take a smaller model or a smaller config.data.batch_size"
    )


def _say(program: str, line: str, code: int) -> int:
    with contextlib.suppress(OSError, AttributeError):  # nobody reads it, or there is no stderr
        print(f"{program}: {line}", file=sys.stderr, flush=True)
    return code

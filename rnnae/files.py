"""Files of a run: their names, paths with ~, atomic replacement, and the lock of a directory.

A reader, or a run that continues after a kill, sees either the old file or the new one.
"""

import contextlib
import errno
import os
import shutil
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

from rnnae.errors import ConfigError

try:
    import fcntl
except ImportError:  # not on Windows
    fcntl = None

CONFIG = "config.json"
METRICS = "metrics.jsonl"
TIMING = "timing.jsonl"
STARTS = "environment.jsonl"
EVALUATION = "evaluation.json"
SUMMARY = "summary.txt"
MIXTURE = "mixture.npz"
CHECKPOINTS = "checkpoints"
TENSORBOARD = "tensorboard"
FIGURES = "pictures"
SAMPLES = "samples"

STALE_SECONDS = 86_400.0  # temporary files older than this were left by a process that was killed


def expand(path: str | Path) -> Path:
    """The path with a leading ~ or ~user replaced by that home directory.

    Every path that a user may give goes through here: a shell expands ~ in `--flag ~/x` but not in
    `--flag=~/x`. Raises ConfigError if the home directory is not known.
    """
    try:
        return Path(path).expanduser()
    except RuntimeError as error:
        raise ConfigError(
            f"the home directory of {path} is not known: write the path without ~, or set HOME"
        ) from error


def replace_file(path: str | Path, write: Callable[[Path], None]) -> None:
    """Creates or replaces `path` atomically: `write` fills a temporary file in the same directory,
    which is then flushed to disk and renamed. Nothing is left behind if `write` fails."""
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.tmp")
    try:
        write(temporary)
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise


def replace_text(path: str | Path, text: str) -> None:
    """`replace_file` with UTF-8 text."""
    replace_file(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))


def free_path(path: Path) -> Path:
    """`path` if nothing exists there, else the first free path with one or more x appended."""
    while path.exists():
        path = path.with_name(path.name + "x")
    return path


def remove_stale(directory: Path, *patterns: str) -> None:
    """Removes temporary files and directories in `directory` that are older than a day."""
    for pattern in patterns:
        for path in directory.glob(pattern):
            if time.time() - path.stat().st_mtime > STALE_SECONDS:
                shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink(True)


@contextlib.contextmanager
def exclusive_lock(directory: Path, log: Callable[[str], None] = print) -> Iterator[None]:
    """Creates `directory` and holds its lock; ConfigError if another process holds it.

    The operating system releases the lock of a process that is killed. Some file systems have no
    locks. There nothing is locked, and `log` gets a line that says so.
    """
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / ".lock"
    with os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT, 0o666), "rb+") as file:
        try:
            if fcntl is None:
                raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError) as error:
            raise ConfigError(
                f"another process trains in {directory}: wait for it, or use another --workdir"
            ) from error
        except OSError as error:
            log(
                f"{directory} cannot be locked ({error.strerror}): make sure that no other process "
                "trains in it"
            )
        yield  # closing the file releases the lock

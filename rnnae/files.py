"""Files of a run: their names, atomic replacement, and the lock of a directory.

A reader, or a run that continues after a kill, sees either the old file or the new one.
"""

import contextlib
import os
import shutil
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import filelock

from rnnae.errors import ConfigError

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
    """Removes temporary files, links and directories in `directory` that are older than a day. What
    cannot be removed stays."""
    for pattern in patterns:
        for path in directory.glob(pattern):
            with contextlib.suppress(OSError):
                if time.time() - path.lstat().st_mtime <= STALE_SECONDS:
                    continue
                if path.is_dir() and not path.is_symlink():
                    shutil.rmtree(path, ignore_errors=True)
                else:
                    path.unlink()


@contextlib.contextmanager
def exclusive_lock(directory: Path) -> Iterator[None]:
    """Creates `directory` and holds its lock; ConfigError if another process holds it.

    The operating system releases the lock of a process that is killed.
    """
    directory.mkdir(parents=True, exist_ok=True)
    lock = filelock.FileLock(directory / ".lock")
    try:
        lock.acquire(timeout=0)
    except filelock.Timeout as error:
        raise ConfigError(
            f"another process trains in {directory}: wait for it, or use another --workdir"
        ) from error
    except NotImplementedError:
        pass  # the file system has no locks
    try:
        yield
    finally:
        lock.release()

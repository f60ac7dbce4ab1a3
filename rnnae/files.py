"""Files of a run: their names, paths with ~, atomic replacement, and the lock of a directory.

A reader, or a run that continues after a kill, sees either the old file or the new one.
"""

import contextlib
import errno
import json
import os
import re
import shutil
import stat
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from rnnae.errors import CheckpointError, ConfigError, one_line

try:
    import fcntl
except ImportError:  # not on Windows
    fcntl = None

CONFIG = "config.json"
METRICS = "metrics.jsonl"
TIMING = "timing.jsonl"
STARTS = "environment.jsonl"
EVALUATION = "evaluation.json"
SCORES = "scores.parquet"
CODES = "codes.npz"
TABLE_ENDINGS = (".parquet", ".npz")  # of a file with numbers by image
SUMMARY = "summary.txt"
WEIGHTS = "model.safetensors"  # in a directory of weights to publish, beside CONFIG
MIXTURE = "mixture.npz"
CLASS_MIXTURE = "class_mixture.npz"
CHECKPOINTS = "checkpoints"
TENSORBOARD = "tensorboard"
FIGURES = "pictures"
LAST_FIGURE = "curves.png"  # in FIGURES, written last: when it is there, all figures are
SAMPLES = "samples"
PROFILE = "profile"
REPORT = "report.html"

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


def run_name(workdir: Path) -> str:
    """The name of the run in `workdir`; that of one of several seeds is `mine/seed1`."""
    path = workdir.resolve()
    of_a_seed = re.fullmatch(r"seed\d+", path.name)
    return f"{path.parent.name}/{path.name}" if of_a_seed else path.name


def replace_file(path: str | Path, write: Callable[[Path], None]) -> None:
    """Creates or replaces `path` atomically: `write` fills a temporary file in the same directory,
    which is then flushed to disk and renamed. Nothing is left behind if `write` fails."""
    path = Path(path)
    temporary = _temporary(path)
    try:
        write(temporary)
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException as error:
        with contextlib.suppress(OSError):
            temporary.unlink()
        if isinstance(error, OSError) and error.filename in (None, str(temporary)):
            number, reason = error.errno or errno.EIO, error.strerror or one_line(error)
            raise OSError(number, reason, str(path)) from error
        raise


@contextlib.contextmanager
def new_directory(path: Path) -> Iterator[Path]:
    """Creates the directory `path` atomically: the body fills a temporary directory beside it,
    which is then renamed. Nothing is left behind if the body fails.

    ConfigError if there is something at `path`, unless it is an empty directory.
    """
    if os.path.lexists(path) and (path.is_symlink() or not path.is_dir() or any(path.iterdir())):
        raise ConfigError(f"{path} is there already: name a new directory")
    if path.name in ("", ".."):  # the shell would stay in the directory that is replaced
        raise ConfigError(f"{path} is not the name of a new directory: name one")
    temporary = _temporary(path)
    try:
        temporary.mkdir()
        yield temporary
        temporary.replace(path)
    except OSError as error:
        if not str(error.filename).startswith(str(temporary)):
            raise
        raise OSError(error.errno, error.strerror, str(path)) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)  # it is there only if something failed


def _temporary(path: Path) -> Path:
    return path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.tmp")


def _is_special(path: Path) -> bool:
    try:
        mode = path.stat().st_mode
    except OSError:
        return False
    return not (stat.S_ISREG(mode) or stat.S_ISDIR(mode))


def check_output(path: Path) -> None:
    """ConfigError unless `replace_file` would replace nothing but a file: it would replace a link,
    such as /dev/stdout, too. OSError if the directory is not there."""
    if path.is_symlink() or (path.exists() and not path.is_file()):
        raise ConfigError(f"{path} is a directory, a link or a device: name a file")
    if not path.parent.is_dir():
        raise FileNotFoundError(errno.ENOENT, "There is no such directory", str(path.parent))


def replace_text(path: str | Path, text: str) -> None:
    """`replace_file` with UTF-8 text."""
    replace_file(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))


def parse_json(text: str | bytes, **options: Any) -> Any:
    """`json.loads`, which raises ValueError also for text that is nested too deeply."""
    try:
        return json.loads(text, **options)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error


def read_json(path: Path) -> Any:
    """The content of a JSON file. Raises OSError if it cannot be read, ValueError if it is no JSON
    in UTF-8."""
    return parse_json(read_bytes(path).decode("utf-8"))


def read_bytes(path: Path) -> bytes:
    """The content of a file. OSError for a pipe or a device, which may have no end."""
    refuse_special(path)
    return path.read_bytes()


def refuse_special(path: Path) -> None:
    """OSError if the path is a pipe, a device or a socket."""
    if _is_special(path):
        raise OSError(errno.EINVAL, "It is a pipe or a device, not a file", str(path))


def free_path(path: Path) -> Path:
    """`path` if nothing exists there, else the first free path with one or more x appended."""
    while os.path.lexists(path):
        path = path.with_name(path.name + "x")
    return path


def set_aside(path: Path, ending: str) -> Path:
    """Renames `path` to a free name that ends in `ending`, and returns it. Nothing is lost."""
    target = free_path(path.with_name(path.name + ending))
    path.rename(target)
    return target


@contextlib.contextmanager
def writing(what: str, path: Path) -> Iterator[None]:
    """Turns an OSError of the body, which writes `path`, into a CheckpointError of one line."""
    try:
        yield
    except OSError as error:
        raise cannot_write(what, path, error) from error


def cannot_write(what: str, path: Path, error: Exception) -> CheckpointError:
    """The error that says which file cannot be written, why, and what to do."""
    again = "and run the same command again: it continues from the last checkpoint"
    if _is_full(error):
        return CheckpointError(f"cannot write {what} {path}: {_no_space(path)}, {again}")
    reason = getattr(error, "strerror", None) or one_line(error)
    return CheckpointError(f"cannot write {what} {path}: {reason}; mend that {again}")


@contextlib.contextmanager
def report_full_disk(directory: Path) -> Iterator[None]:
    """Turns whatever a library raises when the disk is full into an OSError with `directory`."""
    try:
        yield
    except Exception as error:
        if not _is_full(error):
            raise
        raise OSError(errno.ENOSPC, _no_space(directory / "x"), str(directory)) from error


def _is_full(error: Exception) -> bool:
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return True
    return "No space left" in str(error) or "Disk quota" in str(error)


def _no_space(path: Path) -> str:
    parent = next((p for p in path.absolute().parents if p.is_dir()), Path("/"))
    disk = shutil.disk_usage(parent)
    return (
        f"no space left on its disk ({disk.free / 2**20:,.1f} of {disk.total / 2**20:,.1f} MiB are "
        "free); free some space there, or enlarge your quota"
    )


@contextlib.contextmanager
def plain_path(directory: Path) -> Iterator[Path]:
    """A path to `directory` that any library can open.

    Some libraries take characters such as [ ] for a pattern, or cannot pass on a name that is not
    UTF-8. Such a directory is reached through a symbolic link of a plain name in the directory for
    temporary files, which is removed afterwards.
    """
    if re.fullmatch(r"[\w\s/.,:;=+@~#%&()'!-]*", str(directory)) and "gs:" not in str(directory):
        yield directory
        return
    with tempfile.TemporaryDirectory(prefix="rnnae-") as temporary:
        link = Path(temporary) / "link"
        link.symlink_to(directory, target_is_directory=True)
        yield link


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
def exclusive_lock(directory: Path, log: Callable[[str], None] = print) -> Iterator[int]:
    """Creates `directory` and holds its lock; ConfigError if another process holds it.

    The operating system releases the lock of a process that is killed. Some file systems have no
    locks. There nothing is locked, and `log` gets a line that says so.

    Yields:
      The file descriptor of the lock. A process that inherits it holds the lock, too.
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
        yield file.fileno()  # closing the file releases the lock

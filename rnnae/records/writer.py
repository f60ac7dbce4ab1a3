"""The records of a run: metrics.jsonl, timing.jsonl, environment.jsonl, config.json, TensorBoard.

metrics.jsonl holds only what (config, step) decides, so that a continued run's file is the unbroken
run's byte for byte; whatever depends on the clock is in timing.jsonl. Process 0 writes.
"""

import contextlib
import json
import math
import os
from collections.abc import Iterator
from pathlib import Path

import filelock

from rnnae.config import saved_config
from rnnae.errors import ConfigError, NonFiniteError

_METRICS, _TIMING, _STARTS = "metrics.jsonl", "timing.jsonl", "environment.jsonl"
RECORDS = (_METRICS, _TIMING, _STARTS)


class Writer:
    """Opens the records of `workdir`; with `resume_step` it drops those after that step."""

    def __init__(
        self,
        workdir: str | Path,
        *,
        resume_step: int | None,
        tensorboard: bool = True,
        primary: bool = True,
    ):
        self._workdir, self._primary, self._events = Path(workdir), primary, None
        if not primary:
            return
        self._workdir.mkdir(parents=True, exist_ok=True)
        for name in (_METRICS, _TIMING):
            path = self._workdir / name
            if resume_step is None and path.exists() and path.stat().st_size:
                path.replace(free(path.with_suffix(".jsonl.old")))  # not this run's, nor ours
            kept = [r for r in _read(path) if r["step"] <= (resume_step or 0)]
            replace_text(path, "".join(json.dumps(r) + "\n" for r in kept))
        self._files = {
            name: (self._workdir / name).open("a", encoding="utf-8") for name in (_METRICS, _TIMING)
        }
        if tensorboard:
            from tensorboardX import SummaryWriter  # imports torch where that is installed

            purge = None if resume_step is None else resume_step + 1
            self._events = SummaryWriter(str(self._workdir / "tensorboard"), purge_step=purge)

    def write(self, step: int, epoch: float, values: dict[str, float]) -> None:
        """One record of metrics; NonFiniteError for a value that is not finite."""
        for name, value in values.items():
            if not math.isfinite(value):
                raise NonFiniteError(
                    f"{name} is {value} at step {step}; lower config.optim.learning_rate and train "
                    "in another --workdir"
                )
        self._append(_METRICS, step, {"epoch": epoch, **values})

    def timing(self, step: int, **values: float) -> None:
        """One record of what depends on the clock."""
        self._append(_TIMING, step, values)

    def records(self) -> list[dict]:
        """All metrics so far."""
        return read_metrics(self._workdir)

    def timings(self) -> list[dict]:
        """All timing records so far."""
        return _read(self._workdir / _TIMING)

    def write_config(self, config: dict) -> None:
        if self._primary:
            replace_text(self._workdir / saved_config.NAME, json.dumps(config, indent=2) + "\n")

    def started(self, step: int, environment: dict) -> None:
        """One record of where and with what the run starts or continues, after `step` steps."""
        if self._primary:
            path = self._workdir / _STARTS
            records = [*_read(path), {"step": step, **environment}]
            replace_text(path, "".join(json.dumps(r) + "\n" for r in records))

    def sync(self) -> None:
        """All that was written so far survives a crash of the machine."""
        if self._primary:
            for file in self._files.values():
                file.flush()
                os.fsync(file.fileno())

    def close(self) -> None:
        self.sync()
        if self._primary:
            for file in self._files.values():
                file.close()
        if self._events:
            self._events.close()

    def _append(self, name, step, values):
        if not self._primary:
            return
        self._files[name].write(json.dumps({"step": step, **values}) + "\n")
        self._files[name].flush()
        if self._events:
            for key, value in values.items():
                self._events.add_scalar(key, value, step)


@contextlib.contextmanager
def alone(workdir: Path) -> Iterator[None]:
    """Nobody else trains in `workdir` meanwhile; ConfigError if somebody does. A process that is
    killed leaves it free."""
    workdir.mkdir(parents=True, exist_ok=True)
    lock = filelock.FileLock(workdir / ".lock")
    try:
        lock.acquire(timeout=0)
    except filelock.Timeout as error:
        raise ConfigError(
            f"another process trains in {workdir}: wait for it, or use another --workdir"
        ) from error
    except NotImplementedError:
        pass  # a file system without locks
    try:
        yield
    finally:
        lock.release()


def read_metrics(workdir: str | Path) -> list[dict]:
    """The records of metrics.jsonl, oldest first; none if there is no such file."""
    return _read(Path(workdir) / _METRICS)


def read_timings(workdir: str | Path) -> list[dict]:
    """The records of timing.jsonl, oldest first."""
    return _read(Path(workdir) / _TIMING)


def read_starts(workdir: str | Path) -> list[dict]:
    """The records of environment.jsonl, one for each time that the run was started."""
    return _read(Path(workdir) / _STARTS)


def free(path: Path) -> Path:
    """The path, or the first with x behind it that nothing has yet."""
    while path.exists():
        path = path.with_name(path.name + "x")
    return path


def _read(path: Path) -> list[dict]:
    if not path.exists():
        return []
    records = []
    for line in path.read_text().splitlines():
        try:
            records.append(json.loads(line))
        except json.JSONDecodeError:
            break  # the line that a kill cut short; nothing was written after it
    return records


def replace_text(path: Path, text: str) -> None:
    """Atomically: a reader, or a run after a kill, sees the old file or the new one."""
    temporary = path.with_name(path.name + ".tmp")
    with temporary.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)

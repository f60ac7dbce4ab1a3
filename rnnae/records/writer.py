"""The records of a run: metrics, timings, starts and config.

metrics.jsonl depends on (config, step) only, so the file of a continued run is byte for byte that
of an unbroken run. Everything that depends on the clock is in timing.jsonl; environment.jsonl has
one record for each start. Only process 0 writes.

A record that cannot be written stops the run. TensorBoard events are a convenience: they are
switched off then.
"""

import contextlib
import errno
import json
import math
import os
from collections.abc import Iterator
from pathlib import Path

from ml_collections import ConfigDict

from rnnae import files
from rnnae.config import saved_config
from rnnae.errors import TRAIN_ANEW, CheckpointError, ConfigError, NonFiniteError, one_line
from rnnae.records.events import Events


class Writer:
    """Opens the records of `workdir`, a context manager.

    With `resume_step`, records after that step are dropped. Raises CheckpointError if a record
    cannot be written, and FileNotFoundError once the workdir is gone.
    """

    def __init__(
        self,
        workdir: str | Path,
        *,
        resume_step: int | None,
        tensorboard: bool = True,
        primary: bool = True,
    ):
        self._workdir, self._primary, self._events = Path(workdir), primary, None
        self._files = {}
        if not primary:
            return
        self._workdir.mkdir(parents=True, exist_ok=True)
        try:
            self._open(resume_step)
        except BaseException:  # without a Writer, nobody else closes what is open
            for file in self._files.values():
                file.close()
            raise
        if tensorboard:
            self._events = Events(self._workdir / files.TENSORBOARD, resume_step)

    def _open(self, resume_step: int | None) -> None:
        for name in (files.METRICS, files.TIMING):
            path = self._workdir / name
            with files.writing("record", path):
                if resume_step is None and path.exists() and path.stat().st_size:
                    # These records are of a run that was lost.
                    old = files.set_aside(path, ".old")
                    print(f"there is no checkpoint, so {path} is now {old.name}", flush=True)
                kept = [r for r in _repaired(path) if r["step"] <= (resume_step or 0)]
                last = kept[-1]["step"] if kept else 0
                if last < (resume_step or 0):  # a step is saved after its records
                    print(f"{path}: the records after step {last:,} are lost", flush=True)
                files.replace_text(path, "".join(json.dumps(r) + "\n" for r in kept))
                self._files[name] = path.open("a", encoding="utf-8")

    def __enter__(self) -> "Writer":
        return self

    def __exit__(self, kind, error, trace) -> None:
        """Closes the files. An error of that does not replace the one that ends the body."""
        with contextlib.suppress(Exception) if error else contextlib.nullcontext():
            self.close()

    def write_metrics(self, step: int, epoch: float, values: dict[str, float]) -> None:
        """Appends one record of metrics; NonFiniteError for a value that is not finite."""
        for name, value in values.items():
            if not math.isfinite(value):
                raise NonFiniteError(f"{name} is {value} at step {step}; {TRAIN_ANEW}")
        self._append(files.METRICS, step, {"epoch": epoch, **values})

    def write_timing(self, step: int, **values: float) -> None:
        """Appends one record of values that depend on the clock."""
        self._append(files.TIMING, step, values)

    def write_pictures(self, step: int, directory: Path) -> None:
        """Adds the PNG files in `directory` to the TensorBoard events."""
        if self._events:
            self._events.write_pictures(step, sorted(directory.glob("*.png")))

    def write_config(self, config: dict) -> None:
        """Saves the resolved config of the run."""
        if self._primary:
            path = self._workdir / files.CONFIG
            with files.writing("record", path):
                files.replace_text(path, saved_config.to_text(config))

    def config(self) -> ConfigDict | None:
        """The config that was saved before; None if there is none, or it is of another version."""
        path = self._workdir / files.CONFIG
        try:
            return saved_config.get_config(str(path)) if path.exists() else None
        except ConfigError:
            return None

    def write_start(self, step: int, environment: dict) -> None:
        """Appends one record of where and with what the run starts or continues, after `step`."""
        if self._primary:
            path = self._workdir / files.STARTS
            with files.writing("record", path):
                records = [*_repaired(path), {"step": step, **environment}]
                files.replace_text(path, "".join(json.dumps(r) + "\n" for r in records))

    def metrics(self) -> list[dict]:
        """All records of metrics so far."""
        return read_metrics(self._workdir)

    def timings(self) -> list[dict]:
        """All records of timings so far."""
        return read_timings(self._workdir)

    def sync(self) -> None:
        """Flushes everything written so far to the disk.

        FileNotFoundError if the workdir was deleted or moved: a checkpoint would make it again.
        """
        for name in self._files:
            self._check_still_there(self._workdir / name)
        self._flush()

    def close(self) -> None:
        """Flushes and closes all files, also if one of them cannot be flushed."""
        with contextlib.ExitStack() as stack:
            for name, file in self._files.items():
                stack.enter_context(files.writing("record", self._workdir / name))
                stack.callback(file.close)
            if self._events:
                stack.callback(self._events.close)
            self._flush()

    def _flush(self) -> None:
        for name, file in self._files.items():
            with files.writing("record", self._workdir / name):
                file.flush()
                os.fsync(file.fileno())

    def _append(self, name, step, values):
        if not self._primary:
            return
        path = self._workdir / name
        self._check_still_there(path)
        with files.writing("record", path):
            self._files[name].write(json.dumps({"step": step, **values}) + "\n")
            self._files[name].flush()
        if self._events:
            self._events.write(step, values)

    def _check_still_there(self, path: Path) -> None:
        """FileNotFoundError if the file that is open is not in the workdir any more."""
        try:
            path.stat()
        except FileNotFoundError as error:
            raise FileNotFoundError(
                errno.ENOENT,
                "the run was stopped, because its file was deleted or moved while it trained; move "
                "it back, or start again",
                str(path),
            ) from error


def read_metrics(workdir: str | Path) -> list[dict]:
    """The records of metrics.jsonl, oldest first; none if there is no such file."""
    return _read(Path(workdir) / files.METRICS)


def read_timings(workdir: str | Path) -> list[dict]:
    """The records of timing.jsonl, oldest first."""
    return _read(Path(workdir) / files.TIMING)


def read_starts(workdir: str | Path) -> list[dict]:
    """The records of environment.jsonl, one for each start of the run."""
    return _read(Path(workdir) / files.STARTS)


@contextlib.contextmanager
def reading(workdir: Path) -> Iterator[None]:
    """Reads the content of records: CheckpointError if they are JSON, but not what a run writes."""
    try:
        yield
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        detail = f"{type(error).__name__}: {one_line(error)}"
        raise CheckpointError(
            f"a record in {workdir} is damaged ({detail}): restore it from a copy, or remove it"
        ) from error


def split_metrics(record: dict, split: str) -> dict[str, float]:
    """The metrics of a split in a record, without the name of the split; {} if it was not
    measured."""
    if f"{split}/loss" not in record:
        return {}
    beginning = f"{split}/"
    return {k.removeprefix(beginning): v for k, v in record.items() if k.startswith(beginning)}


def training_starts(starts: list[dict]) -> list[dict]:
    """Those of the starts of a run that trained or tested it; the others found it tested, and only
    drew its last figures."""
    return [start for start in starts if not start.get("tested")]


def _read(path: Path) -> list[dict]:
    """The records of a file; a printed line says which of its lines are damaged and left out."""
    records, damaged = _parse(path)
    if damaged:
        print(f"{path}: {_lines(damaged)} damaged and left out", flush=True)
    return records


def _repaired(path: Path) -> list[dict]:
    """The records of a file that is about to be replaced. A file with damaged lines is kept under
    another name."""
    records, damaged = _parse(path)
    if damaged:
        aside = files.set_aside(path, ".damaged")
        print(f"{path}: {_lines(damaged)} damaged; the file is kept as {aside.name}", flush=True)
    return records


def _lines(numbers: list[int]) -> str:
    text = ", ".join(map(str, numbers[:10])) + (" and more" if len(numbers) > 10 else "")
    return f"line {text} is" if len(numbers) == 1 else f"lines {text} are"


def _parse(path: Path) -> tuple[list[dict], list[int]]:
    """(records of the readable lines, numbers of the damaged lines). A torn last line does not
    count: a kill cut it short, and the continued run writes it again."""
    if not path.exists():
        return [], []
    records, damaged = [], []
    *lines, torn = files.read_bytes(path).split(b"\n")
    for number, line in enumerate([*lines, torn] if torn else lines, start=1):
        try:
            record = files.parse_json(line)
            if not isinstance(record, dict) or type(record["step"]) is not int:
                raise ValueError("not a record")
            records.append(record)
        except (ValueError, KeyError):
            if number <= len(lines):
                damaged.append(number)
    return records, damaged

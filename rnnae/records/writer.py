"""The records of a run: metrics, timings, starts, config, and TensorBoard events.

metrics.jsonl depends on (config, step) only, so the file of a continued run is byte for byte that
of an unbroken run. Everything that depends on the clock is in timing.jsonl; environment.jsonl has
one record for each start. Only process 0 writes.
"""

import json
import math
import os
from pathlib import Path

from rnnae import files
from rnnae.errors import TRAIN_ANEW, NonFiniteError


class Writer:
    """Opens the records of `workdir`. With `resume_step`, records after that step are dropped."""

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
        for name in (files.METRICS, files.TIMING):
            path = self._workdir / name
            if resume_step is None and path.exists() and path.stat().st_size:
                # There is no checkpoint, so these records are of a run that was lost.
                path.replace(files.free_path(path.with_suffix(".jsonl.old")))
            kept = [r for r in _read(path) if r["step"] <= (resume_step or 0)]
            files.replace_text(path, "".join(json.dumps(r) + "\n" for r in kept))
        self._files = {
            name: (self._workdir / name).open("a", encoding="utf-8")
            for name in (files.METRICS, files.TIMING)
        }
        if tensorboard:
            from tensorboardX import SummaryWriter  # imports torch where that is installed

            purge = None if resume_step is None else resume_step + 1
            self._events = SummaryWriter(str(self._workdir / files.TENSORBOARD), purge_step=purge)

    def write_metrics(self, step: int, epoch: float, values: dict[str, float]) -> None:
        """Appends one record of metrics; NonFiniteError for a value that is not finite."""
        for name, value in values.items():
            if not math.isfinite(value):
                raise NonFiniteError(f"{name} is {value} at step {step}; {TRAIN_ANEW}")
        self._append(files.METRICS, step, {"epoch": epoch, **values})

    def write_timing(self, step: int, **values: float) -> None:
        """Appends one record of values that depend on the clock."""
        self._append(files.TIMING, step, values)

    def write_config(self, config: dict) -> None:
        """Saves the resolved config of the run."""
        if self._primary:
            text = json.dumps(config, indent=2) + "\n"
            files.replace_text(self._workdir / files.CONFIG, text)

    def write_start(self, step: int, environment: dict) -> None:
        """Appends one record of where and with what the run starts or continues, after `step`."""
        if self._primary:
            path = self._workdir / files.STARTS
            records = [*_read(path), {"step": step, **environment}]
            files.replace_text(path, "".join(json.dumps(r) + "\n" for r in records))

    def metrics(self) -> list[dict]:
        """All records of metrics so far."""
        return read_metrics(self._workdir)

    def timings(self) -> list[dict]:
        """All records of timings so far."""
        return read_timings(self._workdir)

    def sync(self) -> None:
        """Flushes everything written so far to the disk."""
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


def read_metrics(workdir: str | Path) -> list[dict]:
    """The records of metrics.jsonl, oldest first; none if there is no such file."""
    return _read(Path(workdir) / files.METRICS)


def read_timings(workdir: str | Path) -> list[dict]:
    """The records of timing.jsonl, oldest first."""
    return _read(Path(workdir) / files.TIMING)


def read_starts(workdir: str | Path) -> list[dict]:
    """The records of environment.jsonl, one for each start of the run."""
    return _read(Path(workdir) / files.STARTS)


def _read(path: Path) -> list[dict]:
    if not path.exists():
        return []
    records = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            records.append(json.loads(line))
        except json.JSONDecodeError:
            break  # a kill cut this line short, and nothing was written after it
    return records

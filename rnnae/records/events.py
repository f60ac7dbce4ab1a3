"""TensorBoard events of a run. The only file that imports tensorboardX."""

import contextlib
import platform
import time
from pathlib import Path

from PIL import Image

from rnnae import files
from rnnae.errors import one_line


class Events:
    """A TensorBoard event file in `directory`. An error switches it off, with one printed line.

    Events are written by the thread that calls: tensorboardX's own thread ends at its first error,
    and its full queue then blocks the run for ever. After `resume_step`, older events are hidden.
    """

    def __init__(self, directory: Path, resume_step: int | None):
        self._directory, self._file = directory, None
        self._try(lambda: self._open(resume_step))

    def write(self, step: int, values: dict[str, float]) -> None:
        """Writes a scalar for each value."""
        if self._file:
            self._try(lambda: self._write(step, values))

    def write_pictures(self, step: int, paths: list[Path]) -> None:
        """Writes each PNG file, under the name of the file."""
        if self._file:
            self._try(lambda: self._write_pictures(step, paths))

    def close(self) -> None:
        """Flushes and closes the file."""
        if self._file:
            self._try(self._file.close)
            self._file = None

    def _open(self, resume_step: int | None) -> None:
        # These import torch where that is installed.
        from tensorboardX import record_writer, summary
        from tensorboardX.proto import event_pb2

        self._summary, self._event = summary.scalar, event_pb2.Event
        self._directory.mkdir(parents=True, exist_ok=True)
        name = f"events.out.tfevents.{int(time.time())}.{platform.node()}"
        self._file = record_writer.RecordWriter(str(self._directory / name))
        self._write_event(file_version="brain.Event:2")
        if resume_step is not None:
            started = event_pb2.SessionLog(status=event_pb2.SessionLog.START)
            self._write_event(step=resume_step + 1, session_log=started)
        self._file.flush()

    def _write(self, step: int, values: dict[str, float]) -> None:
        for name, value in values.items():
            self._write_event(step=step, summary=self._summary(name, value))
        self._file.flush()

    def _write_pictures(self, step: int, paths: list[Path]) -> None:
        from tensorboardX.proto import summary_pb2

        for path in paths:
            with Image.open(path) as image:
                width, height = image.size
            picture = summary_pb2.Summary.Image(
                height=height, width=width, colorspace=3, encoded_image_string=path.read_bytes()
            )
            value = summary_pb2.Summary.Value(tag=f"pictures/{path.stem}", image=picture)
            self._write_event(step=step, summary=summary_pb2.Summary(value=[value]))
        self._file.flush()

    def _write_event(self, **fields) -> None:
        event = self._event(wall_time=time.time(), **fields)
        self._file.write(event.SerializeToString())

    def _try(self, function) -> None:
        try:
            function()
        except OSError as error:
            with contextlib.suppress(OSError):
                if self._file:
                    self._file.close()
            self._file = None
            reason = error.strerror or one_line(error)
            print(
                f"TensorBoard is switched off: {reason} in {self._directory}; "
                f"{files.METRICS} has every metric",
                flush=True,
            )

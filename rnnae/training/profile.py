"""`--profile=N`: a trace of N program calls of a training run, for Perfetto."""

from collections.abc import Callable
from pathlib import Path

import jax

from rnnae import files
from rnnae.errors import one_line


class Profiler:
    """Traces the first `calls` program calls whose program was compiled and has run before, which
    are the calls of steady training. With 0 calls, it does nothing."""

    def __init__(self, directory: Path, calls: int, log: Callable[[str], None]):
        self._directory, self._left, self._log = directory, calls, log
        self._seen: set[int] = set()
        self._tracing = False

    def before(self, count: int) -> None:
        """To be called before each program call of `count` steps."""
        if self._left and not self._tracing and count in self._seen:
            with files.writing("profile", self._directory):
                self._directory.mkdir(parents=True, exist_ok=True)
            jax.profiler.start_trace(self._directory, create_perfetto_trace=True)
            self._tracing = True
        self._seen.add(count)

    def after(self, outputs: object) -> None:
        """To be called after each program call with what it returned."""
        if not self._tracing:
            return
        self._left -= 1
        if not self._left:
            self.stop(outputs)

    def stop(self, outputs: object = ()) -> None:
        """Ends the trace; to be called at the end of training, too, which may come before all
        calls are traced."""
        left, self._left = self._left, 0
        if not self._tracing:
            if left:
                self._log("nothing was profiled: no program ran a second time")
            return
        jax.block_until_ready(outputs)
        self._tracing = False
        try:
            jax.profiler.stop_trace()
        except OSError as error:
            self._log(f"no profile in {self._directory}: {error.strerror or one_line(error)}")
            return
        traces = sorted(self._directory.rglob("perfetto_trace.json.gz"))
        self._log(f"profile in {traces[-1]}: open it in ui.perfetto.dev")

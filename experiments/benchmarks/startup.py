"""How long a user waits: for the import, and for the first training step of the command line, with
and without the cache of compiled programs."""

import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

NAME = "startup"
# The first line of a notebook. `import rnnae` alone imports nothing.
_IMPORT = "from rnnae.evaluation import trained_run"
_ROOT = Path(__file__).parents[2]


def measure(rounds: int, machine: str) -> str:
    """A Markdown table with the median seconds from the start of the process."""
    with tempfile.TemporaryDirectory() as directory:
        data, cache = Path(directory) / "data", Path(directory) / "cache"
        waits: dict[str, list[float]] = {"import": [], "cold": [], "cached": []}
        first_step(Path(directory) / "fill", data, cache)  # fills the cache, and prepares MNIST
        for index in range(rounds):
            begin = time.perf_counter()
            subprocess.run([sys.executable, "-c", _IMPORT], cwd=_ROOT, check=True)
            waits["import"].append(time.perf_counter() - begin)
            for name, used_cache in (("cold", None), ("cached", cache)):
                workdir = Path(directory) / f"{name}{index}"
                waits[name].append(first_step(workdir, data, used_cache))
    rows = {
        f"`{_IMPORT}`": waits["import"],
        "first step of `configs/mnist.py`, empty compilation cache": waits["cold"],
        "the same, filled compilation cache": waits["cached"],
    }
    lines = ["## Start-up", "", "| | seconds (min-max) |", "|---|---|"]
    for name, seconds in rows.items():
        median = statistics.median(seconds)
        lines.append(f"| {name} | {median:.1f} ({min(seconds):.1f}-{max(seconds):.1f}) |")
    text = f"{machine}; medians of {rounds} rounds. MNIST was already prepared."
    return "\n".join([*lines, "", text, ""])


def first_step(workdir: Path, data: Path, cache: Path | None) -> float:
    """Seconds from the start of a run until it has recorded its first step."""
    command = [sys.executable, "-m", "rnnae.main", "--config=configs/mnist.py"]
    command += [f"--workdir={workdir}", f"--config.data.data_dir={data}"]
    command += [f"--config.compilation_cache={cache or ''}", "--config.train.steps_per_call=1"]
    begin = time.perf_counter()
    process = subprocess.Popen(command, cwd=_ROOT, stdout=subprocess.DEVNULL)
    metrics = workdir / "metrics.jsonl"
    while not (metrics.exists() and metrics.stat().st_size):
        if process.poll() is not None:
            raise RuntimeError(f"{' '.join(command)} ended with {process.returncode}")
        time.sleep(0.02)
    seconds = time.perf_counter() - begin
    process.terminate()
    process.wait()
    return seconds

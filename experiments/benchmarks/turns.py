"""Measures contenders in turns: A B A B, so that a slow minute of the machine affects all of them.

A contender is a function `build(size) -> Program` in a module of `contenders`. Each contender has a
process of its own that stays alive between its turns. Its module is imported only there, so that it
does not share threads, allocator or imports with another one.
"""

import contextlib
import dataclasses
import importlib
import json
import math
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

_SECONDS = 2.0  # minimum duration of one measurement
_KEEP = {  # glibc keeps freed memory, in huge pages
    "MALLOC_MMAP_MAX_": "0",
    "MALLOC_TRIM_THRESHOLD_": "100000000000",
    "MALLOC_TOP_PAD_": "67108864",
    "GLIBC_TUNABLES": "glibc.malloc.hugetlb=1",
}
# The environment of contenders; PyTorch's read the name of their device from this variable.
DEVICE_VARIABLE = "RNNAE_BENCHMARK_DEVICE"
DEVICES = {
    "cpu": {DEVICE_VARIABLE: "cpu", "JAX_PLATFORMS": "cpu"},
    "gpu": {DEVICE_VARIABLE: "cuda", "JAX_PLATFORMS": "cuda"},
}
ALLOCATORS = {"keep": _KEEP, "default": {"GLIBC_TUNABLES": "glibc.malloc.hugetlb=0"}}


@dataclasses.dataclass(frozen=True)
class Program:
    """The program of a contender.

    `run(n)` does n steps and returns when the last one is finished; n is a multiple of `multiple`.
    It may return the seconds of one step; otherwise the clock is used.
    """

    run: Callable[[int], float | None]
    versions: dict[str, str]
    multiple: int = 1


class Failed(Exception):
    """A contender did not start, or it stopped. The message is the last line of its stderr."""


class Contender:
    """The process of a contender, on `cores` cores, and with `device="gpu"` on a GPU."""

    def __init__(self, target: str, size: dict, cores: int, allocator: str, device: str):
        environment = os.environ | ALLOCATORS[allocator] | DEVICES[device]
        environment["OMP_NUM_THREADS"] = str(cores)
        command = [sys.executable, "-m", "experiments.benchmarks.turns", target, json.dumps(size)]
        if hasattr(os, "sched_getaffinity"):
            from rnnae.devices import runtime  # not above: the contender must not import jax

            numbers = ",".join(map(str, runtime.available_cores()[:cores]))
            command = ["taskset", "-c", numbers, *command]
        self._errors = tempfile.TemporaryFile("w+")  # noqa: SIM115
        self._process = subprocess.Popen(
            command,
            env=environment,
            cwd=Path(__file__).parents[2],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
        )
        # {"first": seconds to build and to run the first steps, "versions": {...}}
        self.start = self._answer()

    def measure(self) -> dict:
        """One measurement: {"seconds": of a step, "memory": peak bytes of the process}."""
        with contextlib.suppress(BrokenPipeError):  # the process ended: see stderr
            self._process.stdin.write("go\n")
            self._process.stdin.flush()
        return self._answer()

    def close(self) -> None:
        self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout, self._errors):
            with contextlib.suppress(BrokenPipeError):  # it had not read everything
                stream.close()

    def _answer(self) -> dict:
        for line in self._process.stdout:
            if line.startswith("{"):
                return json.loads(line)
        self._process.wait()
        self._errors.seek(0)
        last = self._errors.read().strip().splitlines()
        self.close()
        raise Failed(last[-1] if last else f"exit status {self._process.returncode}")


def measure(
    targets: dict[str, tuple[str, dict]],
    rounds: int,
    cores: int,
    allocator: str,
    device: str = "cpu",
) -> dict[str, dict]:
    """Measures contenders in turns.

    Args:
      targets: name -> ("module.function", size).

    Returns:
      name -> {"seconds": [one per round], "memory": bytes, "first": seconds, "versions": {...}}, or
      {"error": message} for a contender that failed. The others are measured all the same.
    """
    results: dict[str, dict] = {}
    running: dict[str, Contender] = {}
    try:
        for name, (target, size) in targets.items():
            try:
                running[name] = Contender(target, size, cores, allocator, device)
                results[name] = {"seconds": [], **running[name].start}
            except Failed as error:
                results[name] = {"error": str(error)}
        for _ in range(rounds):
            for name, contender in list(running.items()):
                try:
                    answer = contender.measure()
                except Failed as error:
                    results[name] = {"error": str(error)}
                    del running[name]
                    continue
                results[name]["seconds"].append(answer["seconds"])
                results[name]["memory"] = answer["memory"]
    finally:
        for contender in running.values():
            contender.close()
    return results


def main(target: str, size: str) -> None:
    """The process of one contender."""
    module, function = target.split(".")
    library = importlib.import_module(f"experiments.benchmarks.contenders.{module}")
    begin = time.perf_counter()
    program = getattr(library, function)(json.loads(size))
    steps = program.multiple
    program.run(steps)
    first = time.perf_counter() - begin
    while True:  # find how many steps a measurement needs; this also warms up
        begin = time.perf_counter()
        reported = program.run(steps)
        taken = time.perf_counter() - begin
        if reported or taken > _SECONDS / 4:
            break
        steps *= 2
    steps = math.ceil(steps * _SECONDS / taken / program.multiple) * program.multiple
    print(json.dumps({"first": first, "versions": program.versions}), flush=True)
    for _ in sys.stdin:
        begin = time.perf_counter()
        seconds = program.run(steps) or (time.perf_counter() - begin) / steps
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        print(json.dumps({"seconds": seconds, "memory": peak}), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])

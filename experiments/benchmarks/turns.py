"""A process for each contender, kept alive and measured in turns: A B A B, so that a slow minute of
the machine falls on all of them.

A contender is a function `build(size) -> Program` in one of the modules of `contenders`, which are
imported in its own process only: none sees another's threads, allocator or imports.
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

_SECONDS = 2.0  # of one measurement, at least
_KEEP = {  # glibc keeps freed memory, in huge pages: in every contender alike
    "MALLOC_MMAP_MAX_": "0",
    "MALLOC_TRIM_THRESHOLD_": "100000000000",
    "MALLOC_TOP_PAD_": "67108864",
    "GLIBC_TUNABLES": "glibc.malloc.hugetlb=1",
}
ALLOCATORS = {"keep": _KEEP, "default": {"GLIBC_TUNABLES": "glibc.malloc.hugetlb=0"}}


@dataclasses.dataclass(frozen=True)
class Program:
    """What a contender gives: `run(n)` does n steps, a multiple of `multiple`, and returns when the
    last is done; the seconds of a step if it knows them better than the clock."""

    run: Callable[[int], float | None]
    versions: dict[str, str]
    multiple: int = 1


def available() -> list[int]:
    """The cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))


class Failed(Exception):
    """A contender that did not start or stopped; the message is the last line it wrote."""


class Contender:
    """A contender in a process of its own, on `cores` cores."""

    def __init__(self, target: str, size: dict, cores: int, allocator: str):
        environment = os.environ | ALLOCATORS[allocator] | {"OMP_NUM_THREADS": str(cores)}
        command = [sys.executable, "-m", "experiments.benchmarks.turns", target, json.dumps(size)]
        if hasattr(os, "sched_getaffinity"):
            command = ["taskset", "-c", ",".join(map(str, available()[:cores])), *command]
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
        self.start = self._answer()  # build and first step: seconds; versions

    def measure(self) -> dict:
        """{"seconds": of a step, "memory": bytes at most so far}, once more."""
        with contextlib.suppress(BrokenPipeError):  # it is gone, and said why
            self._process.stdin.write("go\n")
            self._process.stdin.flush()
        return self._answer()

    def close(self) -> None:
        self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout, self._errors):
            with contextlib.suppress(BrokenPipeError):  # of what it did not read
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
    targets: dict[str, tuple[str, dict]], rounds: int, cores: int, allocator: str
) -> dict[str, dict]:
    """{name: (target, size)} -> {name: {"seconds": [...], "memory", "first", "versions"}}, or
    {name: {"error": why}} of one that fails, which does not stop the others."""
    found: dict[str, dict] = {}
    running: dict[str, Contender] = {}
    try:
        for name, (target, size) in targets.items():
            try:
                running[name] = Contender(target, size, cores, allocator)
                found[name] = {"seconds": [], **running[name].start}
            except Failed as error:
                found[name] = {"error": str(error)}
        for _ in range(rounds):
            for name, contender in list(running.items()):
                try:
                    answer = contender.measure()
                except Failed as error:
                    found[name] = {"error": str(error)}
                    del running[name]
                    continue
                found[name]["seconds"].append(answer["seconds"])
                found[name]["memory"] = answer["memory"]
    finally:
        for contender in running.values():
            contender.close()
    return found


def main(target: str, size: str) -> None:
    """The process of one contender."""
    module, function = target.split(".")
    library = importlib.import_module(f"experiments.benchmarks.contenders.{module}")
    begin = time.perf_counter()
    program = getattr(library, function)(json.loads(size))
    steps = program.multiple
    program.run(steps)
    first = time.perf_counter() - begin
    while True:  # as many steps as a measurement needs; this also warms up
        begin = time.perf_counter()
        own = program.run(steps)
        taken = time.perf_counter() - begin
        if own or taken > _SECONDS / 4:
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

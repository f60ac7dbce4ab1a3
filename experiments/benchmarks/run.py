"""Measures the speed of rnnae and of the libraries that a user would pick instead, on this machine.

    python -m experiments.benchmarks.run [case ...] [--rounds 5] [--cores 2] [--allocator keep]
        [--device cpu]

A case is a key of `cases.CASES`, or `startup`. The default is all of them. The extra `bench` must
be installed. Each contender runs in a process of its own, with the same shapes, dtypes, cores and
allocator, and they are measured in turns. Prints a Markdown table, and writes it with its raw
measurements and a chart to experiments/benchmarks/results.

Exit codes: 0 done (contenders that failed are listed in the table), 2 a flag is wrong, 7 a
file cannot be written.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path

from experiments import tables
from experiments.benchmarks import report, startup, turns
from experiments.benchmarks.cases import CASES, Case
from rnnae import command, files
from rnnae.devices import runtime

_RESULTS = Path(__file__).parent / "results"


def measure(case: Case, rounds: int, cores: int, allocator: str, device: str) -> dict:
    """{size: {"float32" or "bfloat16": {contender: result of `turns.measure`}}}."""
    results: dict = {}
    for name, size in case.sizes.items():
        results[name] = {}
        for precision in ("float32", "bfloat16") if case.bfloat16 else ("float32",):
            targets = {
                contender: (target, size | {"precision": precision} | options)
                for contender, (target, options) in case.contenders.items()
                if precision == "float32" or contender in case.bfloat16
            }
            if case.matmuls:
                matmuls = {"matmuls": case.matmuls(size), "precision": precision}
                targets[report.MATMULS] = ("matmuls.train", matmuls)
            results[name][precision] = turns.measure(targets, rounds, cores, allocator, device)
    return results


def main(argv: list[str] | None = None) -> int:
    parser = tables.command_parser("benchmarks.run", __doc__)
    names = [*CASES, startup.NAME]
    parser.add_argument("cases", nargs="*", help=", ".join(names), metavar="case")
    rounds_help = "measurements of each contender (default: %(default)s)"
    parser.add_argument("--rounds", type=tables.parse_count, default=5, help=rounds_help)
    cores_help = "cores of each contender (default: %(default)s)"
    parser.add_argument("--cores", type=tables.parse_count, default=2, help=cores_help)
    allocator_help = "keep freed memory, in huge pages, or the system's default (default: keep)"
    allocators = sorted(turns.ALLOCATORS)
    parser.add_argument("--allocator", choices=allocators, default="keep", help=allocator_help)
    device_help = "where the contenders run; a GPU is that of jax[cuda] and PyTorch (default: cpu)"
    parser.add_argument("--device", choices=sorted(turns.DEVICES), default="cpu", help=device_help)
    arguments = parser.parse_args(argv)
    unknown = [name for name in arguments.cases if name not in names]
    if unknown:
        parser.error(f"unknown case {unknown[0]!r}; choose from {', '.join(names)}")
    available = len(runtime.available_cores())
    if arguments.cores > available:
        parser.error(f"--cores {arguments.cores}: this process may use {available}")
    gpu = _gpu_name() if arguments.device == "gpu" else ""
    if gpu is None:
        parser.error("--device gpu: nvidia-smi finds no GPU on this machine")
    if gpu and startup.NAME in arguments.cases:
        parser.error(f"{startup.NAME} is measured on CPUs only")
    _RESULTS.mkdir(exist_ok=True)
    # Before results are written: they would make the commit "-dirty".
    machine = report.provenance_text()
    for name in arguments.cases or (CASES if gpu else names):
        if name == startup.NAME:
            text = startup.measure(arguments.rounds, machine)
        else:
            where = f"{arguments.cores} cores of {machine}"
            case = CASES[name]
            if gpu:
                name, where = f"{name}-gpu", f"{gpu}, and {where}"
            text = _measure_case(case, name, where, arguments)
        files.replace_text(_RESULTS / f"{name}.md", text)
        print(text, flush=True)
    return 0


def _measure_case(case: Case, name: str, where: str, arguments: argparse.Namespace) -> str:
    """Measures a case, and writes the measurements and a chart; returns the table."""
    allocator, device = arguments.allocator, arguments.device
    measurements = measure(case, arguments.rounds, arguments.cores, allocator, device)
    content = {"where": where, "allocator": allocator, "sizes": measurements}
    files.replace_text(_RESULTS / f"{name}.json", json.dumps(content, indent=1) + "\n")
    report.chart(case, measurements, _RESULTS / f"{name}.png")
    return report.table(case, measurements, where, allocator)


def _gpu_name() -> str | None:
    """The name of this machine's first NVIDIA GPU; None if it has none."""
    words = ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"]
    try:
        done = subprocess.run(words, capture_output=True, text=True, check=True)
        return done.stdout.splitlines()[0].strip()
    except (OSError, subprocess.CalledProcessError, IndexError):
        return None


if __name__ == "__main__":
    sys.exit(command.execute(main, "experiments.benchmarks.run"))

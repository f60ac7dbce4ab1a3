"""rnnae beside what a user would pick instead, on this machine.

    python -m experiments.benchmarks.run [case ...] [--rounds 5] [--cores 2] [--allocator keep]

Cases are those of `cases.py` (all by default), and `startup`. Needs the extra `bench`. Every
contender has a process of its own, all with the same shapes, dtypes, cores and allocator, measured
in turns. Prints Markdown and keeps it, the figures and a chart in experiments/benchmarks/results.
"""

import argparse
import json
import sys
from pathlib import Path

from experiments.benchmarks import report, startup, turns
from experiments.benchmarks.cases import CASES, Case

_RESULTS = Path(__file__).parent / "results"


def measure(case: Case, rounds: int, cores: int, allocator: str) -> dict:
    """{size: {"float32" or "bfloat16": {contender: figures}}}."""
    found: dict = {}
    for name, size in case.sizes.items():
        found[name] = {}
        for precision in ("float32", "bfloat16") if case.bfloat16 else ("float32",):
            targets = {
                contender: (target, size | {"precision": precision} | own)
                for contender, (target, own) in case.contenders.items()
                if precision == "float32" or contender in case.bfloat16
            }
            if case.products:
                products = {"products": case.products(size), "precision": precision}
                targets[report.PRODUCTS] = ("products.train", products)
            found[name][precision] = turns.measure(targets, rounds, cores, allocator)
    return found


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    names = [*CASES, startup.NAME]
    parser.add_argument("cases", nargs="*", help=", ".join(names), metavar="case")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--cores", type=int, default=2)
    parser.add_argument("--allocator", choices=sorted(turns.ALLOCATORS), default="keep")
    arguments = parser.parse_args(argv)
    unknown = [name for name in arguments.cases if name not in names]
    if unknown:
        parser.error(f"unknown case {unknown[0]!r}; choose from {', '.join(names)}")
    there = turns.available()
    if not 1 <= arguments.cores <= len(there):
        parser.error(f"--cores {arguments.cores}: there are {len(there)}")
    _RESULTS.mkdir(exist_ok=True)
    machine = report.where()  # before there are new results, or the commit is no longer clean
    for name in arguments.cases or names:
        if name == startup.NAME:
            text = startup.measure(arguments.rounds, machine)
        else:
            case = CASES[name]
            figures = measure(case, arguments.rounds, arguments.cores, arguments.allocator)
            where = f"{arguments.cores} cores of {machine}"
            made = {"where": where, "allocator": arguments.allocator, "sizes": figures}
            (_RESULTS / f"{name}.json").write_text(json.dumps(made, indent=1) + "\n")
            text = report.table(case, figures, where, arguments.allocator)
            report.chart(case, figures, _RESULTS / f"{name}.png")
        (_RESULTS / f"{name}.md").write_text(text)
        print(text, flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""Prints a table from its run directories: Markdown, CSV, LaTeX, and plots.

    python -m experiments.report cells [--size cpu] [--root runs/tables] [--out experiments/results]

Numbers are read from the runs, never typed: the same directories give the same files, byte for
byte. A number is the mean over seeds with its standard error, or, of a single seed and marked *,
over test images. The best of a column is bold where it is better than every other row by more than
two standard errors of the difference over the seeds that both have. Exit codes: 0 done, 1 nothing
to report, 2 a flag or a run that was made by another table.
"""

import argparse
import csv
import dataclasses
import io
import math
import statistics
import sys
from pathlib import Path

from experiments import plots, run, tables
from experiments.tables import Row, Table
from rnnae.errors import ConfigError
from rnnae.writer import read_starts, read_timings

RESULTS = Path(__file__).parent / "results"
# Of the metrics that are better one way: lower, but for those that measure likeness.
_BETTER = {"nll": -1, "bound": -1, "bits_per_dim": -1, "mse": -1, "mae": -1, "ssim": 1}
_DIGITS = {"mse": 5, "mae": 4, "ssim": 4, "bits": 3, "active": 1}  # others 2


@dataclasses.dataclass(frozen=True)
class Result:
    """A row's finished runs."""

    row: Row
    by_seed: dict[int, dict[str, float]]  # seed -> test metrics
    starts: list[dict]  # of environment.jsonl, of all seeds
    seconds: list[float]  # of training, or of another row's weights of evaluation, by seed
    speeds: list[float]  # images/s, the median of each seed
    workdirs: list[Path]

    @property
    def devices(self) -> str:
        return ", ".join(sorted({str(start["devices"]) for start in self.starts}))

    def values(self, names: tuple[str, ...]) -> dict[int, float]:
        """seed -> the one of the metrics `names` that the row has."""
        return {
            seed: metrics[name]
            for seed, metrics in self.by_seed.items()
            for name in names
            if name in metrics
        }


def collect(table: Table, root: Path) -> list[Result]:
    """The rows of a table that have a finished run, in its order."""
    found = []
    every = run.runs(table, root)
    for row in table.rows:
        done = [r for r in every if r.row is row and r.result()]
        if not done:
            continue
        timings = [read_timings(r.weights) for r in done]
        speeds = [[t["images_per_second"] for t in timing] for timing in timings]
        seconds = [timing[-1]["seconds"] if timing else 0.0 for timing in timings]
        if row.trained:
            seconds = [r.result()["seconds"] for r in done]
        found.append(
            Result(
                row,
                {r.seed: r.result() for r in done},
                [start for r in done for start in read_starts(r.weights)],
                seconds,
                [statistics.median(s) for s in speeds if s],
                [r.weights for r in done],
            )
        )
    return found


def cells(table: Table, results: list[Result]) -> tuple[list[str], list[list[str]]]:
    """(headings, a list of texts for each row), bold as **text**."""
    headings = ["", "parameters", "train MFLOP/image", "images/s", "minutes", "seeds"]
    several = len({result.devices for result in results}) > 1  # or the caption says it
    headings += ["on"] * several
    bold = {heading: _best(results, names) for heading, names in table.metrics.items()}
    lines = []
    for result in results:
        start = result.starts[-1] if result.starts else {}
        line = [
            result.row.label,
            f"{start.get('parameters', 0):,}",
            f"{start.get('training_flop_per_image', 0) / 1e6:,.1f}",
            f"{statistics.median(result.speeds):,.0f}" if result.speeds else "",
            _minutes(statistics.mean(result.seconds)),
            str(len(result.by_seed)),
            *[result.devices] * several,
        ]
        for heading, names in table.metrics.items():
            text = _number(result, names)
            line.append(f"**{text}**" if text and bold[heading] is result else text)
        lines.append(line)
    return [*headings, *table.metrics], lines


def caption(table: Table, results: list[Result]) -> str:
    """Protocol, commits, machines, dates, minutes."""
    starts = [start for result in results for start in result.starts]
    commits = ", ".join(sorted({start["commit"] for start in starts if start.get("commit")}))
    machines = ", ".join(sorted({f"{start['devices']} on {start['machine']}" for start in starts}))
    dates = sorted(start["date"][:10] for start in starts)
    minutes = _minutes(sum(sum(result.seconds) for result in results))
    when = dates[0] if dates and dates[0] == dates[-1] else " to ".join(dates[:1] + dates[-1:])
    return (
        f"{table.title} {table.question} {table.protocol}. ± standard error over seeds; * over "
        f"test images. Size {table.size}; commit {commits}; {machines}; {when}; "
        f"{minutes} minutes of training and separate evaluation."
    )


def markdown(table: Table, results: list[Result]) -> str:
    headings, lines = cells(table, results)
    text = [f"# {table.title}", "", _row(headings), "|---" * len(headings) + "|"]
    text += [_row(line) for line in lines]
    blank = [""] * (len(headings) - len(table.metrics) - 1)
    for label, (value, source) in table.literature.items():
        rest = [""] * (len(table.metrics) - 1)
        text.append(_row([f"*{label}* ({source})", *blank, value, *rest]))
    command = f"python -m experiments.run {table.name} --size {table.size}"
    if table.seeds != tables.load(table.name, table.size).seeds:
        command += f" --seeds {','.join(map(str, table.seeds))}"
    return "\n".join([*text, "", caption(table, results), "", f"`{command}`", ""])


def latex(table: Table, results: list[Result]) -> str:
    """A booktabs table."""
    headings, lines = cells(table, results)

    def line(words):
        return " & ".join(_tex(word) for word in words) + r" \\"

    body = [line(headings), r"\midrule", *map(line, lines)]
    if table.literature:
        body.append(r"\midrule")
    blank = [""] * (len(headings) - len(table.metrics) - 1)
    for label, (value, source) in table.literature.items():
        rest = [""] * (len(table.metrics) - 1)
        body.append(line([f"{label} ({source})", *blank, value, *rest]))
    columns = "l" + "r" * (len(headings) - 1)
    top = [r"\begin{table}", rf"\caption{{{_tex(caption(table, results))}}}"]
    top += [rf"\begin{{tabular}}{{{columns}}}", r"\toprule"]
    return "\n".join([*top, *body, r"\bottomrule", r"\end{tabular}", r"\end{table}", ""])


def comma_separated(table: Table, results: list[Result]) -> str:
    """Every seed of every row, with all of its test metrics."""
    metrics = sorted({name for r in results for m in r.by_seed.values() for name in m})
    metrics = [name for name in metrics if name != "seconds"]
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(["row", "seed", "seconds", *metrics])
    for result in results:
        for (seed, values), seconds in zip(result.by_seed.items(), result.seconds, strict=True):
            row = [result.row.label, seed, f"{seconds:.1f}"]
            writer.writerow([*row, *(values.get(name, "") for name in metrics)])
    return file.getvalue()


def _minutes(seconds: float) -> str:
    return f"{seconds / 60:.{0 if seconds >= 6000 else 1 if seconds >= 60 else 2}f}"


def _number(result: Result, names: tuple[str, ...]) -> str:
    values = list(result.values(names).values())
    if not values:
        return ""
    name = next(n for n in names if n in next(iter(result.by_seed.values())))
    short = name.split("/")[-1]
    digits = next((d for start, d in _DIGITS.items() if short.startswith(start)), 2)
    text = f"{statistics.mean(values):.{digits}f}"
    if len(values) > 1:
        return f"{text} ± {statistics.stdev(values) / math.sqrt(len(values)):.{digits}f}"
    over_images = next(iter(result.by_seed.values())).get(f"{name}_se")
    return f"{text} ± {over_images:.{digits}f}*" if over_images else text


def _best(results: list[Result], names: tuple[str, ...]) -> Result | None:
    """The row whose metric is better than every other's by more than the noise."""
    short = names[0].split("/")[-1]
    sign = next((s for start, s in _BETTER.items() if short.startswith(start)), 0)
    rows = [(result, result.values(names)) for result in results]
    rows = [(result, values) for result, values in rows if values]
    if not sign or len(rows) < 2:
        return None
    best, of_best = max(rows, key=lambda row: sign * statistics.mean(row[1].values()))
    for result, values in rows:
        if result is best:
            continue
        both = [sign * (of_best[s] - values[s]) for s in of_best.keys() & values.keys()]
        if len(both) < 2:
            return None
        error = statistics.stdev(both) / math.sqrt(len(both))
        if statistics.mean(both) <= 2 * error:
            return None
    return best


def _row(words: list[str]) -> str:
    return f"| {' | '.join(words)} |"


def _tex(text: str) -> str:
    strong = text.startswith("**")
    text = text.strip("*") if strong else text
    for plain, code in {"&": r"\&", "%": r"\%", "_": r"\_", "±": r"$\pm$", "#": r"\#"}.items():
        text = text.replace(plain, code)
    return rf"\textbf{{{text}}}" if strong else text


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("table", choices=tables.TABLES)
    parser.add_argument("--size", choices=tables.SIZES, default="full")
    parser.add_argument("--root", type=Path, default=run.ROOT)
    parser.add_argument("--out", type=Path, default=RESULTS)
    arguments = parser.parse_args(argv)
    table = run.made(tables.load(arguments.table, arguments.size), arguments.root)
    try:
        run.check(run.runs(table, arguments.root))
    except ConfigError as error:
        print(f"experiments.report: {error}", file=sys.stderr)
        return error.exit_code
    results = collect(table, arguments.root)
    # The literature's values stand in the first column of metrics.
    first = next(iter(table.metrics)) if table.literature else None
    had = {
        k: v for k, v in table.metrics.items() if k == first or any(r.values(v) for r in results)
    }
    table = dataclasses.replace(table, metrics=had)
    if not results:
        print(f"no finished run of {table.name}, size {table.size}, below {arguments.root}")
        return 1
    arguments.out.mkdir(parents=True, exist_ok=True)
    makers = {"md": markdown, "csv": comma_separated, "tex": latex}
    for suffix, make in makers.items():
        (arguments.out / f"{table.name}.{suffix}").write_text(make(table, results))
    plots.draw(table, results, arguments.out / f"{table.name}.png")
    print(markdown(table, results))
    return 0


if __name__ == "__main__":
    sys.exit(main())

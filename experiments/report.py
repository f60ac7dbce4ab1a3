"""Prints a table from its run directories: Markdown, CSV, LaTeX, and plots.

    python -m experiments.report cells [--size cpu] [--root runs/tables] [--out experiments/results]

Writes NAME.md, .csv, .tex and .png of the small size, NAME-full.md and so on of the full one.
Numbers are read from the runs, never typed: the same directories give the same files, byte for
byte. What is read of them is kept in OUT/records, and what is not below the root is read from
there: a table is made again without its runs, and grows by rows and seeds that are run elsewhere. A
number is the mean over seeds with its standard error, or, of a single seed and marked *, over test
images. The best of a column is bold where it is better than every other row by Student's t test of
the differences at the seeds that both have (two-sided 5 %). Images/s are of the program that
trained, which on accelerators trains all seeds of a row together. Exit codes: 0 done, 1 nothing to
report, 2 a flag or a run that was made by another table, 7 a file that cannot be read or written.
"""

import csv
import dataclasses
import io
import math
import statistics
import sys
from pathlib import Path

import scipy.stats

from experiments import plots, run, tables
from experiments import results as results_lib
from experiments.records import TableFile
from experiments.results import Result
from experiments.tables import Table
from rnnae.errors import ConfigError

RESULTS = Path(__file__).parent / "results"
# Of the metrics that are better one way: lower, but for those that measure likeness.
_BETTER = {"nll": -1, "bound": -1, "bits_per_dim": -1, "mse": -1, "mae": -1, "ssim": 1}
_TEX = str.maketrans(
    {character: f"\\{character}" for character in "&%_#${}"}
    | {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
    | {"`": r"\textasciigrave{}", "<": "$<$", ">": "$>$", "±": r"$\pm$"}
)
_DIGITS = {"mse": 5, "mae": 4, "ssim": 4, "bits": 3, "active": 1}  # others 2


def cells(table: Table, results: list[Result]) -> tuple[list[str], list[list[str]]]:
    """(headings, a list of texts for each row), bold as **text**."""
    headings = ["", "parameters", "train MFLOP/image", "images/s", "minutes", "seeds"]
    several = len({result.machines for result in results}) > 1  # or the caption says it
    headings += ["on"] * several
    bold = {heading: _best(results, table.metrics[heading]) for heading in table.bold}
    lines = []
    for result in results:
        line = [
            result.row.label,
            f"{result.model_size.get('parameters', 0):,}",
            f"{result.model_size.get('training_flop_per_image', 0) / 1e6:,.1f}",
            "" if math.isnan(speed := statistics.median(result.speeds)) else f"{speed:,.0f}",
            _minutes(statistics.mean(result.seconds)),
            str(len(result.by_seed)),
            *[result.machines] * several,
        ]
        for heading, names in table.metrics.items():
            text = _number(result, names)
            line.append(f"**{text}**" if text and bold.get(heading) is result else text)
        lines.append(line)
    return [*headings, *table.metrics], lines


def caption(table: Table, results: list[Result]) -> str:
    """Question, protocol, length of training, commits, machines, dates, minutes."""
    starts = [start for result in results for start in result.starts]
    commits = ", ".join(sorted({start["commit"] or "unknown" for start in starts}))
    dates = sorted(start["date"][:10] for start in starts)
    minutes = _minutes(sum(sum(result.seconds) for result in results))
    when = dates[0] if dates and dates[0] == dates[-1] else " to ".join(dates[:1] + dates[-1:])
    missing = _missing(table, results)
    protocol = table.protocol[0].upper() + table.protocol[1:]
    return (
        f"{table.question} {protocol}. {_length(results)} ± standard error over seeds; * over test "
        f"images. Size {table.size}; commit {commits}; {results_lib.format_machines(starts)}; {when}; "
        f"{minutes} minutes of training and separate evaluation (these and images/s beside "
        "whatever else the machine did)." + f" Not run: {'; '.join(missing)}." * bool(missing)
    )


def _length(results: list[Result]) -> str:
    """How long rows were trained, and by which products if not of float32."""
    lengths: dict[str, list[str]] = {}
    rounded: dict[str, list[str]] = {}
    for row in (result.row for result in results if not result.row.weights_from):
        config = row.config()
        steps, epochs = config.train.max_steps, config.train.epochs
        length = f"{steps:,} steps" if steps else f"{epochs} epoch{'s' * (epochs != 1)}"
        lengths.setdefault(length, []).append(row.label)
        if (precision := config.optim.precision) != "float32":
            rounded.setdefault(f"by products in {precision}", []).append(row.label)
    every = sum(map(len, lengths.values()))
    words = [
        text + f" ({'; '.join(labels)})" * (len(labels) < every)
        for text, labels in [*lengths.items(), *rounded.items()]
    ]
    return f"Trained for {', '.join(words)}."


def markdown(table: Table, results: list[Result]) -> str:
    headings, lines = cells(table, results)
    text = [f"# {table.title}", "", _row(headings), "|---" * len(headings) + "|"]
    text += [_row(line) for line in lines]
    literature = _literature(table, headings)
    text += [_row([f"*{label}*{source}", *rest]) for label, source, *rest in literature]
    commands = "\n\n".join(f"`{command}`" for command in _commands(table, results))
    return "\n".join([*text, "", caption(table, results), "", commands, ""])


def latex(table: Table, results: list[Result]) -> str:
    """A booktabs table."""
    headings, lines = cells(table, results)

    def line(words):
        return " & ".join(_tex(word) for word in words) + r" \\"

    body = [line(headings), r"\midrule", *map(line, lines)]
    if table.literature:
        body.append(r"\midrule")
    body += [line([label + source, *rest]) for label, source, *rest in _literature(table, headings)]
    columns = "l" + "r" * (len(headings) - 1)
    title = table.title if table.title.endswith("?") else f"{table.title}."
    top = [r"\begin{table}", rf"\caption{{{_tex(f'{title} {caption(table, results)}')}}}"]
    top += [rf"\begin{{tabular}}{{{columns}}}", r"\toprule"]
    return "\n".join([*top, *body, r"\bottomrule", r"\end{tabular}", r"\end{table}", ""])


def comma_separated(table: Table, results: list[Result]) -> str:
    """Every seed of every row, with all of its test metrics."""
    metrics = sorted({name for r in results for m in r.by_seed.values() for name in m})
    arithmetic = ["parameters", "training_flop_per_image"]
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(["row", "seed", *arithmetic, "images_per_second", "seconds", *metrics])
    for result in results:
        model = [f"{result.model_size.get(name, 0):.0f}" for name in arithmetic]
        seeds = zip(result.by_seed.items(), result.speeds, result.seconds, strict=True)
        for (seed, values), speed, seconds in seeds:
            speed = "" if math.isnan(speed) else f"{speed:.1f}"
            row = [result.row.label, seed, *model, speed, f"{seconds:.1f}"]
            writer.writerow([*row, *(values.get(name, "") for name in metrics)])
    return file.getvalue()


def _commands(table: Table, results: list[Result]) -> list[str]:
    """What trains the runs: rows that have the same seeds by one command."""
    command = f"python -m experiments.run {table.name} --size {table.size}"
    asked = tables.load(table.name, table.size)
    by_seeds: dict[tuple[int, ...], list[str]] = {}
    for result in results:
        by_seeds.setdefault(tuple(sorted(result.by_seed)), []).append(result.row.label)
    lines = []
    for seeds, labels in by_seeds.items():
        some = labels != [row.label for row in asked.rows]
        rows = "".join(f' --row "{label}"' for label in labels) * some
        numbers = f" --seeds {','.join(map(str, seeds))}" * (set(seeds) != set(asked.seeds))
        lines.append(f"{command}{rows}{numbers}")
    return lines


def _missing(table: Table, results: list[Result]) -> list[str]:
    """Rows, or seeds of rows, that the table asks for and are not there."""
    done = {result.row.label: set(result.by_seed) for result in results}
    asked, some = tables.load(table.name, table.size).seeds, {}
    for row in table.rows:
        left = [str(seed) for seed in asked if seed not in done.get(row.label, ())]
        if row.label in done and left:
            some.setdefault(f"seed {', '.join(left)}", []).append(row.label)
    return [row.label for row in table.rows if row.label not in done] + [
        f"{seeds} of {'all rows' if len(labels) == len(table.rows) else ', '.join(labels)}"
        for seeds, labels in some.items()
    ]


def _literature(table: Table, headings: list[str]) -> list[list[str]]:
    """The literature's lines: label, source, what it reports under each further heading."""
    return [
        [label, f" ({source})", *(values.get(heading, "") for heading in headings[1:])]
        for label, (values, source) in table.literature.items()
    ]


def _minutes(seconds: float) -> str:
    return f"{seconds / 60:.{0 if seconds >= 6000 else 1 if seconds >= 60 else 2}f}"


def _number(result: Result, names: tuple[str, ...]) -> str:
    mean, error = result.estimate(names)
    if math.isnan(mean):
        return ""
    digits = tables.choose_by_metric(_DIGITS, names[0]) or 2
    text = f"{mean:.{digits}f}"
    if math.isnan(error):
        return text
    return f"{text} ± {error:.{digits}f}" + "*" * (len(result.by_seed) == 1)


def _best(results: list[Result], names: tuple[str, ...]) -> Result | None:
    """The row whose metric is better than every other's by more than the noise."""
    sign = tables.choose_by_metric(_BETTER, names[0])
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
        if statistics.mean(both) <= scipy.stats.t.ppf(0.975, len(both) - 1) * error:
            return None
    return best


def _row(words: list[str]) -> str:
    cells = (word.replace("|", "\\|") for word in words)
    return f"| {' | '.join(cells)} |"


def _tex(text: str) -> str:
    strong = text.startswith("**")
    text = text.strip("*") if strong else text
    text = text.translate(_TEX).replace("--", "-{}-")  # or it is a dash
    return rf"\textbf{{{text}}}" if strong else text


def main(argv: list[str] | None = None) -> int:
    parser = tables.argument_parser("report", __doc__)
    parser.add_argument(
        "--root", type=Path, default=run.ROOT, help="where the runs are: %(default)s"
    )
    parser.add_argument(
        "--out", type=Path, default=RESULTS, help="where the table goes: %(default)s"
    )
    parser.add_argument("--forget", action="append", default=[], help="drop a row's records")
    arguments = parser.parse_args(argv)
    try:
        table = tables.load(arguments.table, arguments.size)
        stored = TableFile(arguments.out / "records", table)
        for label in arguments.forget:
            stored.forget(label)
        return write(table, arguments.root, arguments.out, stored)
    except (ConfigError, OSError) as error:
        print(f"experiments.report: {error}", file=sys.stderr)
        return getattr(error, "exit_code", 7)


def write(table: Table, root: Path, out: Path, stored: TableFile) -> int:
    """The exit code of `main`."""
    kept = out / "records"
    table, runs = results_lib.find(table, root, stored)
    results = results_lib.collect(table, runs)
    published = {heading for values, _ in table.literature.values() for heading in values}
    had = {
        heading: names
        for heading, names in table.metrics.items()
        if heading in published or any(result.values(names) for result in results)
    }
    bold = tuple(heading for heading in table.bold if heading in had)
    table = dataclasses.replace(table, metrics=had, bold=bold)
    if not results:
        (size,) = {*tables.SIZES} - {table.size}
        other = dataclasses.replace(table, size=size).directory
        hint = f"; there is {other}: --size {size}" if (kept / f"{other}.json").exists() else ""
        said = f"no finished run of {table.directory} below {root} or {kept}"
        print(f"experiments.report: {said}{hint}", file=sys.stderr)
        return 1
    for line in results_lib.store(runs, stored):
        print(line, file=sys.stderr)
    makers = {"md": markdown, "csv": comma_separated, "tex": latex}
    for suffix, make in makers.items():
        (out / f"{table.stem}.{suffix}").write_text(make(table, results))
    plots.draw(table, results, out / f"{table.stem}.png")
    print(markdown(table, results))
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""A table of results as text: Markdown, LaTeX and CSV, with its caption, notes and commands."""

import csv
import io
import math
import statistics

import scipy.stats

from experiments import captions, paired, tables
from experiments.peer_rows import PeerRows
from experiments.results import Result
from experiments.tables import Table
from rnnae.evaluation.sample_metrics import SAMPLE_METRICS

# Whether higher (1) or lower (-1) is better, for metrics where one of them is.
_BETTER = {"nll": -1, "bound": -1, "bits_per_dim": -1, "mse": -1, "mae": -1, "ssim": 1}
_BETTER |= dict.fromkeys(("bayes_accuracy", "class_accuracy"), 1)
_BETTER |= {k: 1 if metric.better == "higher" else -1 for k, metric in SAMPLE_METRICS.items()}
_TEX = str.maketrans(
    {character: f"\\{character}" for character in "&%_#${}"}
    | {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
    | {"`": r"\textasciigrave{}", "<": "$<$", ">": "$>$", "±": r"$\pm$"}
)
_BEYOND = "beyond 2 s.e."
_DIGITS = {"mse": 5, "mae": 4, "ssim": 4, "bits": 3, "active": 1}  # other metrics have 2
_DIGITS |= {"bayes_accuracy": 4, "class_accuracy": 4}
_DIGITS |= {name: metric.digits for name, metric in SAMPLE_METRICS.items()}
_SIZES = ("parameters", "training_flop_per_image")


def cells(
    table: Table, results: list[Result], peers: PeerRows
) -> tuple[list[str], list[list[str]]]:
    """(headings, cells of each row, those of peers last). A bold cell is **text**."""
    headings = ["", "parameters", "train MFLOP/image", "images/s", "minutes", "seeds"]
    rows = [*results, *peers.results]
    several = len({result.machines for result in rows}) > 1  # a single one is in the notes
    headings += ["on"] * several
    bold = {heading: _best(results, table.metrics[heading]) for heading in table.bold}
    compared, differences = _differences(table, results)
    lines = []
    for result in rows:
        parameters, flop = (result.model_size.get(key) for key in _SIZES)
        line = [
            result.row.label,
            f"{parameters:,}" if parameters is not None else "",
            f"{flop / 1e6:,.1f}" if flop is not None else "",
            "" if math.isnan(speed := statistics.median(result.speeds)) else f"{speed:,.0f}",
            captions.minutes(statistics.mean(result.seconds)),
            str(len(result.by_seed)),
            *[result.machines] * several,
        ]
        for heading, names in table.metrics.items():
            text = _number(result, names)
            line.append(f"**{text}**" if text and bold.get(heading) is result else text)
        lines.append(line + differences.get(result.row.label, [""] * len(compared)))
    return [*headings, *table.metrics, *compared], lines


def _differences(table: Table, results: list[Result]) -> tuple[list[str], dict[str, list[str]]]:
    """(headings, label of a row -> its cells): the differences from the first row, and whether they
    are beyond two standard errors. No headings if there are no differences."""
    heading = paired.heading(table)
    if heading is None:
        return [], {}
    names, first = table.metrics[heading], results[0]
    digits = tables.choose_by_metric(_DIGITS, names[0]) or 2
    found = {}
    for result in results[1:]:
        both = (result.values(names), result.scores, first.values(names), first.scores)
        if _same_images(result, first) and (difference := paired.difference(*both)):
            text = f"{difference.mean:+.{digits}f} ± {difference.error:.{digits}f}"
            found[result.row.label] = [text, "yes" if difference.is_significant else "no"]
    return [f"{heading} - {first.row.label}", _BEYOND] if found else [], found


def _same_images(result: Result, other: Result) -> bool:
    """Whether two rows are tested on the same images, by their configs."""
    one, two = (r.row.config().data for r in (result, other))
    return (one.name, one.binarise) == (two.name, two.binarise)


def markdown(table: Table, results: list[Result], peers: PeerRows) -> str:
    """With the rows of `peers` below an empty one, which is their rule."""
    headings, lines = cells(table, results, peers)
    text = [f"# {table.title}", "", row(headings), "|---" * len(headings) + "|"]
    own, measured = lines[: len(results)], lines[len(results) :]
    rule = [[""] * len(headings)] * bool(measured)
    text += [row(line) for line in [*own, *rule, *measured]]
    literature = _literature(table, headings)
    text += [row([f"*{label}*{source}", *rest]) for label, source, *rest in literature]
    text += ["", captions.caption(table), ""]
    text += captions.bullets(_notes(table, results, peers, headings))
    commands = "\n\n".join(f"`{command}`" for command in captions.commands(table, results))
    return "\n".join([*text, "", commands, ""])


def latex(table: Table, results: list[Result], peers: PeerRows) -> str:
    """A booktabs table, with its notes below in small print."""
    headings, lines = cells(table, results, peers)
    own, measured = lines[: len(results)], lines[len(results) :]

    def line(texts):
        return " & ".join(_tex(text) for text in texts) + r" \\"

    body = [line(headings), r"\midrule", *map(line, own)]
    if measured:
        body += [r"\midrule", *map(line, measured)]
    if table.literature:
        body.append(r"\midrule")
    body += [line([label + source, *rest]) for label, source, *rest in _literature(table, headings)]
    columns = "l" + "r" * (len(headings) - 1)
    title = table.title if table.title.endswith("?") else f"{table.title}."
    top = [r"\begin{table}", rf"\caption{{{_tex(f'{title} {captions.caption(table)}')}}}"]
    top += [rf"\begin{{tabular}}{{{columns}}}", r"\toprule"]
    bottom = [r"\bottomrule", r"\end{tabular}", r"\par\medskip\footnotesize"]
    for heading, note in _notes(table, results, peers, headings):
        bottom.append(rf"\textit{{{heading}}}: {_tex(note)}\par")
    return "\n".join([*top, *body, *bottom, r"\end{table}", ""])


def _notes(
    table: Table, results: list[Result], peers: PeerRows, headings: list[str]
) -> list[tuple[str, str]]:
    return [*captions.notes(table, results, paired=_BEYOND in headings), *peers.notes]


def comma_separated(results: list[Result], peers: PeerRows) -> str:
    """One line for each seed of each row, with all of its test metrics."""
    rows = [*results, *peers.results]
    metrics = sorted({name for r in rows for m in r.by_seed.values() for name in m})
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(["row", "seed", *_SIZES, "images_per_second", "seconds", *metrics])
    for result in rows:
        size = result.model_size
        model = [f"{size[key]:.0f}" if key in size else "" for key in _SIZES]
        seeds = zip(result.by_seed.items(), result.speeds, result.seconds, strict=True)
        for (seed, values), speed, seconds in seeds:
            speed = "" if math.isnan(speed) else f"{speed:.1f}"
            row = [result.row.label, seed, *model, speed, f"{seconds:.1f}"]
            writer.writerow([*row, *(values.get(name, "") for name in metrics)])
    return file.getvalue()


def _literature(table: Table, headings: list[str]) -> list[list[str]]:
    """The rows of published numbers: label, source, and a cell for each further heading."""
    return [
        [label, f" ({source})", *(values.get(heading, "") for heading in headings[1:])]
        for label, (values, source) in table.literature.items()
    ]


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
    """The row that is significantly better than every other row; None if there is none."""
    sign = tables.choose_by_metric(_BETTER, names[0])
    rows = [(result, result.values(names)) for result in results]
    rows = [(result, values) for result, values in rows if values]
    if not sign or len(rows) < 2:
        return None
    best, best_values = max(rows, key=lambda row: sign * statistics.mean(row[1].values()))
    for result, values in rows:
        if result is best:
            continue
        seeds = best_values.keys() & values.keys()
        gains = [sign * (best_values[seed] - values[seed]) for seed in seeds]
        if len(gains) < 2:
            return None
        error = statistics.stdev(gains) / math.sqrt(len(gains))
        if statistics.mean(gains) <= scipy.stats.t.ppf(0.975, len(gains) - 1) * error:
            return None
    return best


def row(texts: list[str]) -> str:
    """A row of a Markdown table."""
    cells = (text.replace("|", "\\|") for text in texts)
    return f"| {' | '.join(cells)} |"


def _tex(text: str) -> str:
    """A cell or a caption as LaTeX."""
    strong = text.startswith("**")
    text = text.strip("*") if strong else text
    text = text.translate(_TEX).replace("--", "-{}-")  # LaTeX would print a dash
    return rf"\textbf{{{text}}}" if strong else text

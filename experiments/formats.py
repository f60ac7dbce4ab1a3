"""A table of results as text: Markdown, LaTeX and CSV, with its caption and its commands."""

import csv
import io
import math
import statistics

import scipy.stats

from experiments import paired, tables
from experiments import results as results_lib
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
_DIGITS = {"mse": 5, "mae": 4, "ssim": 4, "bits": 3, "active": 1}  # other metrics have 2
_DIGITS |= {"bayes_accuracy": 4, "class_accuracy": 4}
_DIGITS |= {name: metric.digits for name, metric in SAMPLE_METRICS.items()}
_SIZES = ("parameters", "training_flop_per_image")
_NONE = PeerRows()  # of a table that shows no models of other libraries


def cells(
    table: Table, results: list[Result], peers: PeerRows = _NONE
) -> tuple[list[str], list[list[str]]]:
    """(headings, cells of each row, those of peers last). A bold cell is **text**."""
    headings = ["", "parameters", "train MFLOP/image", "images/s", "minutes", "seeds"]
    rows = [*results, *peers.results]
    several = len({result.machines for result in rows}) > 1  # a single one is in the caption
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
            minutes(statistics.mean(result.seconds)),
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
    return [f"{heading} - {first.row.label}", "beyond 2 s.e."] if found else [], found


def _same_images(result: Result, other: Result) -> bool:
    """Whether two rows are tested on the same images, by their configs."""
    one, two = (r.row.config().data for r in (result, other))
    return (one.name, one.binarise) == (two.name, two.binarise)


def caption(table: Table, results: list[Result]) -> str:
    """What the table compares and how, then where its numbers come from."""
    starts = [start for result in results for start in result.starts]
    commits = ", ".join(sorted({start["commit"] or "unknown" for start in starts}))
    dates = sorted(start["date"][:10] for start in starts)
    when = dates[0] if dates and dates[0] == dates[-1] else " to ".join(dates[:1] + dates[-1:])
    total = minutes(sum(sum(result.seconds) for result in results))
    missing = _missing(table, results)
    protocol = table.protocol[0].upper() + table.protocol[1:]
    provenance = "; ".join(
        [
            f"Size {table.size}",
            f"commit {commits}",
            results_lib.format_machines(starts),
            when,
            f"{total} minutes of training and separate evaluation, on a machine that may have "
            "run other programs too",
        ]
    )
    of_pairs = "Differences are paired by test image and seed. " * bool(
        _differences(table, results)[0]
    )
    return (
        f"{table.question} {protocol}. {_training_length(results)} ± is the standard error over "
        f"seeds, or over test images where marked *. {of_pairs}{provenance}."
        + f" Not run: {'; '.join(missing)}."
        * bool(missing)
    )


def _training_length(results: list[Result]) -> str:
    """How long the rows were trained, and which of them with rounded matrix products."""
    lengths: dict[str, list[str]] = {}
    rounded: dict[str, list[str]] = {}
    for row in (result.row for result in results if not result.row.weights_from):
        config = row.config()
        steps, epochs = config.train.max_steps, config.train.epochs
        length = f"{steps:,} steps" if steps else f"{epochs} epoch{'s' * (epochs != 1)}"
        lengths.setdefault(length, []).append(row.label)
        if (precision := config.optim.matmul_precision) != "float32":
            rounded.setdefault(f"with matrix products in {precision}", []).append(row.label)
    all_rows = sum(map(len, lengths.values()))
    phrases = [
        phrase + f" ({'; '.join(labels)})" * (len(labels) < all_rows)
        for phrase, labels in [*lengths.items(), *rounded.items()]
    ]
    return f"Trained for {', '.join(phrases)}."


def markdown(table: Table, results: list[Result], peers: PeerRows = _NONE) -> str:
    """With the rows of `peers` below an empty one, which is their rule."""
    headings, lines = cells(table, results, peers)
    text = [f"# {table.title}", "", row(headings), "|---" * len(headings) + "|"]
    own, measured = lines[: len(results)], lines[len(results) :]
    rule = [[""] * len(headings)] * bool(measured)
    text += [row(line) for line in [*own, *rule, *measured]]
    literature = _literature(table, headings)
    text += [row([f"*{label}*{source}", *rest]) for label, source, *rest in literature]
    commands = "\n\n".join(f"`{command}`" for command in _commands(table, results))
    captions = [caption(table, results), *[peers.note] * bool(peers.note)]
    return "\n".join([*text, "", "\n\n".join(captions), "", commands, ""])


def latex(table: Table, results: list[Result], peers: PeerRows = _NONE) -> str:
    """A booktabs table."""
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
    text = " ".join(filter(None, [title, caption(table, results), peers.note]))
    top = [r"\begin{table}", rf"\caption{{{_tex(text)}}}"]
    top += [rf"\begin{{tabular}}{{{columns}}}", r"\toprule"]
    return "\n".join([*top, *body, r"\bottomrule", r"\end{tabular}", r"\end{table}", ""])


def comma_separated(table: Table, results: list[Result], peers: PeerRows = _NONE) -> str:
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


def _commands(table: Table, results: list[Result]) -> list[str]:
    """The commands that train the runs, one for all rows with the same seeds."""
    command = f"python -m experiments.run {table.name} --size {table.size}"
    planned = tables.load(table.name, table.size)
    by_seeds: dict[tuple[int, ...], list[str]] = {}
    for result in results:
        by_seeds.setdefault(tuple(sorted(result.by_seed)), []).append(result.row.label)
    lines = []
    for seeds, labels in by_seeds.items():
        some = labels != [row.label for row in planned.rows]
        row_flags = "".join(f' --row "{label}"' for label in labels) * some
        other_seeds = set(seeds) != set(planned.seeds)
        seed_flag = f" --seeds {','.join(map(str, seeds))}" * other_seeds
        lines.append(f"{command}{row_flags}{seed_flag}")
    return lines


def _missing(table: Table, results: list[Result]) -> list[str]:
    """The rows, and the seeds of rows, of the table that have no finished run."""
    done = {result.row.label: set(result.by_seed) for result in results}
    planned, by_seeds = tables.load(table.name, table.size).seeds, {}
    for row in table.rows:
        missing = [str(seed) for seed in planned if seed not in done.get(row.label, ())]
        if row.label in done and missing:
            noun = "seeds" if len(missing) > 1 else "seed"
            by_seeds.setdefault(f"{noun} {', '.join(missing)}", []).append(row.label)
    return [row.label for row in table.rows if row.label not in done] + [
        f"{seeds} of {'all rows' if len(labels) == len(table.rows) else ', '.join(labels)}"
        for seeds, labels in by_seeds.items()
    ]


def _literature(table: Table, headings: list[str]) -> list[list[str]]:
    """The rows of published numbers: label, source, and a cell for each further heading."""
    return [
        [label, f" ({source})", *(values.get(heading, "") for heading in headings[1:])]
        for label, (values, source) in table.literature.items()
    ]


def minutes(seconds: float) -> str:
    """Seconds as minutes, with about three digits."""
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

"""What stands below a table: its caption, and the notes that say where its numbers come from."""

from collections.abc import Iterable, Sequence

from experiments import results as results_lib
from experiments import tables
from experiments.results import Result
from experiments.tables import Table

_ERRORS = "± is the standard error over seeds, or over test images where marked *."
BESIDE_OTHERS = "on a machine that may have run other programs too"


def caption(table: Table) -> str:
    """At most three sentences: what is compared, and what the errors are."""
    return f"{table.caption} {_ERRORS}"


def notes(table: Table, results: list[Result], paired: bool) -> list[tuple[str, str]]:
    """(heading, text) of each note below the caption; `paired` is whether differences between rows
    are among the columns."""
    starts = [start for result in results for start in result.starts]
    spent = minutes(sum(sum(result.seconds) for result in results))
    where = origin(starts, f"{spent} minutes of training and separate evaluation, {BESIDE_OTHERS}")
    of_pairs = "Differences are paired by test image and seed." * paired
    texts = {
        "Reading": " ".join(filter(None, [table.notes, of_pairs])),
        "Data": sentence(table.protocol),
        "Training": _training_length(results),
        "Origin": f"Size {table.size}; {where}.",
        "Not run": "; ".join(missing) + "." if (missing := _missing(table, results)) else "",
    }
    return [(heading, text) for heading, text in texts.items() if text]


def bullets(notes: Iterable[tuple[str, str]]) -> list[str]:
    """The lines of notes, (heading, text), in Markdown."""
    return [f"- **{heading}**: {text}" for heading, text in notes]


def sentence(words: str) -> str:
    """With a capital and a full stop."""
    return f"{words[0].upper()}{words[1:]}."


def origin(starts: Sequence[dict], *more: str) -> str:
    """The commits, machines and days of these starts of runs, and `more`."""
    commits = ", ".join(sorted({start["commit"] or "unknown" for start in starts}))
    days = sorted({start["date"][:10] for start in starts})
    parts = [
        f"commit {commits}",
        results_lib.format_machines(starts),
        " to ".join([*days[:1], *days[1:][-1:]]),
        *more,
    ]
    return "; ".join(parts)


def minutes(seconds: float) -> str:
    """Seconds as minutes, with about three digits."""
    return f"{seconds / 60:.{0 if seconds >= 6000 else 1 if seconds >= 60 else 2}f}"


def commands(table: Table, results: list[Result]) -> list[str]:
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
    return f"{', '.join(phrases)}."


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

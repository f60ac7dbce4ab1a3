"""The report of a search: its best trials, the importance of its parameters, and a picture.

All is read from the journal of the search, and the same journal gives the same files byte for byte.
"""

import dataclasses
import math
import shlex
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np

from experiments import captions, jobs
from experiments import study as study_lib
from experiments.spaces import Space
from rnnae import files
from rnnae.errors import ConfigError

RESULTS = Path(__file__).parent / "results" / "searches"
JOURNAL = "journal.jsonl"
_BEST = 10  # trials in the table


@dataclasses.dataclass(frozen=True)
class Trial:
    """A trial as the journal has it."""

    number: int
    params: dict[str, object]
    values: list[float]  # at each rung that it was trained to; inf where that was not possible
    seconds: float
    start: dict  # parameters, FLOP, commit, date and machine

    @property
    def finite(self) -> list[float]:
        """The values at the rungs that it has reached."""
        return [value for value in self.values if math.isfinite(value)]


def write(space: Space, directory: Path, out: Path) -> None:
    """Writes SPACE.md, SPACE.png and SPACE.jsonl, a copy of the journal, to `out`.

    ConfigError if there is no journal in `directory` or `out`, or if no trial has a value.
    """
    kept = out / f"{space.name}.jsonl"
    if (directory / JOURNAL).exists():
        out.mkdir(parents=True, exist_ok=True)
        files.replace_file(kept, lambda path: shutil.copyfile(directory / JOURNAL, path))
    elif not kept.exists():
        raise ConfigError(f"there is no search in {directory} and no {kept}: search first")
    study = study_lib.open_study(space, kept)
    trials = [
        Trial(t.number, t.params, **study.user_attrs[f"trial {t.number:03}"])
        for t in study_lib.valued(study)
    ]
    # Those that came furthest, and of these the best, first.
    trials.sort(key=lambda trial: (-len(trial.finite), trial.finite[-1:], trial.number))
    if not trials or not trials[0].finite:
        raise ConfigError(f"no trial in {kept} has a value yet: search on")
    text = markdown(space, trials, study_lib.importance(study))
    files.replace_text(out / f"{space.name}.md", text)
    files.replace_file(out / f"{space.name}.png", lambda path: draw(space, trials, path))
    print(text)


def markdown(space: Space, trials: list[Trial], importance: dict[str, float]) -> str:
    """The report as Markdown. `trials` are the best first."""
    at = [f"{space.metric} at epoch {epochs}" for epochs in space.rungs]
    headings = ["trial", *space.parameters, *at, "parameters", "train MFLOP/image", "minutes"]
    lines = [headings, ["---"] * len(headings)]
    for trial in [trial for trial in trials if trial.finite][:_BEST]:
        values = [f"{value:.4g}" for value in trial.finite] + [""] * len(space.rungs)
        flop = trial.start["training_flop_per_image"]
        settings = [_text(trial.params[name]) for name in space.parameters]
        size = [f"{trial.start['parameters']:,}", f"{flop / 1e6:,.1f}", f"{trial.seconds / 60:.1f}"]
        lines.append([str(trial.number), *settings, *values[: len(space.rungs)], *size])
    table = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    shares = [f"{name} {share:.2f}" for name, share in importance.items()]
    best = trials[0]
    row = space.trial(best.number, best.params)
    workdir = Path("runs") / f"{space.name}_best"
    words = jobs.command([jobs.Run(row, 0, workdir, workdir, row)], [])
    notes = "\n".join(captions.bullets(_notes(space, trials)))
    return f"""# {space.title}

{table}

Importance for {at[0]}, over all trials (fANOVA): {", ".join(shares) or "unknown"}.

![Each line is a trial]({space.name}.png)

{space.caption} The table has the best trials.

{notes}

The best trial: `{shlex.join(["python", *words[1:]])}`

The search: `python -m experiments.search {space.name} --trials {len(trials)}`
"""


def _notes(space: Space, trials: list[Trial]) -> list[tuple[str, str]]:
    """(heading, text) of each note: how it was searched, and where the numbers come from."""
    counts = [sum(len(trial.finite) > rung for trial in trials) for rung in range(len(space.rungs))]
    reached = ", ".join(
        f"{count} reached epoch {epochs}" for count, epochs in zip(counts, space.rungs, strict=True)
    )
    starts = [trial.start for trial in trials if trial.start]
    spent = captions.minutes(sum(trial.seconds for trial in trials))
    origin = captions.origin(starts, f"{spent} minutes of training, {captions.BESIDE_OTHERS}")
    return [
        *([("Reading", space.notes)] if space.notes else []),
        ("Data", f"{space.metric} is of the validation images, one seed; lower is better."),
        ("Search", f"Optuna (TPE) proposed the settings of {len(trials)} trials; {reached}."),
        ("Origin", captions.sentence(origin)),
    ]


def _text(value: object) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def draw(space: Space, trials: list[Trial], path: Path) -> None:
    """Writes the picture as a PNG: parallel coordinates. Each parameter has a vertical axis, and so
    has the value at the first rung. Each trial is a line, coloured by the last rung it reached."""
    from matplotlib import colormaps
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # slow to import
    from matplotlib.figure import Figure

    shown = [trial for trial in trials if trial.finite]
    first = [trial.finite[0] for trial in shown]
    # A few bad trials must not set the scale of the axis; their lines end at its top.
    last = {"low": min(first), "high": float(np.quantile(first, 0.9))}
    names = [*space.parameters, f"{space.metric}\nat epoch {space.rungs[0]}"]
    columns = [*([trial.params[name] for trial in shown] for name in space.parameters), first]
    scales = [_scale(**values) for values in [*space.parameters.values(), last]]

    figure = Figure(figsize=(2 * len(names) + 1, 5), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.set(xlim=(-0.6, len(names) - 0.5), ylim=(-0.03, 1.12))
    axes.set_axis_off()
    heights = []
    for x, (name, column, (height, ticks)) in enumerate(zip(names, columns, scales, strict=True)):
        heights.append(np.clip([height(value) for value in column], 0, 1))
        axes.plot([x, x], [0, 1], color="black", lw=1, zorder=9)
        axes.text(x, 1.04, name, ha="center", va="bottom", fontsize=9)
        for tick in ticks:
            axes.plot([x - 0.02, x], [height(tick)] * 2, color="black", lw=1, zorder=9)
            place = {"ha": "right", "va": "center", "fontsize": 8, "zorder": 9}
            behind = {"pad": 0.5, "color": "white", "alpha": 0.7}
            axes.text(x - 0.03, height(tick), _text(tick), bbox=behind, **place)
    palette = colormaps["viridis_r"](np.linspace(0.1, 0.9, len(space.rungs)))
    for index in reversed(range(len(shown))):  # the best last, above the others
        rung = len(shown[index].finite) - 1
        style = {"color": palette[rung], "lw": 0.8 + rung, "alpha": 0.8}
        if index == 0:
            style = {"color": "tab:red", "lw": 3}
        label = "the best" if index == 0 else f"up to epoch {space.rungs[rung]}"
        axes.plot([h[index] for h in heights], label=label, **style)
    labels = dict(zip(*axes.get_legend_handles_labels()[::-1], strict=True))  # one of each
    figure.legend(labels.values(), labels.keys(), loc="outside lower center", ncols=len(labels))
    figure.savefig(path, format="png", dpi=110, metadata={"Software": None})


def _scale(low=0.0, high=0.0, log=False, choices=(), step=1) -> tuple[Callable, list]:
    """(height of a value on its axis, from 0 to 1; values to mark there), for the values of a
    parameter as in a space."""
    from matplotlib.ticker import LogLocator, MaxNLocator

    if choices:
        return lambda value: choices.index(value) / max(1, len(choices) - 1), list(choices)
    whole = isinstance(low, int)
    locator = LogLocator(subs=(1, 2, 5)) if log else MaxNLocator(6, integer=whole)
    ticks = [t for t in locator.tick_values(low, high) if low <= t <= high]
    first, last = (math.log(low), math.log(high)) if log else (low, high)
    span = last - first or 1.0
    return lambda value: ((math.log(value) if log else value) - first) / span, ticks

"""The picture beside a table: its first metric by row, learning curves, samples of every row."""

import statistics
from pathlib import Path

import numpy as np

from experiments.tables import Table
from rnnae.writer import read_metrics


def draw(table: Table, results: list, path: Path) -> None:
    """One PNG; `results` are those of `report.collect`."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # slow to import
    from matplotlib.figure import Figure

    strips = [(result, _strip(result)) for result in results]
    strips = [(result, strip) for result, strip in strips if strip is not None]
    figure = Figure(figsize=(11, 4 + 0.75 * len(strips)), layout="constrained")
    FigureCanvasAgg(figure)
    ratios = [4, *[0.75] * len(strips)]
    grid = figure.add_gridspec(len(ratios), 2, height_ratios=ratios)
    heading, names = next(iter(table.metrics.items()))
    by_row = figure.add_subplot(grid[0, 0])
    colours = _colours(results)
    swept = _by_row(by_row, table, results, names, colours)
    by_row.set(title=heading)
    learning = figure.add_subplot(grid[0, 1])
    _learning(learning, results, colours, legend=swept)
    for axes in (by_row, learning):
        axes.grid(alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
    for index, (result, strip) in enumerate(strips, 1):
        axes = figure.add_subplot(grid[index, :])
        axes.imshow(strip)
        axes.set_axis_off()
        axes.set_title(result.row.label, loc="left", fontsize=9, pad=2)
    figure.savefig(path, dpi=110, metadata={"Software": None})


def _by_row(axes, table, results, names, colours):
    """Means with the standard error over seeds: against the swept value, or side by side, each row
    in its colour; True for the first."""
    shown = [(r, list(r.values(names).values())) for r in results]
    shown = [(r, v) for r, v in shown if v]
    middle = [statistics.mean(v) for _, v in shown]
    error = [statistics.stdev(v) / len(v) ** 0.5 if len(v) > 1 else 0.0 for _, v in shown]
    places = [r.row.overrides.get(table.swept) for r, _ in shown]
    if table.swept and all(isinstance(place, int | float) for place in places):
        axes.errorbar(places, middle, error, marker="o", capsize=3)
        axes.set(xlabel=f"config.{table.swept}")
        if min(places) > 0 and max(places) >= 16 * min(places):
            axes.set_xscale("log", base=2)
        return True
    for index, (value, reach, (result, _)) in enumerate(zip(middle, error, shown, strict=True)):
        colour = colours[result.row.label]
        axes.errorbar(value, index, xerr=reach, marker="o", capsize=3, color=colour)
    axes.set_yticks(range(len(shown)), [r.row.label for r, _ in shown])
    axes.invert_yaxis()
    return False


def _colours(results) -> dict[str, tuple]:
    from matplotlib import colormaps

    few = colormaps["tab10" if len(results) <= 10 else "tab20"].colors
    return {result.row.label: few[index % 20] for index, result in enumerate(results)}


def _learning(axes, results, colours, legend):
    """Validation loss against epochs, or training loss where that was seldom; first seeds."""
    trained = [result for result in results if not result.row.trained]
    records = {result.row.label: read_metrics(result.workdirs[0]) for result in trained}
    held_out = all(sum("valid/loss" in r for r in of_row) > 4 for of_row in records.values())
    key = "valid/loss" if held_out else "train/loss"
    lines = []
    for label, of_row in records.items():
        points = [(r["epoch"], r[key]) for r in of_row if key in r]
        if points:
            epochs, losses = zip(*points, strict=True)
            axes.plot(epochs, losses, label=label, color=colours[label], lw=1.2)
            lines.append(np.array(losses))
    if not lines:
        return
    # A loss of another kind (a code without a price) does not set the scale.
    last = np.array([line[-1] for line in lines])
    highest = np.median(last) + 3 * (np.median(last) - last.min())
    alike = [line for line in lines if line[-1] <= highest]
    tails = np.concatenate([line[len(line) // 3 :] for line in alike])
    axes.set(title="Validation loss" if held_out else "Training loss", xlabel="epoch")
    axes.set_ylim(tails.min() - 0.02 * np.ptp(tails), np.percentile(tails, 98))
    if legend:
        axes.legend(frameon=False, fontsize=8)


def _strip(result) -> np.ndarray | None:
    """The two rows of the first seed's pictures/generated.png, side by side."""
    from matplotlib import image

    path = result.workdirs[0] / "pictures" / "generated.png"
    if result.row.trained or not path.exists():
        return None
    picture = image.imread(path)
    half = picture.shape[0] // 2
    return np.concatenate([picture[:half], picture[half : 2 * half]], axis=1)

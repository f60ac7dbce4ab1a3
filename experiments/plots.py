"""The plot of a table: its metrics, the learning curves of its rows, and sample images."""

import math
import os.path
from pathlib import Path

import numpy as np

from experiments.results import Result
from experiments.tables import Table, choose_by_metric
from rnnae.evaluation.curves import curve

# Beginning of a metric's name -> its unit. Other metrics have none.
_UNITS = dict.fromkeys(("nll", "bound", "kl", "mutual"), "nats") | {"bits": "bits per dimension"}


def draw(table: Table, results: list[Result], path: Path) -> None:
    """Writes the plot of a table as a PNG.

    On the left is a panel for each heading that compares rows: metric against row, or against the
    swept setting. On the right are the learning curves. Below are sample images of each row.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # slow to import
    from matplotlib.figure import Figure

    strips = [(result, _strip(result)) for result in results]
    strips = [(result, strip) for result, strip in strips if strip is not None]
    lines = swept_lines(table, results)
    shades = _shades(lines, table.swept)
    panels = {_first(table): results} if lines else _panels(table, results)
    panels = panels if len(results) > 1 else {}  # a single point compares nothing
    top = max(4, 2.4 * len(panels), 0.22 * len(results) + 1)  # inches
    figure = Figure(figsize=(11, top + 0.75 * len(strips)), layout="constrained")
    FigureCanvasAgg(figure)
    grid = figure.add_gridspec(1 + len(strips), 2, height_ratios=[top, *[0.75] * len(strips)])
    colours = _colours(lines or {result.row.label: [result] for result in results})
    left = grid[0, 0].subgridspec(max(1, len(panels)), 1)
    # Panels in the same unit share the x axis, and the losses of their rows share a plot.
    by_unit: dict[str, list[tuple]] = {}
    for index, (heading, rows) in enumerate(panels.items()):
        names = table.metrics[heading]
        in_nats = all(name.startswith(("test/nll", "test/bound")) for name in names)
        same_unit = by_unit.setdefault("nats" if in_nats else heading, [])
        axes = figure.add_subplot(left[index, 0], sharex=same_unit[0][0] if same_unit else None)
        if lines:
            _plot_swept(axes, table.swept, lines, names, colours)
        else:
            _plot_rows(axes, rows, names, colours)
        axes.set(title=heading)
        same_unit.append((axes, rows))
    losses = [[r for _, rows in group for r in rows] for group in by_unit.values()] or [results]
    right = grid[0, 1 if panels else slice(None)].subgridspec(len(losses), 1)
    for index, rows in enumerate(losses):
        legend = len(lines) == 1 and len(rows) <= 10
        axes = figure.add_subplot(right[index, 0])
        _plot_learning(axes, rows, table.swept, colours, shades, legend)
    for axes in figure.axes:
        axes.grid(alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
    for index, (result, strip) in enumerate(strips, 1):
        axes = figure.add_subplot(grid[index, :])
        axes.imshow(strip)
        axes.set_axis_off()
        axes.set_title(result.row.label, loc="left", fontsize=9, pad=2)
    if strips:
        figure.supxlabel(
            "Samples of the first seed. Where all pixels are drawn at once, each shows its mean.",
            fontsize=8,
        )
    figure.savefig(path, format="png", dpi=110, metadata={"Software": None})


def _panels(table: Table, results: list[Result]) -> dict[str, list[Result]]:
    """heading -> rows to show under it. Each row is shown once, under the first heading for which
    it has a number."""
    panels, remaining = {}, list(results)
    for heading, names in table.metrics.items():
        having = [result for result in remaining if result.values(names)]
        remaining = [result for result in remaining if not result.values(names)]
        if having:
            panels[heading] = having
    return panels


def swept_lines(table: Table, results: list[Result]) -> dict[str, list[Result]]:
    """label -> rows that differ in the swept setting alone; empty if the table sweeps nothing."""
    groups: dict[str, list] = {}
    for result in results:
        rest = {k: v for k, v in result.row.overrides.items() if k != table.swept}
        if table.swept in result.row.overrides and result.values(table.metrics[_first(table)]):
            groups.setdefault(repr(sorted(rest.items())), []).append(result)
    labels = [_common_suffix([r.row.label for r in group]) for group in groups.values()]
    if len(set(labels)) < len(labels):
        labels = [group[0].row.label for group in groups.values()]
    return dict(zip(labels, groups.values(), strict=True))


def _first(table: Table) -> str:
    return next(iter(table.metrics))


def _common_suffix(labels: list[str]) -> str:
    """The common end of labels: `read window` for `1 glimpse, read window` and the like."""
    suffix = os.path.commonprefix([label[::-1] for label in labels])[::-1]
    return suffix.split(", ", 1)[-1] if ", " in suffix else suffix.strip()


def _plot_swept(axes, swept, lines, names, colours) -> None:
    """A metric against the swept setting, with one line for each group of rows."""
    positions = []
    for label, group in lines.items():
        points = sorted((r.row.overrides[swept], *r.estimate(names)) for r in group)
        x, mean, error = zip(*points, strict=True)
        error = [0.0 if math.isnan(e) else e for e in error]
        axes.errorbar(x, mean, error, marker="o", capsize=3, label=label, color=colours[label])
        positions += x
    axes.set(xlabel=f"config.{swept}", ylabel=choose_by_metric(_UNITS, names[0]))
    if min(positions) > 0 and max(positions) >= 16 * min(positions):
        axes.set_xscale("log", base=2)
        ticks = sorted({*positions})
        axes.set_xticks(ticks, map(str, ticks))
    if len(lines) > 1:
        axes.legend(frameon=False, fontsize=8)


def _plot_rows(axes, results, names, colours) -> None:
    """A metric of each row, with the rows below each other."""
    for index, result in enumerate(results):
        mean, error = result.estimate(names)
        error = 0.0 if math.isnan(error) else error
        colour = colours[result.row.label]
        axes.errorbar(mean, index, xerr=error, marker="o", capsize=3, color=colour)
    axes.set_yticks(range(len(results)), [result.row.label for result in results])
    axes.set_ylim(len(results) - 0.5, -0.5)
    axes.locator_params("x", nbins=6)  # more tick labels would overlap
    axes.set(xlabel=choose_by_metric(_UNITS, names[0]))


def _colours(groups: dict[str, list[Result]]) -> dict[str, tuple]:
    """label -> colour, for each group and for the rows in it."""
    from matplotlib import colormaps

    palette = colormaps["tab10" if len(groups) <= 10 else "tab20"].colors
    colours = {}
    for index, (label, results) in enumerate(groups.items()):
        labels = [label, *(r.row.label for r in results)]
        colours |= dict.fromkeys(labels, palette[index % len(palette)])
    return colours


def _shades(lines: dict[str, list[Result]], swept: str) -> dict[str, float]:
    """label -> opacity of a row's learning curve, lower for a smaller swept value."""
    opacities = {}
    for group in lines.values():
        ordered = sorted(group, key=lambda result: -result.row.overrides[swept])
        shades = np.linspace(1, 0.3, len(ordered))
        opacities |= {r.row.label: shade for r, shade in zip(ordered, shades, strict=True)}
    return opacities


def _plot_learning(axes, results, swept, colours, shades, legend) -> None:
    """The loss of the first seed of each row against epochs: the validation loss, or the training
    loss where a row was validated fewer than five times."""
    trained = [result for result in results if not result.row.weights_from]
    records = {result.row.label: result.losses for result in trained}
    validated = all(sum("valid/loss" in r for r in row) > 4 for row in records.values())
    key = "valid/loss" if validated else "train/loss"
    lines = {}
    for label, row_records in records.items():
        if points := curve(row_records, key):
            epochs, losses = zip(*points, strict=True)
            style = {"alpha": shades.get(label, 1.0), "color": colours.get(label)}
            axes.plot(epochs, losses, label=label, lw=1.2, **style)
            lines[label] = np.array(losses)
    if not lines:
        return
    # A row whose loss is much higher (other images, or a latent whose KL costs nothing) must not
    # set the scale of the axis.
    last = np.array([line[-1] for line in lines.values()])
    highest = np.median(last) + 3 * (np.median(last) - last.min())
    similar = [line for line in lines.values() if line[-1] <= highest]
    tails = np.concatenate([line[len(line) // 3 :] for line in similar])
    title = "Validation loss" if validated else "Training loss"
    if sum(label in shades for label in lines) > 1:
        title += f", paler for smaller config.{swept}"
    axes.set(title=title, xlabel="epoch", ylabel="nats per image")
    axes.set_ylim(tails.min() - 0.02 * np.ptp(tails), np.percentile(tails, 98))
    highest = axes.get_ylim()[1]
    if above := [label for label, line in lines.items() if line[-1] > highest]:
        corner = {"xy": (1, 1), "xycoords": "axes fraction", "ha": "right", "va": "top"}
        axes.annotate("above the axis: " + ", ".join(above), **corner, fontsize=8, wrap=True)
    if legend:
        axes.legend(frameon=False, fontsize=8)


def _strip(result: Result) -> np.ndarray | None:
    """The two lines of sample images of a row side by side; float in [0, 1], height x width x 3."""
    if result.row.weights_from or result.picture is None:
        return None
    picture = np.divide(result.picture, 255, dtype=np.float32)
    half = picture.shape[0] // 2
    return np.concatenate([picture[:half], picture[half : 2 * half]], axis=1)

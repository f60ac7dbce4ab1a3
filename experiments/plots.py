"""The picture beside a table: its metrics by row or swept value, learning curves, samples."""

import math
import os.path
from pathlib import Path

import numpy as np

from experiments.tables import Table, choose_by_metric

# Of the metrics that have one, by what their names begin with.
_UNITS = dict.fromkeys(("nll", "bound", "kl", "mutual"), "nats") | {"bits": "bits per dimension"}


def draw(table: Table, results: list, path: Path) -> None:
    """One PNG; `results` are those of `records.collect`."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # slow to import
    from matplotlib.figure import Figure

    strips = [(result, _strip(result)) for result in results]
    strips = [(result, strip) for result, strip in strips if strip is not None]
    lines = swept_lines(table, results)
    shades = _shades(lines, table.swept)
    shown = {_first(table): results} if lines else _panels(table, results)
    shown = shown if len(results) > 1 else {}  # a point says nothing
    top = max(4, 2.4 * len(shown), 0.22 * len(results) + 1)
    figure = Figure(figsize=(11, top + 0.75 * len(strips)), layout="constrained")
    FigureCanvasAgg(figure)
    grid = figure.add_gridspec(1 + len(strips), 2, height_ratios=[top, *[0.75] * len(strips)])
    colours = _colours(lines or {result.row.label: [result] for result in results})
    own = grid[0, 0].subgridspec(max(1, len(shown)), 1)
    compared: dict[str, list] = {}  # panels of one scale, whose rows' losses are alike too
    for index, (heading, of_heading) in enumerate(shown.items()):
        names = table.metrics[heading]
        of_nats = all(name.startswith(("test/nll", "test/bound")) for name in names)
        alike = compared.setdefault("nats" if of_nats else heading, [])
        axes = figure.add_subplot(own[index, 0], sharex=alike[0][0] if alike else None)
        if lines:
            _against(axes, table.swept, lines, names, colours)
        else:
            _side_by_side(axes, of_heading, names, colours)
        axes.set(title=heading)
        alike.append((axes, of_heading))
    losses = [[r for _, rows in panels for r in rows] for panels in compared.values()] or [results]
    learning = grid[0, 1 if shown else slice(None)].subgridspec(len(losses), 1)
    for index, rows in enumerate(losses):
        legend = len(lines) == 1 and len(rows) <= 10
        axes = figure.add_subplot(learning[index, 0])
        _learning(axes, rows, colours, shades, legend)
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
            "Images of the first seed; pixels' means where all pixels are drawn at once", fontsize=8
        )
    figure.savefig(path, dpi=110, metadata={"Software": None})


def _panels(table: Table, results: list) -> dict[str, list]:
    """heading -> its rows: the first headings under which every row is once."""
    panels, left = {}, list(results)
    for heading, names in table.metrics.items():
        own = [result for result in left if result.values(names)]
        left = [result for result in left if not result.values(names)]
        if own:
            panels[heading] = own
    return panels


def swept_lines(table: Table, results: list) -> dict[str, list]:
    """Of a table that sweeps a number: name -> rows that differ in it alone; else empty."""
    groups: dict[str, list] = {}
    for result in results:
        rest = {k: v for k, v in result.row.overrides.items() if k != table.swept}
        if table.swept in result.row.overrides and result.values(table.metrics[_first(table)]):
            groups.setdefault(repr(sorted(rest.items())), []).append(result)
    labels = [_common_end([r.row.label for r in group]) for group in groups.values()]
    if len(set(labels)) < len(labels):
        labels = [group[0].row.label for group in groups.values()]
    return dict(zip(labels, groups.values(), strict=True))


def _first(table: Table) -> str:
    return next(iter(table.metrics))


def _common_end(labels: list[str]) -> str:
    """What the labels end with alike: `whole image` of `1 glimpse, whole image`."""
    end = os.path.commonprefix([label[::-1] for label in labels])[::-1]
    return end.split(", ", 1)[-1] if ", " in end else end.strip()


def _against(axes, swept, lines, names, colours) -> None:
    """A line for each group of rows, against the swept number."""
    places = []
    for label, group in lines.items():
        points = sorted((r.row.overrides[swept], *r.estimate(names)) for r in group)
        x, mean, error = zip(*points, strict=True)
        reach = [0.0 if math.isnan(e) else e for e in error]
        axes.errorbar(x, mean, reach, marker="o", capsize=3, label=label, color=colours[label])
        places += x
    axes.set(xlabel=f"config.{swept}", ylabel=choose_by_metric(_UNITS, names[0]))
    if min(places) > 0 and max(places) >= 16 * min(places):
        axes.set_xscale("log", base=2)
        ticks = sorted({*places})
        axes.set_xticks(ticks, map(str, ticks))
    if len(lines) > 1:
        axes.legend(frameon=False, fontsize=8)


def _side_by_side(axes, results, names, colours) -> None:
    for index, result in enumerate(results):
        mean, error = result.estimate(names)
        reach = 0.0 if math.isnan(error) else error
        colour = colours[result.row.label]
        axes.errorbar(mean, index, xerr=reach, marker="o", capsize=3, color=colour)
    axes.set_yticks(range(len(results)), [result.row.label for result in results])
    axes.set_ylim(len(results) - 0.5, -0.5)
    axes.locator_params("x", nbins=6)  # more run into each other
    axes.set(xlabel=choose_by_metric(_UNITS, names[0]))


def _colours(groups: dict[str, list]) -> dict[str, tuple]:
    """Of groups and of their rows, by label."""
    from matplotlib import colormaps

    few = colormaps["tab10" if len(groups) <= 10 else "tab20"].colors
    found = {}
    for index, (label, results) in enumerate(groups.items()):
        found |= dict.fromkeys([label, *(r.row.label for r in results)], few[index % len(few)])
    return found


def _shades(lines: dict[str, list], swept: str) -> dict[str, float]:
    """Of the rows of a group, by label: paler the smaller the swept number is."""
    found = {}
    for group in lines.values():
        ordered = sorted(group, key=lambda result: -result.row.overrides[swept])
        shades = np.linspace(1, 0.3, len(ordered))
        found |= {r.row.label: shade for r, shade in zip(ordered, shades, strict=True)}
    return found


def _learning(axes, results, colours, shades, legend) -> None:
    """Validation loss against epochs, or training loss where that was seldom; first seeds."""
    trained = [result for result in results if not result.row.weights_from]
    records = {result.row.label: result.losses for result in trained}
    held_out = all(sum("valid/loss" in r for r in of_row) > 4 for of_row in records.values())
    key = "valid/loss" if held_out else "train/loss"
    lines = {}
    for label, of_row in records.items():
        if points := curve(of_row, key):
            epochs, losses = zip(*points, strict=True)
            shade = {"alpha": shades.get(label, 1.0), "color": colours.get(label)}
            axes.plot(epochs, losses, label=label, lw=1.2, **shade)
            lines[label] = np.array(losses)
    if not lines:
        return
    # A loss of another kind (a code without a price, other images) does not set the scale.
    last = np.array([line[-1] for line in lines.values()])
    highest = np.median(last) + 3 * (np.median(last) - last.min())
    alike = [line for line in lines.values() if line[-1] <= highest]
    tails = np.concatenate([line[len(line) // 3 :] for line in alike])
    title = "Validation loss" if held_out else "Training loss"
    several = sum(label in shades for label in lines) > 1
    title += ", paler for smaller numbers" * several
    axes.set(title=title, xlabel="epoch", ylabel="nats per image")
    axes.set_ylim(tails.min() - 0.02 * np.ptp(tails), np.percentile(tails, 98))
    highest = axes.get_ylim()[1]
    if off := [label for label, line in lines.items() if line[-1] > highest]:
        where = {"xy": (1, 1), "xycoords": "axes fraction", "ha": "right", "va": "top"}
        axes.annotate("off the scale: " + ", ".join(off), **where, fontsize=8, wrap=True)
    if legend:
        axes.legend(frameon=False, fontsize=8)


def curve(records: list[dict], key: str) -> list[tuple[float, float]]:
    """(epoch, value) of a loss, where the records have it.

    A training loss is the mean over the steps since the record before. Means over less than half of
    the usual number of steps are left out, because they are noisy; the end of an epoch leaves them.
    """
    having = [record for record in records if key in record]
    if key.startswith("train/") and having:
        steps = np.diff([record["step"] for record in having], prepend=0)
        enough = 2 * steps >= np.median(steps)
        having = [record for record, kept in zip(having, enough, strict=True) if kept]
    return [(record["epoch"], record[key]) for record in having]


def _strip(result) -> np.ndarray | None:
    if result.row.weights_from or result.picture is None:
        return None
    picture = np.divide(result.picture, 255, dtype=np.float32)
    half = picture.shape[0] // 2
    return np.concatenate([picture[:half], picture[half : 2 * half]], axis=1)

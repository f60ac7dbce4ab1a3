"""Plots of a run: its learning curves, and the error of a reconstruction while it is painted."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from rnnae.files import replace_file


def error_by_step(path: str | Path, error_T: np.ndarray) -> None:
    """Mean squared error of reconstructions after each glimpse."""
    figure, (axes,) = _figure(1)
    axes.plot(np.arange(1, len(error_T) + 1), error_T, marker=".", lw=1.5)
    axes.set(
        title="Error of the reconstruction while it is painted",
        xlabel="glimpse",
        ylabel="MSE, intensities in [0, 1]",
        ylim=(0, None),
    )
    _finish(path, figure, [axes])


def loss_curves(path: str | Path, records: Sequence[dict]) -> None:
    """The loss against epochs, and the error of reconstructions if the records have it."""
    validation = {"marker": ".", "lw": 1.5}
    losses = [
        ("train/loss", "training", {"lw": 1}),
        ("valid/loss", "validation", validation),
    ]
    errors = [
        ("valid/mse", "validation MSE", validation),
        ("valid/mae", "validation MAE", validation),
    ]
    reconstructs = any("valid/mse" in record for record in records)
    figure, all_axes = _figure(1 + reconstructs)
    _lines(all_axes[0], losses, records)
    all_axes[0].set(title="Loss", xlabel="epoch", ylabel="loss, nats per image")
    if all_axes[0].lines:
        # A negative log-likelihood may be negative, so a logarithmic axis is no option. The axis
        # leaves out the first steps instead, beside which all others would look the same.
        values = np.concatenate([line.get_ydata() for line in all_axes[0].lines])
        low, high = values.min(), np.percentile(values, 95)
        margin = 0.05 * (high - low) or 1.0
        all_axes[0].set_ylim(low - margin, high + margin)
    if reconstructs:
        _lines(all_axes[1], errors, records)
        all_axes[1].set(
            title="Reconstruction error", xlabel="epoch", ylabel="error, intensities in [0, 1]"
        )
        all_axes[1].set_yscale("log")
    _finish(path, figure, all_axes)


def curve(records: Sequence[dict], key: str) -> list[tuple[float, float]]:
    """(epoch, value) of a metric, from the records that have it.

    Training records are means over the steps since the record before. Those over fewer than half
    of the usual number of steps, as at the end of an epoch, are left out because they are noisy.
    """
    having = [record for record in records if key in record]
    if key.startswith("train/") and having:
        steps = np.diff([record["step"] for record in having], prepend=0)
        enough = 2 * steps >= np.median(steps)
        having = [record for record, kept in zip(having, enough, strict=True) if kept]
    return [(record["epoch"], record[key]) for record in having]


def _lines(axes, series: list[tuple[str, str, dict]], records: Sequence[dict]) -> None:
    """Draws a line for each (key, label, style) whose metric the records have."""
    for key, label, style in series:
        if points := curve(records, key):
            axes.plot(*zip(*points, strict=True), label=label, **style)
    if axes.lines:
        axes.legend(frameon=False)


def _figure(panels: int):
    """A matplotlib figure and its axes, side by side."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # slow to import
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5 * panels, 4), layout="constrained")
    FigureCanvasAgg(figure)
    return figure, figure.subplots(1, panels, squeeze=False)[0]


def _finish(path: str | Path, figure, all_axes) -> None:
    for axes in all_axes:
        axes.grid(which="both", alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
    replace_file(path, lambda temporary: figure.savefig(temporary, format="png", dpi=110))

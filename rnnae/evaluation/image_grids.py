"""Pictures of a run: uint8 images (N, H, W, C) in, PNG and GIF files out, equal for equal input."""

import os
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

_GUTTER = 4  # pixels between pictures
_SIDE = 84  # pixels that the longer side of a picture is enlarged to, by a whole factor


def grid(path: str | Path, images_NHWC: np.ndarray, rows: int, columns: int) -> None:
    """`rows` x `columns` images, the first in the upper left corner."""
    _save(path, _tile(images_NHWC[: rows * columns], columns))


def generated(path: str | Path, images_NHWC: np.ndarray) -> None:
    """The 2 x 5 grid of new images."""
    grid(path, images_NHWC, 2, 5)


def reconstructions(
    path: str | Path, originals_NHWC: np.ndarray, reconstructions_NHWC: np.ndarray
) -> None:
    """Originals over reconstructions over absolute error, 0 black to 255 white."""
    error = np.abs(originals_NHWC.astype(int) - reconstructions_NHWC).astype(np.uint8)
    rows = [_tile(images, len(images)) for images in (originals_NHWC, reconstructions_NHWC, error)]
    _save(path, _labelled(rows, ["original", "reconstruction", "absolute error"]))


def completions(
    path: str | Path, originals_NHWC: np.ndarray, rows: int, drawn_SNHWC: np.ndarray
) -> None:
    """Originals, what was given of them (the first `rows` rows of pixels, over grey), and S
    completions of each."""
    given_NHWC = originals_NHWC.copy()
    given_NHWC[:, rows:] = 128
    count = len(originals_NHWC)
    labels = ["original", "given", "completed"]
    images = [originals_NHWC, given_NHWC, drawn_SNHWC.reshape(-1, *originals_NHWC.shape[1:])]
    _save(path, _labelled([_tile(part, count) for part in images], labels))


def strips(path: str | Path, strips_SNHWC: np.ndarray) -> None:
    """One strip of N images below the other."""
    count = strips_SNHWC.shape[1]
    _save(path, _tile(strips_SNHWC.reshape(-1, *strips_SNHWC.shape[2:]), count))


def canvas(path: str | Path, frames_TNHWC: np.ndarray, windows_TN3: np.ndarray) -> None:
    """An animated GIF, two rows of images as they are painted, and where each glimpse wrote: a red
    box from the outermost filter to the outermost, of (centre y, centre x, side) in pixels that
    count from 1. The last frame stays for a while, without boxes."""
    count = frames_TNHWC.shape[1]
    columns = -(-count // 2)
    pictures = []
    for images_NHWC, windows_N3 in zip(frames_TNHWC, windows_TN3, strict=True):
        picture = Image.fromarray(_tile(images_NHWC, columns))
        factor = max(1, _SIDE // max(images_NHWC.shape[1:3]))
        height, width = (side * factor for side in images_NHWC.shape[1:3])
        for index, (y, x, side) in enumerate(windows_N3):
            row, column = divmod(index, columns)
            top, left = row * (height + _GUTTER) + _GUTTER, column * (width + _GUTTER) + _GUTTER
            cell = Image.new("RGBA", (width, height))
            centre, reach = np.array([x, y]) - 0.5, side / 2 + 0.5
            corners = (*(factor * (centre - reach)), *(factor * (centre + reach)))
            ImageDraw.Draw(cell).rectangle(corners, outline=(230, 30, 30, 255), width=2)
            picture.paste(cell, (left, top), cell)
        pictures.append(picture)
    pictures.append(Image.fromarray(_tile(frames_TNHWC[-1], columns)))
    durations = [100] * (len(pictures) - 1) + [1500]
    _atomically(
        path,
        lambda temporary: pictures[0].save(
            temporary,
            format="GIF",
            save_all=True,
            append_images=pictures[1:],
            duration=durations,
            loop=0,
        ),
    )


def error_by_step(path: str | Path, error_T: np.ndarray) -> None:
    """Mean squared error of reconstructions against the number of glimpses."""
    figure, (axes,) = _figure(1)
    axes.plot(np.arange(1, len(error_T) + 1), error_T, marker=".", lw=1.5)
    axes.set(
        title="Reconstruction while it is painted",
        xlabel="glimpse",
        ylabel="MSE, intensities in [0, 1]",
        ylim=(0, None),
    )
    _finish(path, figure, [axes])


def curves(path: str | Path, records: list[dict]) -> None:
    """Loss, and error of the reconstructions where there are any, against epochs, from the records
    of a run."""
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
        # The loss is a likelihood with its constant, so a logarithm means nothing: cut off the
        # first steps instead, which would leave all the others on one line.
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


def curve(records: list[dict], key: str) -> list[tuple[float, float]]:
    """(epoch, value) of a metric, where records of a run have it.

    Those of training are means over the steps since the one before. Left out are means over less
    than half of the usual number, as an epoch's end leaves them: they jump.
    """
    having = [record for record in records if key in record]
    if key.startswith("train/") and having:
        steps = np.diff([record["step"] for record in having], prepend=0)
        enough = 2 * steps >= np.median(steps)
        having = [record for record, kept in zip(having, enough, strict=True) if kept]
    return [(record["epoch"], record[key]) for record in having]


def _lines(axes, series: list[tuple[str, str, dict]], records: list[dict]) -> None:
    """A line for each (key, label, style) that records have."""
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
    _atomically(path, lambda temporary: figure.savefig(temporary, format="png", dpi=110))


def _tile(images_NHWC: np.ndarray, columns: int) -> np.ndarray:
    """One uint8 (height, width, 3) picture of all images, enlarged, on white."""
    if images_NHWC.shape[-1] == 1:
        images_NHWC = images_NHWC.repeat(3, axis=-1)
    factor = max(1, _SIDE // max(images_NHWC.shape[1:3]))
    images = images_NHWC.repeat(factor, axis=1).repeat(factor, axis=2)
    count, height, width, _ = images.shape
    rows = -(-count // columns)
    step_y, step_x = height + _GUTTER, width + _GUTTER
    canvas = np.full((rows * step_y + _GUTTER, columns * step_x + _GUTTER, 3), 255, np.uint8)
    for index, image in enumerate(images):
        row, column = divmod(index, columns)
        y, x = row * step_y + _GUTTER, column * step_x + _GUTTER
        canvas[y : y + height, x : x + width] = image
    return canvas


def _labelled(rows: list[np.ndarray], labels: list[str]) -> np.ndarray:
    """The rows below each other, each under a line of text."""
    band = 18
    parts = []
    for row, label in zip(rows, labels, strict=True):
        header = Image.new("RGB", (row.shape[1], band), "white")
        ImageDraw.Draw(header).text((_GUTTER, 3), label, "black", ImageFont.load_default(12))
        parts += [np.asarray(header), row]
    return np.concatenate(parts)


def _save(path: str | Path, picture: np.ndarray) -> None:
    _atomically(path, lambda temporary: Image.fromarray(picture).save(temporary, format="PNG"))


def _atomically(path: str | Path, write) -> None:
    """A viewer never sees half a file."""
    temporary = Path(path).with_suffix(".tmp")
    write(temporary)
    os.replace(temporary, path)

"""Grids of images as PNG and GIF files. The same uint8 images (N, H, W, C) give the same bytes."""

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from PIL.PngImagePlugin import PngInfo

from rnnae.files import replace_file

_GUTTER = 4  # pixels between images
_SIDE = 84  # pixels of an image's longer side, which is enlarged by a whole factor to at most that


def grid(
    path: str | Path,
    images_NHWC: np.ndarray,
    columns: int,
    about: dict[str, object] | None = None,
) -> None:
    """Images in rows of `columns`, the first in the upper left corner. `about` becomes text chunks
    of the PNG file."""
    _save(path, _tile(images_NHWC, columns), about)


def generated(path: str | Path, images_NHWC: np.ndarray) -> None:
    """New images in rows of five."""
    grid(path, images_NHWC, 5)


def reconstructions(
    path: str | Path, originals_NHWC: np.ndarray, reconstructions_NHWC: np.ndarray
) -> None:
    """Three rows: originals, reconstructions, and their absolute difference (0 is black)."""
    error = np.abs(originals_NHWC.astype(int) - reconstructions_NHWC).astype(np.uint8)
    rows = [_tile(images, len(images)) for images in (originals_NHWC, reconstructions_NHWC, error)]
    _save(path, _labelled(rows, ["original", "reconstruction", "absolute error"]))


def completions(
    path: str | Path, originals_NHWC: np.ndarray, mask_HW: np.ndarray, drawn_SNHWC: np.ndarray
) -> None:
    """Originals, their given part (where the mask is true; the rest is grey), and S completions of
    each."""
    given_NHWC = np.where(mask_HW[..., None], originals_NHWC, np.uint8(128))
    count = len(originals_NHWC)
    labels = ["original", "given", "completed"]
    images = [originals_NHWC, given_NHWC, drawn_SNHWC.reshape(-1, *originals_NHWC.shape[1:])]
    _save(path, _labelled([_tile(part, count) for part in images], labels))


def neighbours(
    path: str | Path,
    images_NHWC: np.ndarray,
    rows: list[tuple[str, np.ndarray, np.ndarray]],
) -> None:
    """Images, and below them for each row its label, an image (N, H, W, C) for each of them, and a
    whole number (N,) under each."""
    parts, labels = [_tile(images_NHWC, len(images_NHWC))], ["new"]
    for label, row_NHWC, number_N in rows:
        tiles = _tile(row_NHWC, len(row_NHWC))
        parts.append(np.concatenate([tiles, _numbers(number_N, tiles.shape[1])]))
        labels.append(label)
    _save(path, _labelled(parts, labels))


def orders(path: str | Path, images_NHWC: np.ndarray, nats_NORQ: np.ndarray) -> None:
    """Images, and below them for each of O orders the nats of each block of their pixels. All maps
    have one scale, from 0 nats, which is black."""
    most = max(float(np.quantile(nats_NORQ, 0.999)), 1e-6)
    rows, labels = [_tile(images_NHWC, len(images_NHWC))], ["image"]
    for order, nats_NRQ in enumerate(nats_NORQ.swapaxes(0, 1)):
        grey = np.clip(255 * nats_NRQ / most, 0, 255).astype(np.uint8)
        block = images_NHWC.shape[1] // grey.shape[1]  # as large as the images
        grey = grey.repeat(block, axis=1).repeat(block, axis=2)
        rows.append(_tile(grey[..., None], len(grey)))
        mean = nats_NRQ.sum(axis=(1, 2)).mean()
        labels.append(f"order {order}: {mean:.1f} nats an image; white is {most:.1f} nats or more")
    _save(path, _labelled(rows, labels))


def strips(path: str | Path, strips_SNHWC: np.ndarray) -> None:
    """S strips of N images, one below the other."""
    count = strips_SNHWC.shape[1]
    _save(path, _tile(strips_SNHWC.reshape(-1, *strips_SNHWC.shape[2:]), count))


def classes(path: str | Path, strips_SNHWC: np.ndarray, names: Sequence[str]) -> None:
    """A strip of N images for each of S classes, to the right of its name."""
    rows = [_tile(strip_NHWC, len(strip_NHWC)) for strip_NHWC in strips_SNHWC]
    font = ImageFont.load_default(16)
    margin = math.ceil(max(font.getlength(name) for name in names)) + 3 * _GUTTER
    parts = []
    for row, name in zip(rows, names, strict=True):
        header = Image.new("RGB", (margin, len(row)), "white")
        position = (margin - 2 * _GUTTER, len(row) // 2)
        ImageDraw.Draw(header).text(position, name, "black", font, anchor="rm")
        parts.append(np.concatenate([np.asarray(header), row], axis=1))
    _save(path, np.concatenate(parts))


def canvas(path: str | Path, frames_TNHWC: np.ndarray, windows_TN3: np.ndarray) -> None:
    """An animated GIF of images that are painted in T glimpses, in two rows.

    A red box shows where each glimpse wrote. It spans the outermost filters of the writing window,
    given as (centre y, centre x, side) in pixels that count from 1. The last frame has no boxes and
    stays longer.
    """
    count = frames_TNHWC.shape[1]
    columns = -(-count // 2)
    pages = []
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
        pages.append(picture)
    pages.append(Image.fromarray(_tile(frames_TNHWC[-1], columns)))
    durations = [100] * (len(pages) - 1) + [1500]
    replace_file(
        path,
        lambda temporary: pages[0].save(
            temporary,
            format="GIF",
            save_all=True,
            append_images=pages[1:],
            duration=durations,
            loop=0,
        ),
    )


def _tile(images_NHWC: np.ndarray, columns: int) -> np.ndarray:
    """One uint8 (height, width, 3) picture of all images, enlarged, on a white ground."""
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
    """The rows one below the other, each under its label."""
    band = 18
    parts = []
    for row, label in zip(rows, labels, strict=True):
        header = Image.new("RGB", (row.shape[1], band), "white")
        ImageDraw.Draw(header).text((_GUTTER, 3), label, "black", ImageFont.load_default(12))
        parts += [np.asarray(header), row]
    return np.concatenate(parts)


def _numbers(number_N: np.ndarray, width: int) -> np.ndarray:
    """Whole numbers on a white band, each in the middle of an equal share of its width."""
    band = Image.new("RGB", (width, 16), "white")
    for index, number in enumerate(number_N):
        middle = (index + 0.5) * width / len(number_N), 8
        font = ImageFont.load_default(12)
        ImageDraw.Draw(band).text(middle, f"{number:.0f}", "black", font, anchor="mm")
    return np.asarray(band)


def _save(path: str | Path, picture: np.ndarray, about: dict[str, object] | None = None) -> None:
    text = PngInfo()
    for key, value in (about or {}).items():
        text.add_itxt(key, str(value))
    replace_file(path, lambda file: Image.fromarray(picture).save(file, format="PNG", pnginfo=text))

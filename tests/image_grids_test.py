"""Images are at the right positions of a grid; equal inputs give equal bytes."""

import numpy as np
import pytest
from PIL import Image

from rnnae.evaluation import image_grids

SHAPES = [(28, 28, 1), (32, 32, 3), (8, 20, 3), (100, 60, 1)]


def images(count, shape, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (count, *shape)).astype(np.uint8)


@pytest.mark.parametrize("shape", SHAPES)
def test_grid_puts_image_k_in_row_and_column(tmp_path, shape):
    image_grids.grid(tmp_path / "grid.png", images(6, shape), 3)
    picture = np.asarray(Image.open(tmp_path / "grid.png"))
    factor = max(1, 84 // max(shape[:2]))
    for index, image in enumerate(images(6, shape)):
        y = 4 + index // 3 * (shape[0] * factor + 4)
        x = 4 + index % 3 * (shape[1] * factor + 4)
        cell = picture[y : y + shape[0] * factor : factor, x : x + shape[1] * factor : factor]
        assert np.array_equal(cell, np.broadcast_to(image, (*shape[:2], 3)))


def test_error_row_is_the_absolute_difference(tmp_path):
    a, b = images(3, (28, 28, 1)), images(3, (28, 28, 1), seed=1)
    image_grids.reconstructions(tmp_path / "r.png", a, b)
    picture = np.asarray(Image.open(tmp_path / "r.png"))
    error = picture[picture.shape[0] // 3 * 2 + 18 + 4 :: 3][:28, 4 : 4 + 84 : 3, 0]
    assert np.array_equal(error, np.abs(a[0, :, :, 0].astype(int) - b[0, :, :, 0]))


def test_completions_show_what_was_given(tmp_path):
    a, drawn = images(3, (28, 28, 1)), images(6, (28, 28, 1), seed=1).reshape(2, 3, 28, 28, 1)
    mask = np.zeros((28, 28), bool)
    mask[:14] = True
    image_grids.completions(tmp_path / "c.png", a, mask, drawn)
    picture = np.asarray(Image.open(tmp_path / "c.png"))
    row = 18 + 4 + 84 + 4  # a line of text, a gutter, the images, a gutter
    given = picture[row + 18 + 4 :: 3][:28, 4 : 4 + 84 : 3, 0]
    assert np.array_equal(given[:14], a[0, :14, :, 0]) and (given[14:] == 128).all()
    last = picture[-88::3][:28, 4 : 4 + 84 : 3, 0]
    assert np.array_equal(last, drawn[1, 0, :, :, 0])


def test_equal_inputs_give_equal_bytes(tmp_path):
    for name in ("a", "b"):
        folder = tmp_path / name
        folder.mkdir()
        image_grids.generated(folder / "generated.png", images(10, (28, 28, 1)))
        image_grids.strips(folder / "i.png", images(10, (8, 8, 3)).reshape(2, 5, 8, 8, 3))
    for path in (tmp_path / "a").iterdir():
        assert path.read_bytes() == (tmp_path / "b" / path.name).read_bytes()


def test_canvas_animates_every_glimpse_and_ends_without_boxes(tmp_path):
    frames = np.zeros((3, 4, 28, 28, 1), np.uint8)
    windows = np.full((3, 4, 3), (10.0, 20.0, 6.0))
    image_grids.canvas(tmp_path / "canvas.gif", frames, windows)
    with Image.open(tmp_path / "canvas.gif") as animation:
        shown = []
        for index in range(animation.n_frames):
            animation.seek(index)
            shown.append((np.asarray(animation.convert("RGB")), animation.info["duration"]))
    # Equal frames are merged by the format: the glimpses are one, and the last is another.
    assert sum(duration for _, duration in shown) == 3 * 100 + 1500
    first, last = shown[0][0], shown[-1][0]
    red = (first[..., 0] > 200) & (first[..., 1] < 60)
    rows, columns = np.nonzero(red[: 84 + 8, : 84 + 8])
    # Pixels 7 to 13 and 17 to 23, counted from 1, three times enlarged, behind a gutter of 4.
    assert (rows.min(), rows.max()) == (4 + 18, 4 + 39)
    assert (columns.min(), columns.max()) == (4 + 48, 4 + 69)
    assert not ((last[..., 0] > 200) & (last[..., 1] < 60)).any()

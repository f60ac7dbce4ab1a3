"""Plots of a run exist for any records; equal records give equal bytes."""

import numpy as np
import pytest
from PIL import Image

from rnnae.evaluation import curves


def test_equal_records_give_equal_bytes(tmp_path):
    records = [
        {"step": 1, "epoch": 0.5, "train/loss": 2.0},
        {"step": 2, "epoch": 1.0, "valid/loss": 1.5, "valid/mse": 0.1, "valid/mae": 0.2},
    ]
    for name in ("a.png", "b.png"):
        curves.loss_curves(tmp_path / name, records)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


@pytest.mark.parametrize("records", [[], [{"step": 1, "epoch": 1.0, "train/loss": -3.0}]])
def test_curves_are_drawn_without_records_and_for_a_negative_loss(tmp_path, records):
    curves.loss_curves(tmp_path / "curves.png", records)
    with Image.open(tmp_path / "curves.png") as picture:
        assert picture.size[0] > 500


def test_a_curve_leaves_out_means_over_few_steps():
    losses = {10: 5.0, 20: 4.0, 30: 3.0, 31: 1.0, 41: 2.0}
    records = [{"step": n, "epoch": n / 31, "train/loss": loss} for n, loss in losses.items()]
    records.append({"step": 41, "epoch": 41 / 31, "valid/loss": 2.5})
    assert curves.curve(records, "train/loss") == [(n / 31, losses[n]) for n in (10, 20, 30, 41)]
    assert curves.curve(records, "valid/loss") == [(41 / 31, 2.5)]
    assert curves.curve(records[:1], "train/loss") == [(10 / 31, 5.0)]
    assert curves.curve([], "train/loss") == []


def test_the_error_by_step_is_drawn(tmp_path):
    curves.error_by_step(tmp_path / "error.png", np.array([0.1, 0.05, 0.01]))
    with Image.open(tmp_path / "error.png") as picture:
        assert picture.size[0] > 300

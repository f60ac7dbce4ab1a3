"""Differences between rows are paired by image and seed, and survive without the runs."""

import shutil

import numpy as np
import pytest

from experiments import paired, report, run
from rnnae.evaluation import columns
from tests import fake_tables
from tests.fake_tables import execute

COUNT = 400


def scores(seed, mean):
    """Values that differ between images by far more than between rows, with that mean."""
    hard_N = 10 * np.random.default_rng(99).normal(size=COUNT)
    own_N = 0.4 * np.random.default_rng(seed).normal(size=COUNT)
    values_N = hard_N + own_N
    return values_N - values_N.mean() + mean


def write_scores(directory, values_N, name="nll_dynamic"):
    """Scores as an evaluation with two seeds writes them, also of another split."""
    by_seed = {0: {name: values_N - 1}, 1: {name: values_N + 1}}
    labels = np.full(COUNT, -1, np.int32)
    other = columns.of_scores("valid", labels, {0: {name: 0 * values_N}})
    columns.write(directory, columns.join([other, columns.of_scores("test", labels, by_seed)]))


def test_the_error_of_a_difference_is_that_of_the_pairs():
    one, two = scores(1, 88.0), scores(2, 86.5)
    found = paired.difference({0: 86.5}, {0: two}, {0: 88.0}, {0: one})
    assert found.mean == -1.5 and found.is_significant
    assert found.error == pytest.approx((two - one).std(ddof=1) / np.sqrt(COUNT))
    assert found.error < 0.04 < one.std() / np.sqrt(COUNT) / 10
    values, other = {0: 86.5, 1: 87.5, 2: 90.0}, {0: 88.0, 1: 88.0, 3: 0.0}
    several = paired.difference(values, {0: two, 1: two + 1}, other, {0: one, 1: one})
    assert several.mean == pytest.approx(-1.0)  # of the seeds that both have
    seeds = np.std([-1.5, -0.5], ddof=1) ** 2 / 2
    assert several.error == pytest.approx(np.sqrt(seeds + found.error**2), rel=1e-3)
    assert not several.is_significant


def test_other_images_or_no_common_seed_have_no_difference():
    assert paired.difference({0: 1.0}, {0: np.ones(3)}, {0: 1.0}, {0: np.ones(4)}) is None
    assert paired.difference({0: 1.0}, {0: np.ones(3)}, {1: 1.0}, {1: np.ones(3)}) is None


@pytest.mark.parametrize("name, unit", [("nll_8bit", 1), ("bits_per_dim_8bit", 0.01)])
def test_scores_are_means_over_evaluation_seeds_in_the_unit_of_the_metric(name, unit, tmp_path):
    values_N = scores(0, 300.0)
    write_scores(tmp_path / "scores.parquet", values_N, "nll_8bit")
    metrics = {f"test/{name}": 300.0 * unit}
    found = paired.read(tmp_path, metrics, ("test/other", f"test/{name}"))
    np.testing.assert_allclose(found, values_N * unit, rtol=2e-3)
    assert paired.read(tmp_path, metrics, ("test/mse",)) is None
    assert paired.read(tmp_path / "none", metrics, (f"test/{name}",)) is None


def test_a_table_shows_differences_and_keeps_them_without_its_runs(tmp_path, monkeypatch, capsys):
    rows = {"a": {"model.width": 2}, "b": {"model.width": 4}, "no scores": {"model.width": 3}}
    argv = fake_tables.install(monkeypatch, tmp_path, ROWS=rows, SEEDS=(0, 1))
    assert run.main(argv) == 0
    root, out = tmp_path / "root" / "widths-full", tmp_path / "out"
    for row, mean in (("a", 88.0), ("b", 86.0)):
        for seed in (0, 1):
            values_N = scores(seed + 2 * (row == "b"), mean + 0.01 * seed)
            write_scores(root / row / f"seed{seed}" / "scores.parquet", values_N)
    assert report.main([*argv, "--out", str(out)]) == 0
    text = (out / "widths-full.md").read_text()
    assert "| NLL - a | beyond 2 s.e. |" in text and "paired by test image and seed" in text
    (line,) = (line for line in text.splitlines() if line.startswith("| b |"))
    assert line.endswith("| -2.00 ± 0.02 | yes |"), line
    (line,) = (line for line in text.splitlines() if line.startswith("| no scores |"))
    assert line.endswith("|  |  |")
    made = {path.name: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    (root / "a" / "seed0" / "scores.parquet").write_bytes(b"no parquet")
    assert execute(report, [*argv, "--out", str(out)]) == 2
    assert "scores.parquet is damaged" in capsys.readouterr().err
    shutil.rmtree(root)
    assert report.main([*argv, "--out", str(out)]) == 0
    again = {path.name: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    assert again == made and "widths-full.npz" in made
    (out / "records" / "widths-full.npz").write_bytes(b"no zip")
    assert execute(report, [*argv, "--out", str(out)]) == 2
    assert "widths-full.npz is damaged" in capsys.readouterr().err

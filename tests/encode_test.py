"""Latents and scores in files, a run that starts from another, and what a config would train."""

import json
import shutil

import numpy as np
import pytest
from pyarrow import parquet

import rnnae
from rnnae import build
from rnnae.data.binarisation import binarise_once
from rnnae.errors import CheckpointError, ConfigError
from rnnae.evaluation import columns, encode, modes
from rnnae.records.writer import read_metrics
from rnnae.training.describe import describe
from rnnae.training.train import train
from tests import runs

pytestmark = pytest.mark.slow


def config(directory, **changes):
    return runs.config(
        directory,
        latent__name="gaussian",
        likelihood__name="bernoulli",
        data__binarise="dynamic",
        eval__seeds=(0, 1),
        eval__importance_samples=2,
        eval__mutual_information_images=5,
        **changes,
    )


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    directory = tmp_path_factory.mktemp("encode")
    train(config(directory), directory / "run")
    shutil.copy(directory / "run" / "scores.parquet", directory / "trained.parquet")
    return directory


@pytest.mark.parametrize("ending", ["npz", "parquet"])
def test_latents_of_all_images_in_a_file(directory, ending):
    path = encode.encode(config(directory), directory / "run", directory / f"codes.{ending}")
    if ending == "npz":
        with np.load(path) as file:
            found = dict(file)
    else:
        table = parquet.read_table(path)
        found = {name: np.array(table[name].to_pylist()) for name in table.column_names}
    assert list(found) == ["split", "index", "label", "code"]
    splits = build.load_splits(config(directory))
    test = found["split"] == "test"
    assert test.sum() == len(splits.test) and len(test) == runs.IMAGES
    assert found["index"][test].tolist() == list(range(6)) and set(found["label"]) == {-1}
    run = rnnae.load(directory / "run")
    expected = run.encode(binarise_once(splits.test, 0))
    np.testing.assert_allclose(found["code"][test], expected, rtol=1e-5, atol=1e-6)


def test_a_model_without_a_latent_and_a_wrong_ending_are_refused(directory, tmp_path):
    with pytest.raises(ConfigError, match="must end in .parquet or .npz"):
        encode.encode(config(directory), directory / "run", tmp_path / "codes.csv")
    with pytest.raises(ConfigError, match="has no latent"):
        encode.encode(rnnae.load("rows64").config, tmp_path / "out", weights="rows64")
    assert not list(tmp_path.iterdir())
    with pytest.raises(ConfigError, match="holds a run, and the results of --weights=rows64"):
        encode.encode(config(directory), directory / "run", weights="rows64")
    with pytest.raises(ConfigError, match="a classifier makes no images"):
        rnnae.load("rows64").log_prob(np.zeros((1, 28, 28, 1), np.uint8))
    with pytest.raises(ConfigError, match="the checkpoint must be one of"):
        rnnae.load("rows64", "bets")
    with pytest.raises(CheckpointError, match="no config.json.*; did you mean rows64?"):
        rnnae.load("rws64")


def test_tables_of_different_columns_one_below_the_other():
    joined = columns.join([{"a": np.arange(2), "b": np.ones(2)}, {"a": np.arange(1)}])
    assert joined["a"].tolist() == [0, 1, 0]
    np.testing.assert_array_equal(joined["b"], [1, 1, np.nan])


def test_the_scores_of_single_images_have_the_reported_means(directory):
    result = modes.evaluate(config(directory), directory / "run")
    table = parquet.read_table(directory / "run" / "scores.parquet").to_pydict()
    split, seed = np.array(table["split"]), np.array(table["seed"])
    assert ((split == "test") & (seed == 1)).sum() == 6 and set(seed) == {0, 1}
    for name in ("nll_dynamic_is2", "bound_dynamic", "kl", "mse", "ssim"):
        values = np.array(table[name])
        mean = values[split == "test"].mean()
        assert mean == pytest.approx(result[f"test/{name}"], rel=1e-6)
    by_seed = np.array(table["nll_dynamic_is2"])[(split == "test") & (seed == 1)].mean()
    assert by_seed == pytest.approx(result["test/nll_dynamic_is2_seed1"], rel=1e-6)
    run, images = rnnae.load(directory / "run"), build.load_splits(config(directory)).test
    log_prob_N = run.log_prob(binarise_once(images, 1), samples=2, seed=1)
    at = (split == "test") & (seed == 1)
    np.testing.assert_allclose(log_prob_N, -np.array(table["nll_dynamic_is2"])[at], rtol=1e-5)
    bound_N = run.log_prob(binarise_once(images, 1), samples=0, seed=1)
    np.testing.assert_allclose(bound_N, -np.array(table["bound_dynamic"])[at], rtol=1e-5)
    assert run.log_prob(np.zeros((0, 8, 8, 1), np.uint8)).shape == (0,)
    modes.evaluate(config(directory), directory / "run", directory / "own.json")
    own = (directory / "own.parquet").read_bytes()
    assert own == (directory / "run" / "scores.parquet").read_bytes()
    trained = parquet.read_table(
        directory / "trained.parquet"
    ).to_pydict()  # at the end of training
    evaluated = {name: np.array(x)[split == "test"].tolist() for name, x in table.items()}
    assert trained.pop("split") == evaluated.pop("split") and trained.keys() == evaluated.keys()
    for name, values in trained.items():
        np.testing.assert_allclose(values, evaluated[name], rtol=1e-6)


def test_a_run_starts_from_the_weights_of_another(directory, tmp_path, capsys):
    changes = {"train__init_from": str(directory / "run"), "train__epochs": 1}
    train(config(directory, **changes), tmp_path / "same")
    out = capsys.readouterr().out
    assert "arrays taken" in out and "not taken" not in out
    first, fresh = (
        read_metrics(path)[0]["train/loss"] for path in (tmp_path / "same", directory / "run")
    )
    last = read_metrics(directory / "run")[-2]["valid/loss"]
    assert abs(first - last) < abs(first - fresh)
    start = json.loads((tmp_path / "same" / "environment.jsonl").read_text().splitlines()[0])
    taken = start["init_from"]
    assert taken["arrays_taken"] == taken["arrays"] and taken["step"] == 18
    saved = json.loads((tmp_path / "same" / "config.json").read_text())
    assert saved["train"]["init_from"] == str(directory / "run")
    train(config(directory, model__layers=2, **changes), tmp_path / "deeper")
    assert "; new here: " in capsys.readouterr().out
    with pytest.raises(ConfigError, match="has no array with the name and the shape"):
        train(
            runs.config(
                directory,
                "sweep",
                latent__name="none",
                likelihood__name="categorical",
                data__binarise="dynamic",
                train__init_from=str(directory / "run"),
            ),
            tmp_path / "other",
        )


def test_what_a_config_would_train(directory, capsys, tmp_path):
    describe(config(directory))
    out = capsys.readouterr().out
    parameters = json.loads((directory / "run" / "environment.jsonl").read_text().splitlines()[0])
    assert f"{parameters['parameters']:,} parameters" in out
    assert "48, 6, 6 images of 8x8x1 (train, valid, test), dynamic" in out
    assert "18 steps of 8 images, 3 epochs" in out and "MB beside" in out
    assert "* config.model.width = 6\n" in out and "  config.model.layers = 1\n" in out
    absent = config(directory, data__name="cifar10", data__source_dir=str(tmp_path))
    describe(absent)
    assert "data        not there: " in capsys.readouterr().out

"""The modes evaluate and sample: they agree with training and refuse other runs."""

import json
import shutil

import numpy as np
import pytest

from rnnae.config import saved_config
from rnnae.data import splits
from rnnae.errors import ConfigError
from rnnae.evaluation import loading, modes, sample_report
from rnnae.records.writer import read_metrics
from rnnae.training.train import train
from tests import runs


def saved(directory):
    """The config that the run in `directory` saved, with the paths of its data."""
    config = saved_config.get_config(str(directory / "run" / "config.json"))
    config.data.data_dir, config.data.source_dir = (str(directory / d) for d in ("data", "images"))
    return config


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    directory = tmp_path_factory.mktemp("trained")
    train(runs.config(directory), directory / "run")
    return directory


def test_modes_agree_with_training(trained, capsys):
    workdir = trained / "run"
    config = saved(trained)
    result = modes.evaluate(config, workdir)
    assert result["test/mse"] == pytest.approx(read_metrics(workdir)[-1]["test/mse"], rel=1e-6)
    modes.sample(config, workdir)
    names = {p.name for p in (workdir / "samples").iterdir()}
    assert {"samples.png", "samples.npy", "samples.npy.json", "generated.png"} <= names
    assert "figures in" in capsys.readouterr().out


@pytest.mark.parametrize("main", [modes.evaluate, modes.sample])
def test_modes_refuse_a_config_of_another_run(trained, main):
    workdir = trained / "run"
    config = saved(trained)
    config.data.binarise = "dynamic"
    with pytest.raises(ConfigError, match="config.data.binarise: none there, dynamic here"):
        main(config, workdir)


def test_the_picture_of_neighbours_is_written_after_the_numbers_and_beside_them(
    trained, tmp_path, monkeypatch, capsys
):
    workdir, config = shutil.copytree(trained / "run", tmp_path / "run"), saved(trained)
    config.eval.samples = 10
    new_NHWC = np.zeros((2, 8, 8, 1), np.uint8)
    picture = sample_report.Picture(new_NHWC, [("nearest", new_NHWC, np.zeros(2))])
    monkeypatch.setattr(sample_report, "measure", lambda *_: ({"kid": 0.5}, picture))
    of_run = workdir / "pictures" / "neighbours.png"
    modes.evaluate(config, workdir, tmp_path / "own.json")
    assert (tmp_path / "own_neighbours.png").stat().st_size and not of_run.exists()
    of_run.mkdir()  # nothing can be written there, even by root
    (of_run / "x").touch()
    modes.evaluate(config, workdir)
    assert json.loads((workdir / "evaluation.json").read_text())["test/kid"] == 0.5
    assert "nearest training images were not saved in" in capsys.readouterr().out
    (tmp_path / "own_neighbours.png").unlink()
    (tmp_path / "own_neighbours.png").mkdir()
    with pytest.raises(ConfigError, match="own_neighbours.png is a directory"):
        modes.evaluate(config, workdir, tmp_path / "own.json")


def test_too_few_test_images_to_compare_with_are_refused(trained, monkeypatch):
    config = saved(trained)
    config.eval.samples = 10
    monkeypatch.setattr(sample_report, "_features", lambda *_: object())
    monkeypatch.setattr(sample_report, "LEAST_IMAGES", 7)
    with pytest.raises(ConfigError, match="only 6 test images to compare .* at least 7 are needed"):
        modes.evaluate(config, trained / "run")


def test_new_images_in_a_file_are_refused_by_a_config_of_another_run(trained, tmp_path):
    """The data set is not loaded, which would otherwise tell."""
    config, out = saved(trained), tmp_path / "x.npy"
    config.data.source_dir = config.data.data_dir = "/nowhere"
    config.seed += 1
    with pytest.raises(ConfigError, match="config.seed: 0 there, 1 here"):
        modes.sample(config, trained / "run", out=out)
    config.seed -= 1
    config.data.shape = (8, 8, 3)
    with pytest.raises(ConfigError, match=r"config.data.shape: \[8, 8, 1\] there"):
        modes.sample(config, trained / "run", out=out)
    config.data.shape = (8, 8, 1)
    modes.sample(config, trained / "run", modes.SampleRequest(count=2), out)
    assert json.loads(out.with_name("x.npy.json").read_text())["seed"] == 0


def test_an_interrupted_evaluation_keeps_the_previous_file(trained, monkeypatch):
    workdir = trained / "run"
    config = saved(trained)
    modes.evaluate(config, workdir)
    before = (workdir / "evaluation.json").read_text()
    assert json.loads(before).keys() >= {"environment", "eval", "test/mse"}
    formatted = []

    def format_once(means):
        if formatted:  # this is the second split
            raise KeyboardInterrupt
        formatted.append(means)
        return ""

    monkeypatch.setattr(modes, "format_metrics", format_once)
    with pytest.raises(KeyboardInterrupt):
        modes.evaluate(config, workdir)
    assert (
        formatted and (workdir / "evaluation.json").read_text() == before and '"test/mse"' in before
    )


@pytest.mark.slow
def test_images_that_were_trained_on_are_not_validated_on(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(splits, "_MOST_TRAINING_IMAGES", 5)
    config = runs.config(tmp_path, data__train_on_all=True, train__epochs=1)
    train(config, tmp_path / "run")
    config = saved(tmp_path)
    config.eval.splits = ("train", "valid", "test")
    result = modes.evaluate(config, tmp_path / "run")
    assert result["step"] == loading.load(tmp_path / "run").step > 0
    assert "test/mse" in result and not any(name.startswith("valid/") for name in result)
    said = capsys.readouterr().out
    assert "valid: no images" in said and "train (5 images, " in said and "train/mse" in result

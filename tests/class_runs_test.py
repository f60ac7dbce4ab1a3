"""Whole runs on images with classes: resumed, on several devices, evaluated, sampled."""

import json
import shutil
import signal

import numpy as np
import pytest
from PIL import Image

from rnnae import build
from rnnae.errors import ConfigError, Stopped
from rnnae.evaluation import loading, modes
from rnnae.records.writer import read_metrics
from rnnae.training import loop, seeds
from rnnae.training.train import train
from tests import runs
from tests.main_test import run as run_command

pytestmark = pytest.mark.slow  # a test of all classes needs two trained runs


def config(directory, **changes):
    return runs.config(
        directory, data__source_dir=str(directory / "classes"), data__label_dropout=0.3, **changes
    )


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    """A run that is told two classes in `told`, and one that is told none in `plain`."""
    directory = tmp_path_factory.mktemp("classes")
    runs.make_classes(directory / "classes")
    train(config(directory, model__classes=2), directory / "told")
    train(config(directory), directory / "plain")
    return directory


def test_a_run_has_a_picture_with_a_row_for_each_class(directory):
    for name in ("told", "plain"):
        with Image.open(directory / name / "pictures" / "classes.png") as picture:
            assert picture.width > 4 * picture.height  # 2 rows of 10
        saved = json.loads((directory / name / "config.json").read_text())
        assert saved["data"]["class_names"] == ["high", "low"]


def test_a_model_that_is_told_the_class_draws_it(directory):
    """The square is in the upper or in the lower half of an image."""
    run = loading.load(directory / "told")
    label_N = np.resize(np.array([0, 1]), 200)
    rows = run.sample(200, seed=1, label=label_N)[..., 0].mean(axis=2)
    centre = (rows * np.arange(8)).sum(axis=1) / rows.sum(axis=1)
    high, low = (centre[label_N == label] for label in (0, 1))
    assert low.mean() - high.mean() > 4 * np.sqrt((low.var() + high.var()) / 100)


def test_a_model_that_is_told_no_class_draws_its_latent(directory):
    run = loading.load(directory / "plain")
    splits = build.load_splits(config(directory))
    latents_NZ = run.encode(splits.train)
    for label in range(2):
        drawn_Z = run.sample_latents(400, seed=1, label=label).mean(axis=0)
        own, other = (latents_NZ[splits.labels.train == y].mean(axis=0) for y in (label, 1 - label))
        assert np.linalg.norm(drawn_Z - own) < 0.3 * np.linalg.norm(drawn_Z - other)


@pytest.mark.parametrize("name", ["told", "plain"])
def test_labels_are_one_for_all_or_one_for_each_and_must_exist(directory, name):
    run = loading.load(directory / name)
    assert np.array_equal(run.sample(5, 3, label=1), run.sample(5, 3, label=[1] * 5))
    assert not np.array_equal(run.sample(5, 3, label=1), run.sample(5, 3, label=0))
    with pytest.raises(ConfigError, match="no class 2: the classes are 0 high, 1 low"):
        run.sample(5, label=2)


def test_images_are_drawn_from_the_command_line_without_the_data(directory, tmp_path):
    workdir = shutil.copytree(directory / "told", tmp_path / "run")
    out, array = tmp_path / "low.png", tmp_path / "low.npy"
    command = ["--mode=sample", f"--workdir={workdir}", "--label=low", "--count=6"]
    command += ["--draw_seed=3", "--temperature=0.5", "--config.data.data_dir=/nowhere"]
    for path in (out, array):
        code, said, _ = run_command(*command, f"--out={path}")
        assert code == 0 and f"6 new images in {path}" in said
    expected = loading.load(workdir).sample(6, 3, label=1, temperature=0.5)
    assert np.array_equal(np.load(array), expected)
    about = json.loads((tmp_path / "low.npy.json").read_text())
    assert about["class"] == "low" and about["temperature"] == 0.5 and about["seed"] == 3
    assert Image.open(out).text["temperature"] == "0.5"
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "low.npy",
        "low.npy.json",
        "low.png",
        "run",
    ]


@pytest.mark.parametrize(
    "wish, message",
    [
        ({"label": "bird"}, "there is no class 'bird': the classes are 0 high, 1 low"),
        ({"guidance": 1.0}, "guidance mixes the logits"),
        ({"temperature": 0.0}, "temperature must be positive"),
    ],
)
def test_a_wrong_wish_is_one_line(directory, tmp_path, wish, message):
    out, settings = tmp_path / "x.png", config(directory, model__classes=2)
    with pytest.raises(ConfigError, match=message):
        modes.sample(settings, directory / "told", modes.SampleRequest(**wish), out)
    assert not out.exists()


def test_a_model_needs_the_classes_of_its_images(directory, tmp_path):
    with pytest.raises(ConfigError, match="classes=3, but these images have 2 classes: use 2"):
        train(config(directory, model__classes=3), tmp_path / "run")
    with pytest.raises(ConfigError, match="classes=2, but these images have no labels"):
        train(runs.config(tmp_path, model__classes=2), tmp_path / "run")


def test_a_finished_run_of_before_gets_its_mixtures_of_classes(directory, tmp_path):
    workdir = shutil.copytree(directory / "plain", tmp_path / "run")
    expected = (workdir / "class_mixture.npz").read_bytes()
    (workdir / "class_mixture.npz").unlink()
    with pytest.raises(ConfigError, match="it has no mixture for each class"):
        loading.load(workdir).sample(2, label=1)
    train(config(directory), workdir)
    again = loading.load(workdir)
    assert len(expected) == (workdir / "class_mixture.npz").stat().st_size
    assert np.array_equal(
        again.sample(2, label=1), loading.load(directory / "plain").sample(2, label=1)
    )
    (workdir / "class_mixture.npz").unlink()
    settings = config(directory)
    modes.sample(settings, workdir, modes.SampleRequest(label="low", count=2), tmp_path / "x.npy")
    assert np.array_equal(np.load(tmp_path / "x.npy"), again.sample(2, label=1))


@pytest.mark.exhaustive
@pytest.mark.parametrize("devices", [1, 2])
def test_a_conditional_run_resumes_bit_for_bit(directory, tmp_path, monkeypatch, devices):
    settings = config(
        directory,
        devices=devices,
        model__classes=2,
        data__binarise="dynamic",
        latent__name="gaussian",
        likelihood__name="bernoulli",
        eval__importance_samples=2,
    )
    train(settings, tmp_path / "unbroken")
    read = loop.ThroughputMeter.read

    def stopping(self, at, metrics):
        reading = read(self, at, metrics)
        if at >= 7:
            signal.raise_signal(signal.SIGTERM)
        return reading

    with monkeypatch.context() as patch:
        patch.setattr(loop.ThroughputMeter, "read", stopping)
        with pytest.raises(Stopped):
            train(settings, tmp_path / "stopped")
    train(settings, tmp_path / "stopped")
    ours, whole = (runs.outcome(tmp_path / name, settings) for name in ("stopped", "unbroken"))
    runs.assert_same(ours, whole)
    assert "test/bayes_accuracy_dynamic_is2" in whole[1]


def test_devices_and_seeds_train_a_conditional_model_alike(directory, tmp_path):
    alone = read_metrics(directory / "told")
    train(config(directory, model__classes=2, devices=2), tmp_path / "two")
    runs.assert_close(read_metrics(tmp_path / "two"), alone)
    settings = config(directory, model__classes=2)
    seeds.train_seeds(settings, tmp_path / "seeds", [0, 1], together=True)
    runs.assert_close(read_metrics(tmp_path / "seeds" / "seed0"), alone)

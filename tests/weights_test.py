"""Published weights: what is saved is loaded, and damage is refused in one line."""

import fnmatch
import os
import subprocess
import sys
import tomllib
from pathlib import Path

import jax
import numpy as np
import pytest
import safetensors.numpy
from PIL import Image

import rnnae
from experiments import ship
from rnnae import build, files
from rnnae.config import shipped
from rnnae.errors import CheckpointError, ConfigError
from rnnae.evaluation import features
from rnnae.evaluation.trained_run import TrainedRun
from rnnae.records import model_card, weights
from rnnae.records.writer import read_metrics
from rnnae.training.train import train
from tests import runs, tiny
from tests.fake_tables import execute

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    directory = tmp_path_factory.mktemp("weights") / "mlp"
    config = tiny.config("mlp", data__source_dir="/home/someone/images")
    config.devices, config.keep_memory = 4, False
    params = tiny.build("mlp")[1]["params"]
    weights.save(directory, params, config, "# A card\n", step=7)
    return directory, params


def test_what_is_saved_is_loaded(saved):
    directory, params = saved
    found = weights.load(directory)
    assert found.step == 7
    assert jax.tree.structure(found.params) == jax.tree.structure(params)
    for a, b in zip(jax.tree.leaves(found.params), jax.tree.leaves(params), strict=True):
        assert a.dtype == np.float32 and a.tobytes() == np.asarray(b).tobytes()
    assert found.model == build.build_model(tiny.config("mlp"))
    arrays = safetensors.numpy.load_file(directory / "model.safetensors")
    assert "encoder_0/kernel" in arrays
    assert "someone" not in (directory / "config.json").read_text()
    assert (found.config.devices, found.config.keep_memory) == (0, True)


def test_the_same_weights_give_the_same_bytes(saved, tmp_path):
    directory, params = saved
    weights.save(tmp_path, params, tiny.config("mlp"), "# A card\n", step=7)
    for path in directory.iterdir():
        assert path.read_bytes() == (tmp_path / path.name).read_bytes()


@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "README.md", "SHA256SUMS"])
def test_a_flipped_byte_is_refused(saved, tmp_path, name):
    for path in saved[0].iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    content = bytearray((tmp_path / name).read_bytes())
    for position in np.linspace(0, len(content) - 2, 5).astype(int):
        flipped = content.copy()
        flipped[position] ^= 1
        (tmp_path / name).write_bytes(flipped)
        with pytest.raises(CheckpointError, match="is damaged") as error:
            weights.load(tmp_path)
        assert "\n" not in str(error.value)
    (tmp_path / name).unlink()
    with pytest.raises((CheckpointError, ConfigError)):
        weights.load(tmp_path)


def test_parameters_of_another_model_are_refused(saved, tmp_path):
    weights.save(tmp_path, saved[1], tiny.config("mlp", widths=(9,)), "", step=7)
    with pytest.raises(CheckpointError, match="does not fit its model"):
        weights.load(tmp_path)
    weights.save(tmp_path, {"encoder_0": saved[1]["encoder_0"]}, tiny.config("mlp"), "")
    with pytest.raises(CheckpointError, match="does not fit its model"):
        weights.load(tmp_path)


def test_an_unknown_name_is_answered_with_the_nearest(saved):
    assert {"rows64", "rows64_dynamic"} <= set(shipped.weights())
    with pytest.raises(ConfigError, match="no weights row64: .*; did you mean rows64"):
        weights.load("row64")


def test_weights_that_are_shipped_with_the_package_must_fit_their_model(
    saved, tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr(shipped, "WEIGHTS", tmp_path)
    monkeypatch.setattr(model_card, "text", lambda *_: "A card")
    part = {"encoder_0": saved[1]["encoder_0"]}
    config = tiny.config("mlp")
    run = TrainedRun(build.build_model(config), part, config, 7)
    load = rnnae.load
    monkeypatch.setattr(rnnae, "load", lambda name: run if name == "run" else load(name))
    assert execute(ship, ["run", "mine"]) == 3
    error = capsys.readouterr().err
    assert error.startswith("experiments.ship: ") and "mine/model.safetensors does not fit" in error


@pytest.mark.parametrize("name", shipped.weights())
def test_shipped_weights_load_and_have_no_path_of_a_machine(name):
    found = weights.load(name)
    weights.check_fit(shipped.WEIGHTS / name, found.model, weights.by_name(found.params))
    assert all(np.isfinite(x).all() for x in jax.tree.leaves(found.params))
    card = (shipped.WEIGHTS / name / weights.CARD).read_text()
    assert "Yann LeCun" in card and "commit" in card
    if not found.model.generative:
        assert sum(x.size for x in jax.tree.leaves(found.params)) < 100_000
        assert "| accuracy | 0.9" in card


def test_the_main_job_is_sampled_by_its_name():
    run = rnnae.load("mnist")
    images = run.sample(20, seed=3, label=7)
    classifier = features.choose(run.config, "8bit", run.model.image_shape)
    assert (classifier.predict(images) == 7).mean() > 0.8


@pytest.mark.slow
def test_the_quickstart_runs(tmp_path):
    example = ROOT / "examples" / "quickstart.py"
    # Compiled as for a user: programs of the tests are not optimised.
    environment = os.environ | {"PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu", "XLA_FLAGS": ""}
    command = [sys.executable, str(example)]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    assert "nats of eight test digits" in done.stdout and "test MSE after 100" in done.stdout
    for name in ("sevens", "completed", "reconstructed", "interpolated"):
        with Image.open(tmp_path / f"{name}.png") as picture:
            assert picture.height == 112


def test_the_wheel_contains_the_shipped_weights():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    patterns = project["tool"]["setuptools"]["package-data"]["rnnae"]
    files = [path for path in (ROOT / "rnnae" / "weights").rglob("*") if path.is_file()]
    assert len(files) >= 8
    for path in files:
        name = str(path.relative_to(ROOT / "rnnae"))
        assert any(fnmatch.fnmatch(name, pattern) for pattern in patterns), name


@pytest.mark.slow
def test_a_trained_run_is_loaded_from_its_weights_as_from_its_directory(tmp_path):
    """With the mixture that it samples from; and the weights are measured by their name."""
    config = runs.config(tmp_path)
    train(config, tmp_path / "run")
    run = rnnae.load(tmp_path / "run")
    mixture = (tmp_path / "run" / files.MIXTURE).read_bytes()
    more = {files.MIXTURE: mixture}
    weights.save(tmp_path / "weights", run.params, run.config, "card", step=run.step, more=more)
    found = rnnae.load(tmp_path / "weights")
    assert found.step == run.step
    np.testing.assert_array_equal(found.sample(5, seed=2), run.sample(5, seed=2))
    measured = rnnae.evaluate(config, tmp_path / "out", weights=tmp_path / "weights")
    assert measured["test/mse"] == read_metrics(tmp_path / "run")[-1]["test/mse"]
    (tmp_path / "weights" / files.MIXTURE).write_bytes(mixture[:-1] + b"x")
    with pytest.raises(CheckpointError, match="mixture.npz is damaged"):
        rnnae.load(tmp_path / "weights")


NO_NETWORK = """
import socket
class Closed(socket.socket):
    def __init__(self, *_, **__):
        raise AssertionError("a socket was opened")
socket.socket = socket.create_connection = Closed
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    "flags, code, words",
    [
        (("--weights=mnist_classes", "--guidance=0.1", "--label=3"), 0, "64 new images"),
        (("--weights=rows64",), 2, "a classifier makes no images"),
    ],
    ids=str,
)
def test_weights_are_sampled_from_any_directory_without_a_network(flags, code, words, tmp_path):
    (tmp_path / "closed").mkdir()
    (tmp_path / "closed" / "sitecustomize.py").write_text(NO_NETWORK)
    (tmp_path / "empty").mkdir()
    paths = os.pathsep.join([str(tmp_path / "closed"), str(ROOT)])
    command = [sys.executable, "-m", "rnnae", "--mode=sample", "--out=new.png", *flags]
    environment = os.environ | {"PYTHONPATH": paths, "JAX_PLATFORMS": "cpu"}
    where = tmp_path / "empty"
    done = subprocess.run(command, cwd=where, env=environment, capture_output=True, text=True)
    assert done.returncode == code, done.stderr
    assert words in (done.stderr if code else done.stdout)
    assert done.stderr.count("\n") == (code > 0)
    assert [path.name for path in where.iterdir()] == ([] if code else ["new.png"])

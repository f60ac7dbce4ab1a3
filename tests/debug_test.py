"""--mode debug finds the step, the images and the operation that made a run not finite."""

import re
import shutil

import jax.numpy as jnp
import pytest

from rnnae import build
from rnnae.data import pipeline
from rnnae.errors import ConfigError, NonFiniteError
from rnnae.likelihoods.gaussian import Gaussian
from rnnae.training.debug import debug
from rnnae.training.train import train
from tests import runs

pytestmark = pytest.mark.slow
BAD = 31  # an index in the training images


def bad_image(directory):
    """(config of a run, the step that first sees image BAD, a pixel value that only it has)."""
    config = runs.config(directory, train__steps_per_call=4, train__epochs=1)
    images = build.load_splits(config).train
    brightest = images.reshape(len(images), -1).max(axis=1)
    assert (brightest == brightest[BAD]).sum() == 1
    for step in range(6):
        found = pipeline.batch_indices(len(images), seed=0, step=step, batch_size=runs.BATCH)
        if BAD in found:
            return config, step, brightest[BAD] / 255
    raise AssertionError("no step has it")


@pytest.mark.parametrize("where", ["loss", "gradient"])
def test_the_image_and_the_operation_are_named(where, tmp_path, monkeypatch, capsys):
    config, step, value = bad_image(tmp_path)
    right = Gaussian.log_prob_by_block

    def wrong(self, params_BHWP, x_BHWC):
        distance = jnp.round(255 * jnp.abs(x_BHWC - value))  # 0 at one pixel of one image
        if where == "loss":
            log_p = 1e-9 * jnp.minimum(distance, 1) * jnp.log(distance)  # 0 * -inf
        else:
            log_p = 1e-9 * jnp.sqrt(distance * jnp.abs(params_BHWP))  # the slope at 0 is inf
        return right(self, params_BHWP, x_BHWC) + log_p

    monkeypatch.setattr(Gaussian, "log_prob_by_block", wrong)
    with pytest.raises(NonFiniteError, match=f"at step {step + 1},"):
        train(config, tmp_path / "run")
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "run").rglob("*")}
    capsys.readouterr()
    assert debug(config, tmp_path / "run") == step + 1
    said = capsys.readouterr().out
    assert f"step {step + 1} is the first that is not finite" in said
    assert f"1 of its {runs.BATCH} images are enough" in said and f"images: {BAD}\n" in said
    operation = re.search(r"operation: .*encountered in (\w+), in", said)[1]
    assert operation in (("mul",) if where == "loss" else ("div", "mul", "rsqrt"))
    assert "rnnae/likelihoods" in said
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "run").rglob("*")} == before


def test_a_run_that_diverges_is_replayed_from_its_checkpoint(tmp_path, capsys):
    config = runs.config(tmp_path, optim__learning_rate=1e30, optim__clip_norm=0.0)
    with pytest.raises(NonFiniteError, match="at step|after step"):
        train(config, tmp_path / "run")
    assert debug(config, tmp_path / "run") > 0
    assert "is the first that is not finite" in capsys.readouterr().out


def test_a_run_without_a_fault_is_finite_to_its_end(tmp_path, capsys):
    config = runs.config(tmp_path, train__epochs=1)
    assert debug(config, tmp_path / "run") is None
    assert (
        "from step 0 of 6" in (said := capsys.readouterr().out) and "all steps are finite" in said
    )


def test_a_run_that_started_from_other_weights_needs_them(tmp_path):
    config = runs.config(tmp_path, train__epochs=1)
    train(config, tmp_path / "first")
    started = runs.config(tmp_path, train__epochs=1, train__init_from=str(tmp_path / "first"))
    train(started, tmp_path / "second")
    shutil.rmtree(tmp_path / "second" / "checkpoints")
    with pytest.raises(ConfigError, match="name these weights by --init_from"):
        debug(config, tmp_path / "second")
    assert debug(started, tmp_path / "second") is None

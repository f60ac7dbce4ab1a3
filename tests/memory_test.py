"""Sizes that cannot fit are refused before anything is built, in one line."""

import time

import pytest

from rnnae import build
from rnnae.config import default
from rnnae.devices import memory
from rnnae.errors import ConfigError

SHAPE = (28, 28, 1)


@pytest.mark.parametrize(
    "model, key, value, shape",
    [
        ("sequence", "data.batch_size", 10**12, SHAPE),
        ("sequence", "eval.batch_size", 10**12, SHAPE),
        ("sequence", "model.width", 10**7, SHAPE),
        ("sequence", "model.width", 10**13, SHAPE),  # more elements than an index can count
        ("sequence", "latent.size", 10**11, SHAPE),
        ("sequence", "data.batch_size", 256, (999_999, 999_999, 1)),
        ("mlp", "model.widths", (512, 10**9, 10**9), SHAPE),
        ("draw", "model.width", 10**7, SHAPE),
        ("sweep", "model.width", 10**7, SHAPE),
    ],
)
def test_a_size_that_cannot_fit_is_refused_at_once(model, key, value, shape):
    config = default(model)
    if model in ("draw", "sweep"):
        config.latent.name, config.likelihood.name = "gaussian", "bernoulli"
    config.update_from_flattened_dict({key: value})
    begin = time.monotonic()
    with pytest.raises(ConfigError, match="would take at least .* GB, and there are|no possible"):
        memory.check_training(config, shape, 1)
    assert time.monotonic() - begin < 10


@pytest.mark.parametrize("gigabytes, fits", [(1, False), (100, True)])
def test_the_copies_of_several_cpu_devices_count(gigabytes, fits, monkeypatch):
    monkeypatch.setattr(memory, "machine", lambda: gigabytes << 30)
    config = default()
    config.model.width = 2000  # 0.3 GiB of parameters, 4 copies of them on each of 4 devices
    if fits:
        memory.check_training(config, SHAPE, 4)
        return
    with pytest.raises(ConfigError, match="the model and its optimizer with .* parameters"):
        memory.check_training(config, SHAPE, 4)


def test_an_ordinary_model_is_not_traced(monkeypatch):
    monkeypatch.setattr(build, "build_model", None)
    config = default()
    config.train.steps_per_call = 10**9  # a call ends at the end of its epoch
    memory.check_training(config, SHAPE, 2)


def test_a_program_that_cannot_fit_is_refused():
    class Compiled:
        def memory_analysis(self):
            return self

        temp_size_in_bytes = 10**15

    with pytest.raises(ConfigError, match="intermediate values of a training step would take"):
        memory.check_program(Compiled(), 1)


def test_the_shape_of_the_images_is_known_before_they_are_loaded():
    config = default()
    assert build.image_shape(config) == SHAPE
    config.data.name = "folder"
    assert build.image_shape(config) is None
    config.data.shape = (16, 12, 3)
    assert build.image_shape(config) == (16, 12, 3)

"""Compression by a model: bit for bit, at the size that the model reports, or refused."""

import dataclasses
import io
import math
import os
import re
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
from PIL import Image

from examples import compress
from rnnae import build, command
from rnnae.errors import ConfigError, DataError
from rnnae.evaluation import mixture
from rnnae.evaluation.trained_run import TrainedRun
from rnnae.records import weights
from tests import tiny
from tests.tiny import slow

ROOT = Path(__file__).parents[1]
COUNT = 1500  # two batches


def tiny_run(**changes):
    settings = {"latent__name": "none", "blocks": 1, **changes}
    model, variables = tiny.build("sweep", **settings)
    return TrainedRun(model, variables["params"], tiny.config("sweep", **settings), 0)


def check_restored(run, file, images_NHWC):
    """The size is that of the reported nats, the header and the checksum; the coder ends with up to
    two words more."""
    np.testing.assert_array_equal(compress.decompress(run, file), images_NHWC)
    reported = -run.log_prob(images_NHWC).sum() / math.log(256)
    assert -0.5 < len(file) - compress._HEADER.size - 4 - reported < 8.5


def binary(count, shape=tiny.SHAPE):
    return 255 * np.random.default_rng(count).integers(0, 2, (count, *shape), np.uint8)


@pytest.fixture(scope="module")
def run():
    return tiny_run()


@pytest.fixture(scope="module")
def file(run):
    return compress.compress(run, binary(COUNT))


@pytest.fixture(scope="module")
def directory(run, tmp_path_factory):
    """The weights of the run on disk."""
    directory = tmp_path_factory.mktemp("compress") / "weights"
    weights.save(directory, run.params, run.config, "")
    return directory


def test_images_are_restored_and_the_size_is_what_the_model_reports(run, file):
    check_restored(run, file, binary(COUNT))


@pytest.mark.parametrize(
    "changes",
    [
        slow({"patch": 1, "likelihood__block": 1}),
        slow({"patch": 2, "likelihood__block": 1, "classes": 3}),
        slow({"patch": 2, "likelihood__block": 1, "chain": 4}),
        slow({"shape": (4, 8, 1), "patch": 4, "blocks": 2}),
    ],
)
def test_every_kind_of_token_is_restored(changes, monkeypatch):
    """Seven images in batches of five: the last batch is smaller."""
    monkeypatch.setattr(compress, "_BATCH", 5)
    run = tiny_run(**changes)
    images_NHWC = binary(7, run.model.image_shape)
    check_restored(run, compress.compress(run, images_NHWC), images_NHWC)


def test_damage_is_refused(run, file):
    for length in (0, 7, 20, len(file) - 4, len(file) - 1):
        with pytest.raises(DataError):
            compress.decompress(run, file[:length])
    for position in [*range(34), *range(34, len(file), 200), len(file) - 1]:
        flipped = bytearray(file)
        flipped[position] ^= 1
        with pytest.raises(DataError):
            compress.decompress(run, bytes(flipped))


def test_other_weights_and_other_probabilities_are_refused(run, file, monkeypatch):
    params = jax.tree.map(lambda x: x * (1 + 1e-6), run.params)
    other = dataclasses.replace(run, params=params)
    with pytest.raises(ConfigError, match="with other weights"):
        compress.decompress(other, file)
    # Another machine has the same weights, and rounds differently.
    of_weights = mixture.digest(run.params)
    monkeypatch.setattr(mixture, "digest", lambda params: of_weights)
    with pytest.raises(DataError, match="the probabilities are not those"):
        compress.decompress(other, file)


@pytest.mark.parametrize(
    "name, changes, words",
    [
        ("mlp", {}, "config.model.name=mlp"),
        ("sweep", {}, "config.latent.name=gaussian"),
        ("sweep", {"latent__name": "none", "orders": 2}, "config.model.orders=2"),
        ("sweep", {"latent__name": "none", "shape": (4, 4, 3)}, r"config.data.shape\[2\]=3"),
        (
            "sweep",
            {"latent__name": "none", "likelihood__name": "bernoulli"},
            "config.likelihood.name=bernoulli",
        ),
    ],
)
def test_models_that_cannot_code_are_refused(name, changes, words):
    config = tiny.config(name, **{"shape": (4, 4, 1), **changes})
    run = TrainedRun(build.build_model(config), None, config, 0)
    with pytest.raises(ConfigError, match=words):
        compress.compress(run, binary(2, (4, 4, 1)))
    with pytest.raises(ConfigError, match=words):
        compress.decompress(run, b"")


def test_a_missing_library_is_named(run, monkeypatch):
    monkeypatch.setitem(sys.modules, "constriction", None)
    with pytest.raises(ConfigError, match="pip install"):
        compress.compress(run, binary(2))


def call(*arguments):
    """The exit code of the command."""
    return command.execute(lambda: compress.main([str(argument) for argument in arguments]))


@pytest.mark.parametrize("ending", [".npy", slow(".png")])
def test_the_command_restores_a_file(ending, directory, tmp_path):
    images_NHWC = binary(1)
    source, packed, target = (tmp_path / name for name in ("a" + ending, "b", "c" + ending))
    source.write_bytes(compress.file_of_images(images_NHWC, ending))
    assert call("compress", source, packed, "--weights", directory) == 0
    assert call("decompress", packed, target, "--weights", directory) == 0
    np.testing.assert_array_equal(compress.read_images(target, tiny.SHAPE), images_NHWC)


def test_the_command_writes_nothing_if_it_fails(directory, file, tmp_path, capsys):
    np.save(tmp_path / "grey.npy", binary(3) // 2)
    np.save(tmp_path / "wide.npy", binary(3, (4, 8, 1)))
    np.save(tmp_path / "none.npy", binary(3)[:0])
    (tmp_path / "no.npy").write_bytes(b"\x93NUMPY")
    (tmp_path / "no.png").write_bytes(b"\x89PNG")
    (tmp_path / "short").write_bytes(file[:-9])
    before = sorted(tmp_path.iterdir())
    for name, words in (
        ("grey.npy", "binarise_once"),
        ("wide.npy", "must have images"),
        ("none.npy", "must have images"),
        ("no.npy", "cannot be read"),
        ("no.png", "cannot be read"),
    ):
        target = tmp_path / "target"
        assert call("compress", tmp_path / name, target, "--weights", directory) == 5
        assert words in capsys.readouterr().err
    assert call("decompress", tmp_path / "short", target, "--weights", directory) == 5
    printed = capsys.readouterr().err
    assert "damaged or incomplete" in printed and printed.count("\n") == 1
    assert call("compress", tmp_path / "nothing.npy", target, "--weights", directory) == 7
    assert sorted(tmp_path.iterdir()) == before


def test_pictures_hold_every_image_and_other_formats_are_lossless():
    images_NHWC = binary(7)
    picture = compress.picture(images_NHWC)
    assert picture.size == (3 * 6, 3 * 4)
    grid = np.asarray(picture)
    np.testing.assert_array_equal(grid[8:12, :6], images_NHWC[6, ..., 0])
    assert not grid[8:, 6:].any()
    for name in ("PNG", "WebP"):
        restored = Image.open(io.BytesIO(compress.FORMATS[name](picture))).convert("L")
        np.testing.assert_array_equal(np.asarray(restored), grid)


def test_the_comparison_names_what_is_not_at_hand(run, file, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(compress, "compress", lambda run, images_NHWC: file)
    monkeypatch.setattr(compress, "decompress", lambda run, content: binary(9))
    compress.compare(run, binary(9))
    printed = capsys.readouterr().out
    assert "JBIG2: not at hand" in printed and "PNG, a file for each image" in printed
    jbig2 = tmp_path / "jbig2"
    jbig2.write_text("#!/bin/sh\necho 12345\n")
    jbig2.chmod(0o755)
    assert compress.FORMATS["JBIG2"](compress.picture(binary(1))) == b"12345\n"


@pytest.mark.slow
def test_the_nats_of_the_shipped_weights_are_real(tmp_path):
    """1,000 test images of MNIST take at most 0.5 % more than reported."""
    script = [sys.executable, str(ROOT / "examples" / "compress.py"), "compare"]
    # Compiled as for a user: programs of the tests are not optimised.
    environment = os.environ | {"PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu", "XLA_FLAGS": ""}
    done = subprocess.run(script, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    assert "1,000 images, compressed" in done.stdout
    (more,) = re.findall(r"compressed: ([+-][\d.]+) %", done.stdout)
    assert 0 < float(more) < 0.5

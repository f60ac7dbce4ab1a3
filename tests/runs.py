"""Tiny runs on generated images, for tests of whole runs."""

import os
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
from PIL import Image

from rnnae import build, state
from rnnae.config import default
from rnnae.records.checkpoint import Checkpoints

IMAGES, BATCH, EPOCHS = 60, 8, 3  # 48 train, 6 validation, 6 test: 6 steps an epoch


def make_images(directory: Path) -> Path:
    """60 grey images of 8 x 8: a bright square on a dark gradient, its corner varying."""
    directory.mkdir(parents=True, exist_ok=True)
    for index in range(IMAGES):
        image = np.add.outer(np.arange(8), np.arange(8)).astype(np.uint8) * 4
        y, x = divmod(index % 25, 5)
        image[y : y + 3, x : x + 3] = 200 + index % 50
        Image.fromarray(image).save(directory / f"{index:02}.png")
    return directory


def make_classes(directory: Path) -> Path:
    """The same images in two folders, by the half in which the square begins."""
    for name in ("low", "high"):
        (directory / name).mkdir(parents=True, exist_ok=True)
    for index, path in enumerate(sorted(make_images(directory / "all").iterdir())):
        path.rename(directory / ("high" if index % 25 < 15 else "low") / path.name)
    (directory / "all").rmdir()
    return directory


def overrides(directory: Path) -> dict:
    """The tiny run's differences from the default, by dotted key."""
    return {
        "data.name": "folder",
        "data.source_dir": str(make_images(directory / "images")),
        "data.data_dir": str(directory / "data"),
        "data.shape": (8, 8, 1),
        "data.batch_size": BATCH,
        "model.width": 6,
        "latent.size": 4,
        "train.epochs": EPOCHS,
        "train.steps_per_call": 4,
        "train.eval_every_epochs": 1,
        "eval.batch_size": 4,
        "devices": 1,
    }


def config(directory: Path, model: str = "sequence", **changes):
    """The tiny config; changes use __ for the dot."""
    settings = default(model)
    values = overrides(directory) | {k.replace("__", "."): v for k, v in changes.items()}
    settings.update_from_flattened_dict(values)
    return settings


def start(directory: Path, workdir: Path, *flags: str, **kwargs) -> subprocess.Popen:
    """The tiny run as a process, by its command line."""
    root = Path(__file__).parents[1]
    settings = [f"--config.{key}={value}" for key, value in overrides(directory).items()]
    command = [sys.executable, "-m", "rnnae.main", "--config=configs/mnist.py"]
    return subprocess.Popen(
        [*command, f"--workdir={workdir}", *settings, *flags],
        cwd=root,
        env=os.environ | {"JAX_PLATFORMS": "cpu", "PYTHONFAULTHANDLER": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **kwargs,
    )


def outcome(workdir: Path, settings) -> tuple[list[np.ndarray], str]:
    """The state, the mixture and the metrics, in which a resumed run must equal an unbroken one."""
    settings = settings.copy_and_resolve_references()
    model, (optimizer, _) = build.build_model(settings), build.build_optimizer(settings, 1)
    like = state.create(model, optimizer, model.image_shape, settings.seed)
    restored = Checkpoints(workdir).restore(like)
    restored = restored.replace(key=jax.random.key_data(restored.key))
    arrays = [np.asarray(x) for x in jax.tree.leaves(restored)]
    if not model.has_prior:
        with np.load(workdir / "mixture.npz") as mixture:
            arrays += [mixture[name] for name in sorted(mixture)]
    return arrays, (workdir / "metrics.jsonl").read_text()


def assert_same(ours, theirs) -> None:
    """Bit for bit."""
    assert len(ours[0]) == len(theirs[0])
    for a, b in zip(ours[0], theirs[0], strict=True):
        assert a.dtype == b.dtype and a.tobytes() == b.tobytes()
    assert ours[1] == theirs[1]


def assert_close(ours: list[dict], theirs: list[dict]) -> None:
    """The same records, within float tolerance."""
    assert len(ours) == len(theirs)
    for mine, other in zip(ours, theirs, strict=True):
        assert mine.keys() == other.keys()
        np.testing.assert_allclose(list(mine.values()), list(other.values()), rtol=2e-4, atol=1e-6)

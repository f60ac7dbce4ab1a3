"""Trains models of other libraries on the data of the table `main`, for a budget of CPU time.

    python -m experiments.peers [NAME ...] [--minutes 6] [--out experiments/results/records]
                                [--data_dir DIR] [--source_dir DIR]

A NAME is a key of `PEERS`; the default is all of them. They need the extra `bench`, and
pytorch-generative is cloned (`peer_models.pytorch_generative_models`). The model, its loss and its
settings are those of the library, see `peer_models`. The data and the protocol are those of rnnae:
all 60,000 MNIST training images, whose pixels are drawn anew at every visit, and the 10,000 test
images of binarisation seed 0, once. Nothing is chosen by the test images.

All is done on the CPU. A minute is one of CPU time in the training steps, with the compilation of a
model in JAX: on one core (`taskset -c 0`) as long as a minute of a machine that does nothing else.

The results are written to OUT/peers.json, one model after the other, in place of those that it had
before. `experiments.report` shows them below the rows of a table that names them in CPU_PEERS.

Exit codes: 0 done, 2 a flag is wrong or a library is not installed, 4 a likelihood is not finite, 5
the data are missing or damaged, 7 a file cannot be written.
"""

import argparse
import importlib
import importlib.metadata
import json
import math
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np

from experiments import tables
from experiments.peer_models import Peer
from experiments.peer_rows import FILE, read
from rnnae import build, command, files
from rnnae.config import shipped
from rnnae.data import binarisation, pipeline
from rnnae.data.images import ImageArray
from rnnae.errors import NonFiniteError, import_optional
from rnnae.records import provenance

OUT = Path(__file__).parent / "results" / "records"
SEED = 0  # of the initial weights, the order of the images and the binarisations
_CHUNK = 500  # test images at a time
_PHILOX_STREAM = 0x70656572  # the second word of the key of the binarisations in training


class Entry(NamedTuple):
    """A model that can be trained by its name."""

    label: str  # of its row in a report
    packages: tuple[str, ...]  # that it imports, by module name
    module: str  # of peer_models
    function: str  # seed -> Peer


PEERS: dict[str, Entry] = {
    "flax-vae": Entry("VAE (examples/vae of flax)", ("flax",), "flax_example", "vae"),
    "pythae-vae": Entry("VAE (pythae)", ("torch", "pythae"), "pythae_models", "vae"),
    "pytorch-generative-made": Entry(
        "MADE (pytorch-generative)",
        ("torch", "pytorch_generative"),
        "pytorch_generative_models",
        "made",
    ),
    "pytorch-generative-pixelcnn": Entry(
        "PixelCNN (pytorch-generative)",
        ("torch", "pytorch_generative"),
        "pytorch_generative_models",
        "pixel_cnn",
    ),
}
_HOW = "install the extra `bench`"
_HOW_TO_INSTALL = {  # what is on no package index
    "pytorch_generative": "clone github.com/EugenHotaj/pytorch-generative, put the directory on "
    f"PYTHONPATH, and {_HOW}"
}


def load(entry: Entry) -> Callable[[int], Peer]:
    """The function that builds the model; ConfigError if a package is not installed."""
    for package in entry.packages:
        import_optional(package, _HOW_TO_INSTALL.get(package, _HOW))
    return getattr(
        importlib.import_module(f"experiments.peer_models.{entry.module}"), entry.function
    )


def load_images(data_dir: str, source_dir: str) -> tuple[ImageArray, np.ndarray]:
    """(training images, uint8 (60000, 28, 28, 1); binary test images, float32 (10000, 28, 28, 1)).

    They are those of the config of the table `main`. Raises as `build.load_splits`.
    """
    config = shipped.get_config(tables.TABLES["main"].CONFIG)
    config.data.data_dir = data_dir or config.data.data_dir
    config.data.source_dir = source_dir or config.data.source_dir
    splits = build.load_splits(config)
    return splits.train, test_images(splits.test)


def test_images(images: ImageArray) -> np.ndarray:
    """The images as an evaluation of rnnae binarises them, float32 0 or 1."""
    held_out = binarisation.evaluation_images(images, "dynamic", SEED)
    return np.asarray(binarisation.to_unit(held_out))


def train(
    peer: Peer,
    images: ImageArray,
    seconds: float,
    clock: Callable[[], float] = time.process_time,
) -> tuple[int, float]:
    """Trains for `seconds` of CPU time, and at least one step; returns (steps, seconds).

    Programs that run beside it do not shorten the training by that clock. Every epoch has each
    image once, and the pixels are drawn anew at every visit.
    """
    generator = np.random.Generator(np.random.Philox(key=[SEED, _PHILOX_STREAM]))
    begin, step, spent = clock(), 0, 0.0
    while not step or spent < seconds:
        image_BHWC, _ = pipeline.batch(
            images, None, seed=SEED, step=step, batch_size=peer.batch_size
        )
        uniform_BHWC = generator.random(image_BHWC.shape, dtype=np.float32)
        peer.train_step((uniform_BHWC * 255 < image_BHWC).astype(np.float32))
        step, spent = step + 1, clock() - begin
    return step, spent


def evaluate(peer: Peer, x_NHWC: np.ndarray) -> dict[str, float]:
    """The test metrics by the names that rnnae gives them, with their standard errors over images;
    NonFiniteError if one is not finite."""
    chunks = [peer.scores(x_NHWC[i : i + _CHUNK]) for i in range(0, len(x_NHWC), _CHUNK)]
    metrics = {}
    for key in chunks[0]:
        value_N = np.concatenate([chunk[key] for chunk in chunks]).astype(np.float64)
        if not np.isfinite(value_N).all():
            raise NonFiniteError(f"{key} of a test image is not finite: train again for less time")
        name = "test/kl" if key == "kl" else f"test/{key}_dynamic"
        metrics[name] = float(value_N.mean())
        if key != "kl":
            metrics[f"{name}_se"] = float(value_N.std(ddof=1) / math.sqrt(len(value_N)))
    return metrics


def measure(entry: Entry, train_NHWC: ImageArray, test_NHWC: np.ndarray, minutes: float) -> dict:
    """The record of a model that is trained for so many minutes, as JSON."""
    peer = load(entry)(SEED)
    steps, seconds = train(peer, train_NHWC, 60 * minutes)
    return {
        "label": entry.label,
        "metrics": evaluate(peer, test_NHWC),
        "parameters": peer.parameters,
        "budget_minutes": minutes,
        "seconds": seconds,
        "steps": steps,
        "batch_size": peer.batch_size,
        "images_per_second": steps * peer.batch_size / seconds,
        "train_images": len(train_NHWC),
        "test_images": len(test_NHWC),
        "binarisation_seed": SEED,
        "packages": {package: _version(package) for package in entry.packages},
    }


def _version(package: str) -> str:
    """The version of an installed package, or the commit of a checkout."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return provenance.commit(importlib.import_module(package).__file__)


def _parse_minutes(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of minutes above 0")
    return value


def main(argv: list[str] | None = None) -> int:
    parser = tables.command_parser("peers", __doc__)
    parser.add_argument("names", nargs="*", help=", ".join(PEERS), metavar="NAME")
    minutes_help = "CPU time of training, for each model (default: %(default)s)"
    parser.add_argument("--minutes", type=_parse_minutes, default=6.0, help=minutes_help)
    out_help = "directory of the records (default: %(default)s)"
    parser.add_argument("--out", type=files.expand, default=OUT, help=out_help)
    parser.add_argument("--data_dir", default="", help="as config.data.data_dir")
    parser.add_argument("--source_dir", default="", help="as config.data.source_dir")
    arguments = parser.parse_args(argv)
    if unknown := [name for name in arguments.names if name not in PEERS]:
        parser.error(f"unknown model {unknown[0]!r}; choose from {', '.join(PEERS)}")
    names = arguments.names or list(PEERS)
    for name in names:
        load(PEERS[name])  # what is missing is said before anything is trained
    path = arguments.out / FILE
    records = read(arguments.out)
    files.check_output(path)
    jax.config.update("jax_platforms", "cpu")  # as the models in PyTorch
    environment = provenance.describe(jax.devices()[:1])  # before a record makes it "-dirty"
    images = load_images(arguments.data_dir, arguments.source_dir)
    for name in names:
        print(f"{name}: training for {arguments.minutes:g} minutes of CPU time", flush=True)
        record = measure(PEERS[name], *images, arguments.minutes)
        records[name] = record | {"environment": environment}
        ordered = {name: records[name] for name in PEERS if name in records}
        files.replace_text(path, json.dumps(ordered, indent=1) + "\n")
        print(f"{name}: {record['metrics']}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(command.execute(main, "experiments.peers"))

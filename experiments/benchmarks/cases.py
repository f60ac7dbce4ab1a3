"""The benchmarks: shapes, contenders, and the matrix products that the work consists of.

To add a case, add an entry to `CASES`. A matrix product is (rows, inner, columns, count) in the
forward pass. Training needs three products for each: the product itself, the gradient of its input
and the gradient of its weight. For the steps of a recurrence, the weight's gradient is one product
over all steps.
"""

import dataclasses
from collections.abc import Callable

Matmuls = list[tuple[int, int, int, int]]

_GATES = {"lstm": 4, "gru": 3}


@dataclasses.dataclass(frozen=True)
class Case:
    """One benchmark.

    Attributes:
      title: heading of the table.
      sizes: name -> shapes, which are passed to each contender.
      contenders: name -> ("module.function", further options of this contender).
      bfloat16: names of the contenders that also run in bfloat16; all run in float32.
      matmuls: size -> the matrix products of a forward pass, if they are counted.
      unit: of the speed.
      baseline: the contender that the speeds of the others are compared with.
    """

    title: str
    sizes: dict[str, dict]
    contenders: dict[str, tuple[str, dict]]
    bfloat16: tuple[str, ...] = ()
    matmuls: Callable[[dict], Matmuls] | None = None
    unit: str = "images/s"
    baseline: str = "PyTorch"


def _row(size: dict) -> Matmuls:
    """The decoder's position inputs are the same for all images. They are counted once, as rnnae
    multiplies them; other libraries multiply them for each image."""
    batch, width, gates = size["batch"], size["width"], _GATES[size["cell"]]
    states = 2 if size["cell"] == "lstm" else 1
    return [
        (28 * batch, 28, gates * width, 1),
        (28, 64, gates * width, 1),
        (batch, width, gates * width, 28),
        (batch, width, gates * width, 28),
        (batch, width, 64, 1),
        (batch, 64, states * width, 1),
        (28 * batch, width, 28, 1),
    ]


def _draw(size: dict) -> Matmuls:
    """Without the small products of the attention windows, which add 2 % for 5 x 5. Without
    attention, the image is multiplied once, and the error image at every glimpse."""
    batch, width, n, steps = size["batch"], size["width"], size["attention"], size["steps"]
    read, written = (2 * n * n, n * n) if n else (784, 784)
    return [
        *([] if n else [(batch, 784, 4 * width, 1)]),
        (batch, read + 2 * width, 4 * width, steps),
        (batch, width, 20, steps),
        (batch, 10 + width, 4 * width, steps),
        (batch, width, written, steps),
    ]


def _pixels(size: dict) -> Matmuls:
    batch, width = size["batch"], size["width"]
    tokens = 784 * batch
    return [(tokens, 1, 4 * width, 1), (batch, width, 4 * width, 784), (tokens, width, 1, 1)]


def _flagship(size: dict) -> Matmuls:
    tokens, width = 196 * size["batch"], 64
    vertical = [(width, 2 * width, 3), (2 * width, width, 1), (width, width, 1)]
    horizontal = [(width, 2 * width, 1), (width, width, 2)]
    mixers = [(width, 2 * width, 2), (2 * width, width, 2)]
    block = [*vertical, *horizontal, *mixers]
    layers = [(tokens, i, o, 1) for i, o, count in 3 * block for _ in range(count)]
    return [*layers, (tokens, width, 16, 1)]


def _sweeps(size: dict) -> Matmuls:
    tokens, width = size["side"] ** 2 * size["batch"], size["width"]
    return [(tokens, width, 2 * width, 1), (tokens, width, width, 1)]


def _rows(cell: str) -> dict:
    """Sizes of a row autoencoder: width 512 and batch 256, and each of the two varied alone."""
    pairs = [(512, 256), (128, 256), (256, 256), (1024, 256), (512, 64), (512, 1024)]
    return {
        f"width {width}, batch {batch}": {"cell": cell, "width": width, "batch": batch}
        for width, batch in pairs
    }


_ROW = {
    "rnnae": ("ours.row", {}),
    "PyTorch": ("peers_torch.row", {}),
    "torch.compile": ("peers_torch.row", {"compile": True}),
    "flax nn.RNN": ("peers_flax.row", {}),
    "Keras on jax": ("peers_keras.row", {}),
}

CASES: dict[str, Case] = {
    "lstm": Case(
        "Training a row LSTM autoencoder: 28 steps, latent of 64",
        _rows("lstm"),
        _ROW,
        ("rnnae", "PyTorch", "torch.compile", "flax nn.RNN", "Keras on jax"),
        _row,
    ),
    "gru": Case(
        "Training a row GRU autoencoder: 28 steps, latent of 64",
        {"width 512, batch 256": {"cell": "gru", "width": 512, "batch": 256}},
        _ROW,
        ("rnnae", "PyTorch", "torch.compile", "flax nn.RNN"),
        _row,
    ),
    "draw": Case(
        "Training DRAW: 32 glimpses, LSTM 256, batch 128",
        {
            "whole images": {"steps": 32, "width": 256, "attention": 0, "batch": 128},
            "attention 5x5": {"steps": 32, "width": 256, "attention": 5, "batch": 128},
        },
        {
            "rnnae": ("ours.draw", {}),
            "PyTorch": ("peers_torch.draw", {}),
            "torch.compile": ("peers_torch.draw", {"compile": True}),
        },
        ("rnnae", "PyTorch", "torch.compile"),
        _draw,
    ),
    "pixels": Case(
        "Training a pixel LSTM: 784 steps, width 128, batch 64",
        {"width 128, batch 64": {"width": 128, "batch": 64}},
        {
            "rnnae": ("ours.pixels", {}),
            "PyTorch": ("peers_torch.pixels", {}),
            "flax nn.RNN": ("peers_flax.pixels", {}),
            "Keras on jax": ("peers_keras.pixels", {}),
        },
        ("rnnae", "PyTorch", "flax nn.RNN"),
        _pixels,
    ),
    "linear": Case(
        "A linear recurrence, forward and backward: 784 steps, width 256, batch 64",
        {"784 x 256": {"steps": 784, "width": 256, "batch": 64}},
        {
            "rnnae": ("ours.linear", {}),
            "PyTorch": ("peers_torch.linear", {}),
            "lax.scan": ("peers_flax.linear", {}),
            "lax.associative_scan": ("peers_flax.associative", {}),
        },
        unit="sequences/s",
    ),
    "sweeps": Case(
        "One sweep of minGRU across a grid, forward and backward: width 64, batch 50",
        {f"{side} x {side}": {"side": side, "width": 64, "batch": 50} for side in (14, 28)},
        {
            "rnnae": ("ours.sweeps", {}),
            "PyTorch": ("peers_torch.sweeps", {}),
            "nn.scan": ("ours.sweeps", {"plain": True}),
        },
        matmuls=_sweeps,
    ),
    "flagship": Case(
        "Training configs/mnist_sweep.py without a latent, with Adam, batch 50",
        {"width 64, batch 50": {"batch": 50}},
        {
            "rnnae": ("ours.flagship", {}),
            "PyTorch": ("peers_torch.flagship", {}),
            "torch.compile": ("peers_torch.flagship", {"compile": True}),
            "whole batch": ("ours.flagship", {"whole": True}),
            "whole batch, nn.scan": ("ours.flagship", {"whole": True, "plain": True}),
        },
        matmuls=_flagship,
    ),
    "raster": Case(
        "Sampling 64 images pixel by pixel from an LSTM of width 128",
        {"64 images": {"width": 128, "batch": 64}},
        {"rnnae": ("ours.raster", {}), "PyTorch": ("peers_torch.raster", {})},
    ),
    "images": Case(
        "Sampling 64 images",
        {"64 images": {"batch": 64, "width": 256}},
        {
            "rows": ("ours.images", {"model": "row", "cell": "lstm"}),
            "DRAW": ("ours.images", {"model": "draw", "steps": 32, "attention": 5}),
            "sweeps": ("ours.images", {"model": "sweep"}),
            "sweeps, whole network for every token": (
                "ours.images",
                {"model": "sweep", "rerun": True},
            ),
        },
        baseline="sweeps, whole network for every token",
    ),
}

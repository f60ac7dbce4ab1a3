"""Every image of a split once: the only source of reported numbers."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import ml_collections
import numpy as np
from flax import linen as nn

from rnnae import data, metrics, objective, parallel, sample


def evaluator(
    model: nn.Module, devices: Sequence[jax.Device], batch_size: int, seed: int
) -> Callable:
    """`evaluate(params, images, between) -> {name: mean over the split}` for `model`.

    The last batch is padded and masked, sums are kept in float64, so that the batch size does not
    show in the result. MSE and MAE are of the free-running reconstruction, in units of [0, 1];
    `between` is called before each batch, and may raise to give up.
    """
    batch_size = -(-batch_size // len(devices)) * len(devices)

    def per_example(params, image_BHWC):
        def apply(method, *inputs):
            return model.apply({"params": params}, *inputs, method=method)

        x_BHWC = data.to_unit(image_BHWC)
        reconstruction_BHWC = apply("decode", apply("encode", x_BHWC), jax.random.key(seed))
        return {
            **objective.per_example(apply("__call__", x_BHWC)),
            "mse": metrics.mse(x_BHWC, reconstruction_BHWC),
            "mae": metrics.mae(x_BHWC, reconstruction_BHWC),
            "ssim": metrics.ssim(x_BHWC, reconstruction_BHWC),
        }

    over_devices = parallel.map_examples(per_example, devices)

    def evaluate(params: Any, images, between: Callable[[], None] = lambda: None):
        sums: dict[str, float] = {}
        for image_BHWC, mask_B in data.padded_batches(images, batch_size):
            between()
            for name, value_B in over_devices(params, image_BHWC).items():
                total = np.sum(value_B[mask_B], dtype=np.float64)
                sums[name] = sums.get(name, 0.0) + float(total)
        return {name: total / len(images) for name, total in sums.items()}

    return evaluate


def held_out(images, *, binarise: str, seed: int):
    """The images of a split as its protocol evaluates them: `dynamic` binarises them once."""
    if binarise == "dynamic":
        return data.binarise_once(images[np.arange(len(images))], seed)
    return images


def main(config: ml_collections.ConfigDict, workdir: str | Path) -> dict[str, float]:
    """`--mode evaluate`: validation and test split of a trained run, printed and kept in
    `workdir`/evaluation.json."""
    run = sample.load(workdir, config.eval.checkpoint)
    splits = sample.load_splits(config)
    devices = parallel.choose_devices(config.devices)
    evaluate = evaluator(run.model, devices, config.eval.batch_size, config.eval.seed)
    result = {}
    for split in ("valid", "test"):
        images = held_out(
            getattr(splits, split), binarise=config.data.binarise, seed=config.eval.seed
        )
        means = evaluate(run.params, images)
        print(
            f"{split} ({len(images):,} images, {config.eval.checkpoint} checkpoint): {line(means)}"
        )
        result |= {f"{split}/{name}": value for name, value in means.items()}
    (Path(workdir) / "evaluation.json").write_text(json.dumps(result, indent=2) + "\n")
    return result


def line(means: dict[str, float]) -> str:
    """`MSE 0.00312  MAE 0.0171  SSIM 0.973  loss 2.45` from a split's means."""
    return (
        f"MSE {means['mse']:.5f}  MAE {means['mae']:.5f}  SSIM {means['ssim']:.4f}  "
        f"loss {means['loss']:.4f}"
    )

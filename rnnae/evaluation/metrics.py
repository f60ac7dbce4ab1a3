"""Metrics besides the likelihood: of single images, and of a whole split.

To add one, write its function here and its line in `IMAGE_METRICS` or `SPLIT_METRICS`. Every
evaluation then records and prints it.
"""

import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import dm_pix
import jax
import jax.numpy as jnp
import ml_collections
import numpy as np

from rnnae import objective, rng
from rnnae.data import binarisation
from rnnae.data.images import ImageArray
from rnnae.models import Autoencoder

ACTIVE_VARIANCE = 0.01  # of a latent dimension's mean over images, above which it is active
# Beginnings of the names of metrics that are printed with their standard error.
_IN_NATS = ("nll", "bound")
_WITH_4_DIGITS = ("bits_per_dim", "bayes_accuracy", "accuracy")


def mse(x_BHWC: jax.Array, y_BHWC: jax.Array) -> jax.Array:
    """Mean squared error over pixels and channels, (B,)."""
    return jnp.mean((x_BHWC - y_BHWC) ** 2, axis=(1, 2, 3))


def mae(x_BHWC: jax.Array, y_BHWC: jax.Array) -> jax.Array:
    """Mean absolute error over pixels and channels, (B,)."""
    return jnp.mean(jnp.abs(x_BHWC - y_BHWC), axis=(1, 2, 3))


def ssim(x_BHWC: jax.Array, y_BHWC: jax.Array) -> jax.Array:
    """Structural similarity (Wang et al. 2004), (B,): Gaussian window of 11 pixels, or the largest
    odd one that fits a smaller image."""
    side = min(11, *x_BHWC.shape[1:3])
    # The window is a convolution, whose operands accelerators would round by default.
    with jax.default_matmul_precision("float32"):
        return dm_pix.ssim(x_BHWC, y_BHWC, filter_size=side - (side + 1) % 2)


class ImageMetric(NamedTuple):
    """`function` compares images with their reconstructions: two float arrays x_BHWC in [0, 1] ->
    (B,). `digits` is how many decimals are printed."""

    function: Callable[[jax.Array, jax.Array], jax.Array]
    digits: int


IMAGE_METRICS = {
    "mse": ImageMetric(mse, 5),
    "mae": ImageMetric(mae, 5),
    "ssim": ImageMetric(ssim, 4),
}


class Measured(NamedTuple):
    """What a metric of a whole split may use."""

    model: Autoencoder
    params: Any
    images: ImageArray  # as evaluated: binarised if the protocol binarises
    latent_NZ: np.ndarray  # float64, the mean latent of each image
    seed: int
    settings: ml_collections.ConfigDict  # config.eval


def active_units(measured: Measured) -> float:
    """Number of latent dimensions whose mean varies over images by more than `ACTIVE_VARIANCE`
    (Burda et al. 2016, section 5.2)."""
    with np.errstate(invalid="ignore"):  # latents that are not finite are reported by the loss
        return float((measured.latent_NZ.var(axis=0) > ACTIVE_VARIANCE).sum())


def mutual_information(measured: Measured) -> float | None:
    """Mutual information between image and latent among the first images, nats; None if it is
    turned off. See `objective.mutual_information`."""
    count = min(len(measured.images), measured.settings.mutual_information_images)
    if not count:
        return None
    estimate = _mutual_information(measured.model)
    return float(estimate(measured.params, measured.images[np.arange(count)], measured.seed))


@functools.lru_cache(maxsize=4)
def _mutual_information(model: Autoencoder) -> Callable:
    @jax.jit
    def estimate(params, image_SHWC, seed):
        apply = functools.partial(model.apply, {"params": params})
        count = image_SHWC.shape[0]
        key_S = rng.example_keys(jax.random.key(seed), jnp.arange(count))
        posterior = apply(binarisation.to_unit(image_SHWC), method="posterior")
        z_SZ = apply(posterior, key_S, method="sample_posterior")

        def log_posterior(shift):
            shifted = jax.tree.map(lambda x: jnp.roll(x, -shift, axis=0), posterior)
            return apply(shifted, z_SZ, method="log_posterior")

        return objective.mutual_information(log_posterior, count)

    return estimate


CLASS_METRICS = ("nll_alone", "nll_unlabelled", "bayes_accuracy")


def class_metrics(
    nll_NY: np.ndarray, unlabelled_N: np.ndarray, label_N: np.ndarray
) -> dict[str, np.ndarray]:
    """CLASS_METRICS of each image, (N,), from its negative log-likelihood given each class y.

    Args:
        nll_NY: -log p(x | y), nats.
        unlabelled_N: -log p(x) of the same model when it is told no class, nats.
        label_N: the true classes.

    `nll_alone` is that of the image without its label, when all classes are equally likely:
    -log mean over y of p(x | y). `bayes_accuracy` is 1 where argmax over y of p(x | y) is the true
    class, else 0.
    """
    mean_N = np.logaddexp.reduce(-nll_NY, axis=1) - math.log(nll_NY.shape[1])
    right_N = np.argmin(nll_NY, axis=1) == label_N
    return dict(zip(CLASS_METRICS, (-mean_N, unlabelled_N, right_N.astype(float)), strict=True))


class SplitMetric(NamedTuple):
    """`function` takes a split that was measured with a model that has a prior and a latent; None
    leaves the metric out. `digits` is how many decimals are printed."""

    function: Callable[[Measured], float | None]
    digits: int


SPLIT_METRICS = {
    "active_units": SplitMetric(active_units, 0),
    "mutual_information": SplitMetric(mutual_information, 2),
}


def format_metrics(means: dict[str, float]) -> str:
    """The metrics of a split on one line: nats and bits first if there are any, as in
    `bound_dynamic 89.41 ± 0.22  KL 28.24  active units 37`, then the image metrics.

    The loss of a squared-error likelihood is left out, because most of it is a constant. Metrics of
    new images are left out too: `sample_report` prints them.
    """
    words = [f"loss {means['loss']:.4f}"] if "accuracy" in means else []
    for name, value in means.items():
        if f"{name}_se" in means and name.startswith((*_IN_NATS, *_WITH_4_DIGITS)):
            digits = 2 if name.startswith(_IN_NATS) else 4
            words.append(f"{name} {value:.{digits}f} ± {means[f'{name}_se']:.{digits}f}")
    split_metrics = [
        f"{name.replace('_', ' ')} {means[name]:.{metric.digits}f}"
        for name, metric in SPLIT_METRICS.items()
        if name in means
    ]
    if split_metrics:
        words += [f"KL {means['kl']:.2f}", *split_metrics]
    errors = [
        f"{name.upper()} {means[name]:.{metric.digits}f}"
        for name, metric in IMAGE_METRICS.items()
        if name in means
    ]
    return "  ".join([*words, *errors]) or f"loss {means['loss']:.4f}"

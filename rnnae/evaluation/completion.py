"""Images of which some pixels are given and the others are drawn.

Three methods, of which a completion uses the first that its model and mask allow:

    exact         the given pixels are whole tokens that come before all others in one of the scan
                  orders of a sweep model: the others are drawn given them
    particles     any other mask of a sweep model: sequential Monte Carlo (`models/particles.py`),
                  exact in the limit of many particles
    pseudo-Gibbs  any other model: latents and missing pixels are drawn in turn, approximate
                  (Rezende et al. 2014)
"""

import functools
from typing import NamedTuple

import numpy as np

from rnnae.errors import ConfigError
from rnnae.evaluation import batched
from rnnae.models import completion as models
from rnnae.models import particles, symmetries

PARTICLES = 64
GIBBS_STEPS = 8
_AT_ONCE = 1024  # particles of all images that are completed in one call


class Completion(NamedTuple):
    """Completed images.

    Attributes:
        images_NHWC: uint8.
        method: exact, particles or pseudo-Gibbs.
        effective_N: of particles, or of the latents that an exact completion weighs: the smallest
            effective number that any step had, from 1 (one of them had all the weight) to their
            number (all had the same).
    """

    images_NHWC: np.ndarray
    method: str
    effective_N: np.ndarray


def check_mask(mask: np.ndarray, images_NHWC: np.ndarray) -> np.ndarray:
    """The mask of each image, bool (N, H, W), from one of shape (H, W) or (N, H, W)."""
    shape = images_NHWC.shape[:3]
    mask = np.asarray(mask)
    if mask.dtype != bool or mask.shape not in (shape, shape[1:]):
        count, height, width = shape
        raise ConfigError(
            f"the mask must be bool of shape ({height}, {width}) or ({count}, {height}, {width}), "
            f"true where a pixel is given, not {mask.dtype} {mask.shape}"
        )
    return np.broadcast_to(mask, shape)


def find_order(mask_HW: np.ndarray, orders: int, side: int) -> tuple[int, bool]:
    """(order, exact): the scan order in which the fewest given pixels come after a missing one, in
    tokens of `side` x `side` pixels; and whether the given pixels are whole tokens that come before
    all others."""
    tangled = []
    for order in range(orders):
        scanned = symmetries.transform_one(mask_HW[..., None], order)[..., 0]
        height, width = (n // side for n in scanned.shape)
        tokens = scanned.reshape(height, side, width, side).swapaxes(1, 2).reshape(-1, side * side)
        before = np.logical_and.accumulate(tokens.all(axis=1))
        tangled.append(int(tokens[~before].sum()))
    order = int(np.argmin(tangled))
    return order, not tangled[order]


def complete(
    run,
    images_NHWC: np.ndarray,
    mask_NHW: np.ndarray,
    seed: int,
    label_N: np.ndarray | None,
    count: int,
) -> Completion:
    """`TrainedRun.complete` of the run, with checked arguments."""
    if "complete" in run.model.capabilities:
        return _by_sweep(run, images_NHWC, mask_NHW, seed, label_N, count)
    return _by_gibbs(run, images_NHWC, mask_NHW, seed, label_N, count)


def _by_sweep(run, images_NHWC, mask_NHW, seed, label_N, count) -> Completion:
    """Latents are drawn from the prior and weighed by the probability of the given pixels."""
    model, images = run.model, len(images_NHWC)
    side = model.token_height
    found = [find_order(mask_HW, model.orders, side) for mask_HW in mask_NHW]
    order_N = np.array([order for order, _ in found], np.int32)
    exact = all(exact for _, exact in found)
    given = images_NHWC, mask_NHW, order_N
    effective_N = np.ones(images)
    latents_NKZ = np.zeros((images, 1 if exact else count, 0), np.float32)
    if model.latent_dimensions:
        told = None if label_N is None else np.repeat(label_N, count)
        latents = run.sample_latents(images * count, seed, label=told)
        latents_NKZ = latents.reshape(images, count, model.latent_dimensions)
        if exact:  # importance resampling of one latent (Rubin 1987)
            weigh = functools.partial(run.apply, models.log_prob_of_given, label_N=label_N)
            log_weights = [weigh(z_NZ, *given) for z_NZ in latents_NKZ.swapaxes(0, 1)]
            log_weight_NK = np.stack(log_weights, axis=1)
            noise_NK = np.random.default_rng(seed).gumbel(size=log_weight_NK.shape)
            chosen_N = np.argmax(log_weight_NK + noise_NK, axis=1)
            latents_NKZ = latents_NKZ[np.arange(images), chosen_N][:, None]
            effective_N = np.asarray(particles.effective_number(log_weight_NK))
    keys_N = batched.example_keys(seed, max(images, 1))
    completed_NHWC, smallest_N = run.apply(
        models.complete,
        latents_NKZ,
        keys_N,
        *given,
        label_N=label_N,
        at_once=_AT_ONCE // latents_NKZ.shape[1],
    )
    method = "exact" if exact else "particles"
    return Completion(
        batched.to_uint8(completed_NHWC), method, effective_N if exact else smallest_N
    )


def _by_gibbs(run, images_NHWC, mask_NHW, seed, label_N, count) -> Completion:
    """Starts with the one of `count` samples of the model whose given pixels are the nearest, in
    squared error. The last step takes the mean of the pixels, where the model has one, as
    `TrainedRun.decode` does."""
    images, mask_NHWC = len(images_NHWC), mask_NHW[..., None]
    image_NHWC = images_NHWC / np.float32(255)
    told = None if label_N is None else np.repeat(label_N, count)
    start_NKHWC = run.sample(images * count, seed, label=told).reshape(
        images, count, *image_NHWC.shape[1:]
    ) / np.float32(255)
    error_NKHWC = (start_NKHWC - image_NHWC[:, None]) ** 2 * mask_NHWC[:, None]
    nearest_N = np.argmin(error_NKHWC.sum(axis=(2, 3, 4)), axis=1)
    image_NHWC = np.where(mask_NHWC, image_NHWC, start_NKHWC[np.arange(images), nearest_N])
    for step in range(GIBBS_STEPS):
        keys_N = batched.example_keys(seed, max(images, 1), stream=2 + step)
        last = step == GIBBS_STEPS - 1
        drawn_NHWC = run.apply(
            "reconstruct_random", image_NHWC, keys_N, label_N=label_N, take_mean=last
        )
        image_NHWC = np.where(mask_NHWC, image_NHWC, drawn_NHWC)
    return Completion(batched.to_uint8(image_NHWC), "pseudo-Gibbs", np.full(images, np.nan))

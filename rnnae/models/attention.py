"""DRAW's Gaussian attention: Gregor et al. (2015), section 3.2; equations by their numbers there.

A window is a grid of N x N filters over an image of H x W pixels, differentiable in its centre,
stride, variance and intensity. Pixels count from 1, as in the paper.
"""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp

PARAMETERS = 5  # numbers that make a window
_LOG_LIMIT = 8.0  # of the log-parameters: keeps every product of theirs finite


class Window(NamedTuple):
    """Arrays (B,), in pixels; `variance` is of each filter, `intensity` is gamma."""

    centre_x: jax.Array
    centre_y: jax.Array
    variance: jax.Array
    stride: jax.Array
    intensity: jax.Array


def window(raw_BP: jax.Array, height: int, width: int, size: int) -> Window:
    """The window of `size` x `size` filters that a layer's (B, 5) outputs mean."""
    x, y, log_variance, log_stride, log_intensity = jnp.moveaxis(raw_BP, -1, 0)  # (21)

    def positive(log):
        return jnp.exp(jnp.clip(log, -_LOG_LIMIT, _LOG_LIMIT))

    return Window(
        (width + 1) / 2 * (x + 1),  # (22)
        (height + 1) / 2 * (y + 1),  # (23)
        positive(log_variance),
        (max(height, width) - 1) / max(size - 1, 1) * positive(log_stride),  # (24)
        positive(log_intensity),
    )


def whole_image(height: int, width: int, size: int, writes: bool):
    """An initialiser of a layer's bias: a window whose filters tile the image, and one that
    `writes` puts a patch of ones on the canvas as about one.

    Not of the paper. From zero, a grid of 2 x 2 looks at the four corners, where digits have no
    ink, and learns nothing for hundreds of steps (MNIST: loss 208 after 600 steps, 178 from here).
    """
    side = max(height, width)
    stride = side / size
    log_stride = math.log(stride * max(size - 1, 1) / (side - 1))
    # Filters sum to one over pixels, so the peak of two is 1 / (2 pi variance); (29) divides.
    log_intensity = -math.log(2 * math.pi * (stride / 2) ** 2) if writes else 0.0
    values = (0.0, 0.0, 2 * math.log(stride / 2), log_stride, log_intensity)
    return lambda key, shape, dtype=jnp.float32: jnp.asarray(values, dtype)


def filters(centre_B: jax.Array, window: Window, size: int, pixels: int) -> jax.Array:
    """One axis of a window: (B, size, pixels), each row a Gaussian that sums to one."""
    offset = jnp.arange(size) - size / 2 + 0.5  # i - N / 2 - 0.5 for i from 1
    mean_BN = centre_B[:, None] + offset[None] * window.stride[:, None]  # (19), (20)
    mean_BN1 = mean_BN[..., None]
    # (25), (26), every exponential divided by that of the pixel nearest to the filter: the paper's
    # normalisation, also where a filter is so far outside the image that all of them are zero.
    pixel_11A = jnp.arange(1.0, pixels + 1)[None, None]
    nearest_BN1 = jax.lax.stop_gradient(jnp.clip(jnp.round(mean_BN1), 1, pixels))
    further_BNA = (pixel_11A - nearest_BN1) * (pixel_11A + nearest_BN1 - 2 * mean_BN1)
    weight_BNA = jnp.exp(-further_BNA / (2 * window.variance[:, None, None]))
    return weight_BNA / jnp.sum(weight_BNA, axis=-1, keepdims=True)


def banks(window: Window, height: int, width: int, size: int) -> tuple[jax.Array, jax.Array]:
    """(F_Y, F_X): (B, size, H) and (B, size, W)."""
    return (
        filters(window.centre_y, window, size, height),
        filters(window.centre_x, window, size, width),
    )


def read(x_BHWC: jax.Array, window: Window, size: int) -> jax.Array:
    """The patch under the window, (B, size, size, C): gamma F_Y x F_X^T (27)."""
    y_BNH, x_BNW = banks(window, *x_BHWC.shape[1:3], size)
    rows = jnp.einsum("bnh,bhwc->bnwc", y_BNH, x_BHWC)
    return window.intensity[:, None, None, None] * jnp.einsum("bmw,bnwc->bnmc", x_BNW, rows)


def write(patch_BNNC: jax.Array, window: Window, height: int, width: int) -> jax.Array:
    """The patch painted through the window, (B, H, W, C): F_Y^T w F_X / gamma (29)."""
    y_BNH, x_BNW = banks(window, height, width, patch_BNNC.shape[1])
    patch_BNNC = patch_BNNC / window.intensity[:, None, None, None]
    # The width first: the other way round the large product has to be transposed.
    rows = jnp.einsum("bmw,bnmc->bnwc", x_BNW, patch_BNNC)
    return jnp.einsum("bnh,bnwc->bhwc", y_BNH, rows)

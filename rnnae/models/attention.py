"""The Gaussian attention of DRAW: Gregor et al. (2015), section 3.2, with their equation numbers.

A window is a grid of N x N Gaussian filters over an image of H x W pixels. It is differentiable in
its centre, stride, variance and intensity. Pixels are counted from 1, as in the paper.
"""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp

from rnnae.nn.matmul import einsum_float32

WINDOW_PARAMETERS = 5
_LOG_LIMIT = 8.0  # limit of the log-parameters, so that all products of the parameters are finite


class Window(NamedTuple):
    """Arrays (B,), in pixels. `variance` is that of each filter, `intensity` is gamma."""

    centre_x: jax.Array
    centre_y: jax.Array
    variance: jax.Array
    stride: jax.Array
    intensity: jax.Array


def window(raw_BP: jax.Array, height: int, width: int, size: int) -> Window:
    """The window of `size` x `size` filters with the parameters raw_BP, (B, 5), the output of a
    layer."""
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


def whole_image_bias(height: int, width: int, size: int, writes: bool):
    """Initialiser of the bias of the layer that makes a window: its filters tile the whole image.
    If the window `writes`, a patch of ones adds about one to the canvas.

    This is not in the paper. A bias of zero puts a grid of 2 x 2 filters on the four corners, where
    digits have no ink. The model then learns nothing for hundreds of steps (MNIST: loss 208 after
    600 steps, 178 with this bias).
    """
    side = max(height, width)
    stride = side / size
    log_stride = math.log(stride * max(size - 1, 1) / (side - 1))
    # A filter sums to one over the pixels, so the peak of the product of two filters is
    # 1 / (2 pi variance). Equation (29) divides by the intensity.
    log_intensity = -math.log(2 * math.pi * (stride / 2) ** 2) if writes else 0.0
    values = (0.0, 0.0, 2 * math.log(stride / 2), log_stride, log_intensity)
    return lambda key, shape, dtype=jnp.float32: jnp.asarray(values, dtype)


def filters(centre_B: jax.Array, window: Window, size: int, pixels: int) -> jax.Array:
    """The filters of one axis: (B, size, pixels), each row a Gaussian that sums to one."""
    offset = jnp.arange(size) - size / 2 + 0.5  # i - N / 2 - 0.5 for i from 1
    mean_BN = centre_B[:, None] + offset[None] * window.stride[:, None]  # (19), (20)
    mean_BN1 = mean_BN[..., None]
    # (25), (26) with every exponential divided by that of the pixel nearest to the filter. After
    # normalisation the result is the same, and it is also correct if a filter is so far outside
    # the image that all its exponentials are zero.
    pixel_11A = jnp.arange(1.0, pixels + 1)[None, None]  # A is a pixel along the axis
    nearest_BN1 = jax.lax.stop_gradient(jnp.clip(jnp.round(mean_BN1), 1, pixels))
    distance_BNA = (pixel_11A - nearest_BN1) * (pixel_11A + nearest_BN1 - 2 * mean_BN1)
    weight_BNA = jnp.exp(-distance_BNA / (2 * window.variance[:, None, None]))
    return weight_BNA / jnp.sum(weight_BNA, axis=-1, keepdims=True)


def extent(window: Window, size: int) -> jax.Array:
    """Centre y, centre x, and the distance between the outermost filters, in pixels: (B, 3)."""
    return jnp.stack([window.centre_y, window.centre_x, (size - 1) * window.stride], axis=-1)


def whole_extent(height: int, width: int) -> jax.Array:
    """The same three numbers for a window that is the whole image."""
    return jnp.array([(height + 1) / 2, (width + 1) / 2, max(height, width) - 1.0])


def filter_banks(window: Window, height: int, width: int, size: int) -> tuple[jax.Array, jax.Array]:
    """(F_Y, F_X): (B, size, H) and (B, size, W)."""
    return (
        filters(window.centre_y, window, size, height),
        filters(window.centre_x, window, size, width),
    )


def read_patch(x_BHWC: jax.Array, window: Window, size: int) -> jax.Array:
    """The patch of the image under the window, (B, size, size, C): gamma F_Y x F_X^T (27)."""
    y_BNH, x_BNW = filter_banks(window, *x_BHWC.shape[1:3], size)
    rows = einsum_float32("bnh,bhwc->bnwc", y_BNH, x_BHWC)
    return window.intensity[:, None, None, None] * einsum_float32("bmw,bnwc->bnmc", x_BNW, rows)


def write_patch(patch_BNNC: jax.Array, window: Window, height: int, width: int) -> jax.Array:
    """The patch written through the window, (B, H, W, C): F_Y^T w F_X / gamma (29)."""
    y_BNH, x_BNW = filter_banks(window, height, width, patch_BNNC.shape[1])
    patch_BNNC = patch_BNNC / window.intensity[:, None, None, None]
    # The product over the width comes first: in the other order the large product needs a
    # transposition.
    rows = einsum_float32("bmw,bnmc->bnwc", x_BNW, patch_BNNC)
    return einsum_float32("bnh,bnwc->bhwc", y_BNH, rows)

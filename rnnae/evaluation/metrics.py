"""Image errors, per example and unreduced. Images are float (B, H, W, C) in [0, 1]."""

import dm_pix
import jax
import jax.numpy as jnp


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
    return dm_pix.ssim(x_BHWC, y_BHWC, filter_size=side - (side + 1) % 2)

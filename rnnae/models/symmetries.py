"""Scan orders of the sweep model: the eight symmetries of the square, applied to the image.

The decoder scans an image from the top row down, and each row from left to right. Scanning the
transposed, turned or mirrored image is another order of the same pixels, and so another
factorisation of the same distribution. Order 0 is the image as it is. With 4 orders, each of the
four sides comes first in one of them.
"""

import functools
import math

import jax
import jax.numpy as jnp

from rnnae import rng

# Transposed, then turned upside down, then mirrored left to right.
_SYMMETRIES = (
    (False, False, False),
    (True, False, False),
    (False, True, True),
    (True, True, True),
    (False, False, True),
    (True, False, True),
    (False, True, False),
    (True, True, False),
)
_STREAM = 0x6F72  # names the random numbers that choose an order


def random(key_B: jax.Array, orders: int) -> jax.Array:
    """A random one of the first `orders` orders for each key, (B,)."""
    if orders == 1:
        return jnp.zeros(key_B.shape[0], jnp.int32)
    key_B = rng.stream(key_B, _STREAM)
    return jax.vmap(lambda key: jax.random.randint(key, (), 0, orders))(key_B)


def in_each_order(
    z_BZ: jax.Array, x_BHWC: jax.Array, label_B: jax.Array | None, orders: int
) -> tuple[jax.Array, jax.Array, jax.Array | None, jax.Array]:
    """(latents, images, labels, orders) of all examples in order 0, then in order 1, and so on."""
    z_NZ, x_NHWC = jnp.tile(z_BZ, (orders, 1)), jnp.tile(x_BHWC, (orders, 1, 1, 1))
    label_N = None if label_B is None else jnp.tile(label_B, orders)
    return z_NZ, x_NHWC, label_N, jnp.repeat(jnp.arange(orders), z_BZ.shape[0])


def mixture(log_prob_BO: jax.Array) -> jax.Array:
    """log p of each image, (B,), from log p in each of its orders, (B, orders): the mean of their
    probabilities."""
    return jax.nn.logsumexp(log_prob_BO, axis=1) - math.log(log_prob_BO.shape[1])


def transform(x_BHWC: jax.Array, order_B: jax.Array, orders: int) -> jax.Array:
    """Each image as its order scans it, for the first `orders` orders."""
    return _by_order(transform_one, x_BHWC, order_B, orders)


def restore(x_BHWC: jax.Array, order_B: jax.Array, orders: int) -> jax.Array:
    """The inverse of `transform`."""
    return _by_order(_restore, x_BHWC, order_B, orders)


def _by_order(function, x_BHWC, order_B, orders):
    """`function(x_HWC, order)` of each image."""
    if orders == 1:
        return x_BHWC
    every = [functools.partial(function, order=order) for order in range(orders)]
    return jax.vmap(lambda x_HWC, order: jax.lax.switch(order, every, x_HWC))(x_BHWC, order_B)


def transform_one(x_HWC: jax.Array, order: int) -> jax.Array:
    """An image as `order` scans it. A numpy array stays one."""
    transposed, *flipped = _SYMMETRIES[order]
    x_HWC = x_HWC.swapaxes(0, 1) if transposed else x_HWC
    return x_HWC[tuple(slice(None, None, -1 if flip else None) for flip in flipped)]


def _restore(x_HWC: jax.Array, order: int) -> jax.Array:
    transposed, *flipped = _SYMMETRIES[order]
    x_HWC = jnp.flip(x_HWC, [axis for axis in (0, 1) if flipped[axis]])
    return x_HWC.swapaxes(0, 1) if transposed else x_HWC

"""Completion of images by a sweep model. The functions are methods for `Sweep.apply`."""

import jax
import jax.numpy as jnp

from rnnae.models import particles, symmetries
from rnnae.models.sweep import Sweep


def complete(
    model: Sweep,
    z_BKZ: jax.Array,
    key_B: jax.Array,
    x_BHWC: jax.Array,
    given_BHW: jax.Array,
    order_B: jax.Array,
    label_B: jax.Array | None = None,
) -> tuple[jax.Array, jax.Array]:
    """(x_BHWC, effective_B): images drawn given the pixels of x_BHWC where the mask is true, in the
    scan orders order_B, by K particles for each (`particles.py`).

    z_BKZ are the latents of the particles. The distribution is the right one in the limit of many
    particles. If the given tokens come before all others in their order, it is exact for any given
    latent, and one particle is enough. effective_B is the smallest effective number of particles.
    """
    batch, count = z_BKZ.shape[:2]

    def repeat(x_BX):
        return None if x_BX is None else jnp.repeat(x_BX, count, axis=0)

    order_N = repeat(order_B)
    known = model.known_tokens(repeat(x_BHWC), repeat(given_BHW), order_N)
    z_NZ, label_N = z_BKZ.reshape(batch * count, -1), repeat(label_B)
    if count == 1:
        _, x_BHWC, _ = model.sample_tokens(z_NZ, key_B, label_N, known, order_N)
        return x_BHWC, jnp.ones(batch)
    key_N = jax.vmap(lambda key: jax.random.split(key, count))(key_B).ravel()
    _, x_NHWC, state = model.sample_tokens(
        z_NZ,
        key_N,
        label_N,
        known,
        order_N,
        particles=particles.start(batch, count),
        resample_key_N=key_B,
    )
    return x_NHWC[particles.choose(state, key_B)], state.effective_N


def log_prob_of_given(
    model: Sweep,
    z_BZ: jax.Array,
    x_BHWC: jax.Array,
    given_BHW: jax.Array,
    order_B: jax.Array,
    label_B: jax.Array | None = None,
) -> jax.Array:
    """log p of the given blocks of pixels, each given all blocks before it in its order and the
    latent, (B,), nats. It is log p of the given pixels if they are whole tokens that come before
    all others."""
    params_BHWP, scanned_BHWC = model.scan(z_BZ, x_BHWC, label_B, order_B)
    given_BHWC = symmetries.transform(given_BHW[..., None], order_B, model.orders)
    block = model.likelihood.block
    log_prob_BHWC = model.likelihood.log_prob_by_block(params_BHWP, scanned_BHWC)
    log_prob_BHWC = jnp.where(given_BHWC[:, ::block, ::block], log_prob_BHWC, 0.0)
    return jnp.sum(log_prob_BHWC, axis=(1, 2, 3))

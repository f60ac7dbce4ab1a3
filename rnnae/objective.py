"""From the terms of each example to the loss, importance-weighted bounds, and bits. Pure maths.

Only this file turns terms into a loss or a bound, and only this file divides by log 2.
"""

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp

from rnnae.types import Terms


def per_example(terms: Terms) -> dict[str, jax.Array]:
    """The negative evidence lower bound of each example and its two parts, (B,), nats.

    Kingma & Welling (2014), equation 3: loss = -E[log p(x | z)] + KL(q(z | x) || p(z)). The KL of
    a deterministic latent is 0.
    """
    kl_B = jnp.sum(terms.kl_BTZ, axis=(1, 2))
    return {"loss": kl_B - terms.log_prob_B, "reconstruction": -terms.log_prob_B, "kl": kl_B}


def loss(
    terms: Terms, *, kl_weight: jax.Array | float, free_bits: float, mean_kl_TZ: jax.Array | float
) -> tuple[jax.Array, dict[str, jax.Array]]:
    """(training loss, means of the bound and its parts) over some examples of a batch, nats.

    loss = -E[log p(x | z)] + kl_weight * sum over j of max(free_bits, KL_j)

    KL_j is that of one step and latent dimension, averaged over the whole batch (Kingma et al.
    2016, equation 15). The examples here may be a part of the batch, so `mean_kl_TZ`, the average
    over the whole batch, decides whether KL_j is above the minimum.
    """
    means = {name: jnp.mean(value_B) for name, value_B in per_example(terms).items()}
    # Below the minimum the term is a constant, and has no gradient.
    kl_TZ = jnp.where(mean_kl_TZ >= free_bits, jnp.mean(terms.kl_BTZ, axis=0), free_bits)
    return means["reconstruction"] + kl_weight * jnp.sum(kl_TZ), means


def kl_weight(step: jax.Array, *, beta: float, anneal_steps: int) -> jax.Array:
    """`beta` (Higgins et al. 2017), reached linearly over `anneal_steps` (Bowman et al. 2016)."""
    return beta * jnp.minimum(1.0, (step + 1) / max(anneal_steps, 1))


def add_importance_weights(
    total_B: jax.Array, log_weight: Callable[[jax.Array], jax.Array], ks: jax.Array, samples: int
) -> jax.Array:
    """log-sum-exp of `total_B` and of log_weight(k) for every k of `ks` below `samples`.

    Let log_weight(k) be log p(x, z_k) - log q(z_k | x). Start with a total of -inf and add all
    k < K: the result minus log K is the estimate L_K of log p(x) by Burda et al. (2016), equation
    8. Samples are added one at a time, so memory does not grow with K.
    """

    def add(total_B, k):
        log_weight_B = jnp.where(k < samples, log_weight(k), -jnp.inf)
        return jnp.logaddexp(total_B, log_weight_B), None

    return jax.lax.scan(add, total_B, ks)[0]


def mutual_information(log_posterior: Callable[[jax.Array], jax.Array], images: int) -> jax.Array:
    """I(x; z) under q(z | x) and the empirical p(x), nats (Hoffman & Johnson 2016).

    It is E[log q(z_i | x_i) - log(1/S sum over j of q(z_i | x_j))] over S = `images` images, and so
    at most log S. `log_posterior(s)` is log q(z_i | x_(i + s)) for every i, (S,).
    """

    def add(total_S, shift):
        return jnp.logaddexp(total_S, log_posterior(shift)), None

    own_S = log_posterior(jnp.zeros((), jnp.int32))
    total_S, _ = jax.lax.scan(add, own_S, jnp.arange(1, images))
    return jnp.mean(own_S - total_S) + math.log(images)


def bits_per_dim(nats: float, dimensions: int) -> float:
    """Nats of an image with that many values (height * width * channels), as bits per value."""
    return nats / (dimensions * math.log(2))

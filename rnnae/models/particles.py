"""Sequential Monte Carlo: particles that are weighted and resampled, for completing images.

Each of N images has K particles, B = N K of them in all, those of an image side by side. A particle
is a partial image that grows row by row. A given token multiplies its weight by the probability
that the particle gives to it. After each row of tokens, the particles of an image are resampled in
proportion to their weights if their effective number is at most K / 2 (Doucet & Johansen 2009,
section 3.5; the effective number is that of Kong et al. 1994).
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from rnnae import rng

# Names of the random numbers that resample after a row, and of those that choose a particle.
_RESAMPLE, _CHOOSE = 0x736D63, 0x736D64


class Particles(NamedTuple):
    """The state of all particles between two rows."""

    first_B: jax.Array  # the particle of the first row that each descends from
    log_weight_NK: jax.Array
    effective_N: jax.Array  # the smallest effective number so far, from 1 to K


def start(images: int, particles: int) -> Particles:
    """Particles of equal weight."""
    shape = images, particles
    return Particles(
        jnp.arange(images * particles), jnp.zeros(shape), jnp.full(images, float(particles))
    )


def reweigh(
    state: Particles, log_prob_B: jax.Array, key_N: jax.Array, row: jax.Array
) -> tuple[Particles, jax.Array]:
    """(particles, parent_B): the particles after their weights are multiplied by the probabilities,
    and after images whose effective number is small are resampled. Particle b continues the
    particle parent_B[b]. The key of an image is used with the number of the row."""
    images, count = state.log_weight_NK.shape
    log_weight_NK = state.log_weight_NK + log_prob_B.reshape(images, count)
    effective_N = effective_number(log_weight_NK)
    small_N1 = (effective_N <= count / 2)[:, None]
    offset_N = jax.vmap(jax.random.uniform)(rng.stream(rng.stream(key_N, _RESAMPLE), row))
    same_1K, first_N1 = jnp.arange(count)[None], count * jnp.arange(images)[:, None]
    parent_NK = jnp.where(small_N1, _systematic(log_weight_NK, offset_N), same_1K)
    parent_B = (first_N1 + parent_NK).ravel()
    after = Particles(
        state.first_B[parent_B],
        jnp.where(small_N1, 0.0, log_weight_NK),
        jnp.minimum(state.effective_N, effective_N),
    )
    return after, parent_B


def effective_number(log_weight_NK: jax.Array) -> jax.Array:
    """1 / (the sum of squared normalised weights), (N,): K for equal weights, 1 for one particle
    that has all the weight (Kong et al. 1994)."""
    return 1 / jnp.sum(jax.nn.softmax(log_weight_NK) ** 2, axis=1)


def _systematic(log_weight_NK: jax.Array, offset_N: jax.Array) -> jax.Array:
    """Systematic resampling (Kitagawa 1996): parents of K equally spaced points, whose common
    offset is from 0 to 1."""
    count = log_weight_NK.shape[1]
    upper_NK = jnp.cumsum(jax.nn.softmax(log_weight_NK), axis=1)
    point_NK = (jnp.arange(count)[None] + offset_N[:, None]) / count * upper_NK[:, -1:]
    parent_NK = jax.vmap(lambda upper, point: jnp.searchsorted(upper, point, side="right"))(
        upper_NK, point_NK
    )
    return jnp.minimum(parent_NK, count - 1)


def trace_back(parent_RB: jax.Array) -> jax.Array:
    """(R, B): the particle in each row that each particle after the last row descends from, given
    the parents by which the particles were replaced after each row."""

    def step(descendant_B, parent_B):
        ancestor_B = parent_B[descendant_B]
        return ancestor_B, ancestor_B

    return jax.lax.scan(step, jnp.arange(parent_RB.shape[1]), parent_RB, reverse=True)[1]


def choose(state: Particles, key_N: jax.Array) -> jax.Array:
    """One particle of each image, drawn in proportion to the weights, (N,), as an index in B."""
    images, count = state.log_weight_NK.shape
    key_N = rng.stream(key_N, _CHOOSE)
    return count * jnp.arange(images) + jax.vmap(jax.random.categorical)(key_N, state.log_weight_NK)

"""Posteriors, and what every latent promises."""

from collections.abc import Callable
from typing import ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from rnnae.errors import ConfigError
from rnnae.nn.cells import dense_2d
from rnnae.nn.recurrence import Stack

LOG_2PI = float(np.log(2 * np.pi))


class Normal(NamedTuple):
    """A diagonal Gaussian; `log_scale` is the logarithm of the standard deviation."""

    mean: jax.Array
    log_scale: jax.Array

    @classmethod
    def of(cls, raw: jax.Array) -> "Normal":
        """From the (..., 2 Z) outputs of a layer; scales stay within e^-7 and e^7."""
        return cls(0.0, 0.0).plus(raw)

    def plus(self, raw: jax.Array) -> "Normal":
        """With the (..., 2 Z) outputs of a layer added to mean and log_scale, likewise."""
        mean, log_scale = jnp.split(raw, 2, axis=-1)
        return Normal(self.mean + mean, jnp.clip(self.log_scale + log_scale, -7.0, 7.0))

    def at(self, noise: jax.Array) -> jax.Array:
        """mean + scale * noise (Kingma & Welling 2014, section 2.4)."""
        return self.mean + jnp.exp(self.log_scale) * noise

    def log_prob(self, z: jax.Array) -> jax.Array:
        """log N(z) of each dimension, nats."""
        white = (z - self.mean) * jnp.exp(-self.log_scale)
        return -0.5 * (white**2 + LOG_2PI) - self.log_scale

    def kl(self, prior: "Normal") -> jax.Array:
        """KL(self || prior) of each dimension, nats."""
        ratio = self.log_scale - prior.log_scale
        white = (self.mean - prior.mean) * jnp.exp(-prior.log_scale)
        return 0.5 * (jnp.exp(2 * ratio) + white**2 - 1) - ratio


STANDARD = Normal(0.0, 0.0)
INFERENCES = ("diagonal", "autoregressive")


def normals(key_B: jax.Array, *shape: int) -> jax.Array:
    """Standard normal noise (B, *shape), example i by key i alone."""
    return jax.vmap(lambda key: jax.random.normal(key, shape))(key_B)


class Latent(nn.Module):
    """Interface of a prior, with the Gaussian posteriors that all but `Deterministic` have:
    `diagonal`, q(z | x) = N(z; mean, scale); or `autoregressive`, the product over chunks of
    N(z_t | z_<t, x), whose LSTM adds to mean and logarithm of the scale what the chunks before say
    (as the inverse autoregressive flow of Kingma et al. 2016, with a recurrence for its network).

    A prior says what z costs: `weigh(q, z_BZ, read)` -> (kl_BTZ, log p(z)_B), where q is the
    posterior, as Normal, of every chunk given those of z_BZ before it, and kl_BTZ is None where
    there is no closed form: then it is that of the draw.
    """

    size: int  # Z
    components: int  # Gaussians of a mixture prior
    chunk: int  # dimensions that an autoregressive prior or posterior writes at a time
    width: int  # D of an autoregressive prior's or posterior's LSTM
    inference: str

    variational: ClassVar[bool] = True

    def setup(self):
        self.head = nn.Dense(2 * self.size)
        if self.inference == "autoregressive":
            self.check_chunk()
            self.posterior_stack = Stack("lstm", self.width)
            # It starts as the diagonal one.
            self.posterior_more = nn.Dense(2 * self.chunk, kernel_init=nn.initializers.zeros)
        self.setup_prior()

    def setup_prior(self) -> None:
        """The parameters of the prior; none here."""

    def weigh(self, q: Normal, z_BZ: jax.Array, read: Callable):
        raise NotImplementedError

    def prior(self, key_B: jax.Array, read: Callable) -> jax.Array:
        raise NotImplementedError

    def posterior(self, features_BD: jax.Array) -> Normal:
        """What of q(z | x) does not depend on z: all of a diagonal one."""
        return Normal.of(self.head(features_BD))

    def mean(self, posterior: Normal) -> jax.Array:
        """z_BZ with every chunk at its mean given those before it."""
        if self.inference == "diagonal":
            return posterior.mean
        return self._at(posterior, jnp.zeros_like(posterior.mean))

    def draw(self, posterior: Normal, key_B: jax.Array) -> jax.Array:
        return self._at(posterior, normals(key_B, self.size))

    def given(self, posterior: Normal, z_BZ: jax.Array) -> Normal:
        """q(z | x), of every chunk given the chunks of z_BZ before it."""
        if self.inference == "diagonal":
            return posterior
        z_TBZ, base = self.chunks(z_BZ), Normal(*map(self.chunks, posterior))
        shifted_TBZ = jnp.concatenate([jnp.zeros_like(z_TBZ[:1]), z_TBZ[:-1]])
        _, h_TBD = self.posterior_stack(jnp.concatenate([shifted_TBZ, *base], axis=-1))
        return Normal(*map(self.whole, base.plus(dense_2d(self.posterior_more, h_TBD))))

    def log_posterior(self, posterior: Normal, z_BZ: jax.Array) -> jax.Array:
        return jnp.sum(self.given(posterior, z_BZ).log_prob(z_BZ), axis=-1)

    def price(self, posterior: Normal, z_BZ: jax.Array, read: Callable):
        q = self.given(posterior, z_BZ)
        kl_BTZ, log_prior_B = self.weigh(q, z_BZ, read)
        log_ratio_B = log_prior_B - jnp.sum(q.log_prob(z_BZ), axis=-1)
        return -log_ratio_B[:, None, None] if kl_BTZ is None else kl_BTZ, log_ratio_B

    def _at(self, posterior: Normal, noise_BZ: jax.Array) -> jax.Array:
        if self.inference == "diagonal":
            return posterior.at(noise_BZ)

        def step(latent, carry, inputs):
            (carries, previous_BZ), (base, noise_BZ) = carry, inputs
            inputs_BI = jnp.concatenate([previous_BZ, *base], axis=-1)
            carries, h_BD = latent.posterior_stack.step(carries, inputs_BI)
            z_BZ = base.plus(latent.posterior_more(h_BD)).at(noise_BZ)
            return (carries, z_BZ), z_BZ

        base, noise_TBZ = Normal(*map(self.chunks, posterior)), self.chunks(noise_BZ)
        return self.one_by_one(step, self.posterior_stack, (base, noise_TBZ))

    def one_by_one(self, step: Callable, stack: Stack, inputs_TBX) -> jax.Array:
        """z_BZ by `step`, which draws a chunk from the state of `stack` and the chunk before."""
        batch = jax.tree.leaves(inputs_TBX)[0].shape[1]
        start = (stack.zero_carries(batch), jnp.zeros((batch, self.chunk)))
        scan = nn.scan(step, variable_broadcast="params", split_rngs={"params": False})
        return self.whole(scan(self, start, inputs_TBX)[1])

    def check_chunk(self) -> None:
        """ConfigError unless the code is whole chunks."""
        if self.size % self.chunk:
            raise ConfigError(
                f"config.latent.chunk={self.chunk} does not divide config.latent.size={self.size}"
            )

    def chunks(self, z_BZ: jax.Array) -> jax.Array:
        """(B, Z) -> (chunks, B, Z / chunks)."""
        return z_BZ.reshape(z_BZ.shape[0], -1, self.chunk).swapaxes(0, 1)

    def whole(self, z_TBZ: jax.Array) -> jax.Array:
        """The inverse of `chunks`."""
        return z_TBZ.swapaxes(0, 1).reshape(z_TBZ.shape[1], -1)

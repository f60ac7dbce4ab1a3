"""Gaussian posteriors, and the interface of all latents."""

import dataclasses
from collections.abc import Callable
from typing import ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from rnnae.errors import ConfigError
from rnnae.nn.matmul import Dense
from rnnae.nn.recurrence import Stack

LOG_2PI = float(np.log(2 * np.pi))


class Normal(NamedTuple):
    """A diagonal Gaussian. `log_scale` is the logarithm of the standard deviation."""

    mean: jax.Array
    log_scale: jax.Array

    @classmethod
    def from_raw(cls, raw: jax.Array) -> "Normal":
        """The Gaussian whose mean and log_scale are the two halves of raw, (..., 2 Z), the output
        of a layer. log_scale is clipped to [-7, 7]."""
        return cls(0.0, 0.0).add_raw(raw)

    def add_raw(self, raw: jax.Array) -> "Normal":
        """The Gaussian with the two halves of raw, (..., 2 Z), added to its mean and log_scale.
        log_scale is clipped to [-7, 7]."""
        mean, log_scale = jnp.split(raw, 2, axis=-1)
        return Normal(self.mean + mean, jnp.clip(self.log_scale + log_scale, -7.0, 7.0))

    def reparameterize(self, noise: jax.Array) -> jax.Array:
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


STANDARD_NORMAL = Normal(0.0, 0.0)


def normal_noise(key_B: jax.Array, *shape: int) -> jax.Array:
    """Standard normal noise (B, *shape). Example i depends on key i alone."""
    return jax.vmap(lambda key: jax.random.normal(key, shape))(key_B)


class Latent(nn.Module):
    """Interface of a latent, with Gaussian posteriors.

    The posterior is `diagonal`, q(z | x) = N(z; mean, scale); or `autoregressive`, a product over
    chunks of N(z_t | z_<t, x). In the second, an LSTM over the chunks adds to mean and log_scale
    what the previous chunks imply. The density of all chunks is computed at once, and a sample
    chunk by chunk. In an inverse autoregressive flow (Kingma et al. 2016) it is the reverse.

    A subclass adds a prior: it implements `kl_and_log_prior` and `sample_prior`. `Deterministic`
    and `NoLatent` have no prior, and override the posterior too.
    """

    size: int  # Z
    components: int  # Gaussians of a mixture prior
    chunk: int  # dimensions in one step of an autoregressive prior or posterior
    width: int  # D of the LSTM of an autoregressive prior or posterior
    posterior_family: str  # diagonal, autoregressive
    matmul_dtype: jnp.dtype = dataclasses.field(default=jnp.float32, kw_only=True)

    variational: ClassVar[bool] = True  # whether it has a prior
    options: ClassVar[tuple[str, ...]] = ("size",)  # keys of config.latent that the prior uses

    def setup(self):
        self.head = self.dense(2 * self.size)
        if self.posterior_family == "autoregressive":
            self.check_chunk()
            self.posterior_stack = Stack("lstm", self.width, matmul_dtype=self.matmul_dtype)
            # A kernel of zeros: the posterior starts as the diagonal one.
            # Explicit names of submodules are the parameter names in saved checkpoints.
            self.posterior_correction = self.dense(
                2 * self.chunk, kernel_init=nn.initializers.zeros, name="posterior_more"
            )
        self.setup_prior()

    def setup_prior(self) -> None:
        """Creates the parameters of the prior, if it has any."""

    def kl_and_log_prior(self, q: Normal, z_BZ: jax.Array, encode_features: Callable):
        """(kl_BTZ, log p(z)_B), nats. q is the posterior of every chunk of z_BZ given the chunks
        before it. kl_BTZ is None if there is no closed form."""
        raise NotImplementedError

    def sample_prior(
        self, key_B: jax.Array, encode_features: Callable, temperature: float = 1.0
    ) -> jax.Array:
        """z_BZ. `temperature` multiplies the standard deviation of its Gaussian noise (Vahdat &
        Kautz 2020, NVAE). With another one than 1, z_BZ is not a sample of p(z)."""
        raise NotImplementedError

    def posterior(self, features_BD: jax.Array) -> Normal:
        """The part of q(z | x) that does not depend on z: all of it for a diagonal posterior."""
        return Normal.from_raw(self.head(features_BD))

    def mean(self, posterior: Normal) -> jax.Array:
        """z_BZ in which every chunk is the mean of its posterior given the chunks before it."""
        if self.posterior_family == "diagonal":
            return posterior.mean
        return self._reparameterize(posterior, jnp.zeros_like(posterior.mean))

    def sample_posterior(self, posterior: Normal, key_B: jax.Array) -> jax.Array:
        return self._reparameterize(posterior, normal_noise(key_B, self.size))

    def conditional_posterior(self, posterior: Normal, z_BZ: jax.Array) -> Normal:
        """q(z_t | z_<t, x) for every chunk t of z_BZ, all chunks at once."""
        if self.posterior_family == "diagonal":
            return posterior
        z_TBZ, base = self.split_chunks(z_BZ), Normal(*map(self.split_chunks, posterior))
        shifted_TBZ = jnp.concatenate([jnp.zeros_like(z_TBZ[:1]), z_TBZ[:-1]])
        _, h_TBD = self.posterior_stack(jnp.concatenate([shifted_TBZ, *base], axis=-1))
        return Normal(*map(self.join_chunks, base.add_raw(self.posterior_correction(h_TBD))))

    def log_posterior(self, posterior: Normal, z_BZ: jax.Array) -> jax.Array:
        """log q(z | x), (B,), nats."""
        return jnp.sum(self.conditional_posterior(posterior, z_BZ).log_prob(z_BZ), axis=-1)

    def kl_and_log_ratio(self, posterior: Normal, z_BZ: jax.Array, encode_features: Callable):
        """(kl_BTZ, log p(z) - log q(z | x)), nats. Without a closed form, the KL is the negative
        log ratio of this z."""
        q = self.conditional_posterior(posterior, z_BZ)
        kl_BTZ, log_prior_B = self.kl_and_log_prior(q, z_BZ, encode_features)
        log_ratio_B = log_prior_B - jnp.sum(q.log_prob(z_BZ), axis=-1)
        return -log_ratio_B[:, None, None] if kl_BTZ is None else kl_BTZ, log_ratio_B

    def _reparameterize(self, posterior: Normal, noise_BZ: jax.Array) -> jax.Array:
        if self.posterior_family == "diagonal":
            return posterior.reparameterize(noise_BZ)

        def step(latent, carry, inputs):
            (carries, previous_BZ), (base, noise_BZ) = carry, inputs
            inputs_BI = jnp.concatenate([previous_BZ, *base], axis=-1)
            carries, h_BD = latent.posterior_stack.step(carries, inputs_BI)
            z_BZ = base.add_raw(latent.posterior_correction(h_BD)).reparameterize(noise_BZ)
            return (carries, z_BZ), z_BZ

        base, noise_TBZ = Normal(*map(self.split_chunks, posterior)), self.split_chunks(noise_BZ)
        return self.scan_chunks(step, self.posterior_stack, (base, noise_TBZ))

    def scan_chunks(self, step: Callable, stack: Stack, inputs_TBX) -> jax.Array:
        """z_BZ, chunk by chunk. `step(latent, (carries, previous chunk), inputs)` returns the new
        carries of `stack` with the next chunk, and that chunk."""
        batch = jax.tree.leaves(inputs_TBX)[0].shape[1]
        start = (stack.zero_carries(batch), jnp.zeros((batch, self.chunk)))
        scan = nn.scan(step, variable_broadcast="params", split_rngs={"params": False})
        return self.join_chunks(scan(self, start, inputs_TBX)[1])

    @nn.nowrap
    def dense(self, features: int, **kwargs) -> Dense:
        return Dense(features, matmul_dtype=self.matmul_dtype, **kwargs)

    def check_chunk(self) -> None:
        """ConfigError unless `chunk` divides `size`."""
        if self.size % self.chunk:
            raise ConfigError(
                f"config.latent.chunk={self.chunk} does not divide config.latent.size={self.size}"
            )

    def split_chunks(self, z_BZ: jax.Array) -> jax.Array:
        """(B, Z) -> (T, B, Z / T) with T chunks."""
        return z_BZ.reshape(z_BZ.shape[0], -1, self.chunk).swapaxes(0, 1)

    def join_chunks(self, z_TBZ: jax.Array) -> jax.Array:
        """The inverse of `split_chunks`."""
        return z_TBZ.swapaxes(0, 1).reshape(z_TBZ.shape[1], -1)

"""The interface of all models, implemented for models that sample their whole latent in one step.

A model is an `nn.Module` over images x_BHWC in [0, 1] of `image_shape` (H, W, C). Randomness enters
as one key for each example. So a result does not depend on the rest of the batch or on the number
of devices.
"""

import dataclasses
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from flax import linen as nn

from rnnae.latents import Latent
from rnnae.likelihoods import Likelihood
from rnnae.types import Terms


class Autoencoder(nn.Module):
    """A subclass implements `encode_features`, `decode_teacher_forced` and `decode_free_running`.
    A model that samples its latent in several steps also overrides the other methods.

    A subclass has a field `options` of its class variable `Options`, a frozen dataclass whose
    fields are the keys of `config.model`.
    """

    image_shape: tuple[int, int, int]
    likelihood: Likelihood
    latent: Latent
    matmul_dtype: jnp.dtype = dataclasses.field(default=jnp.float32, kw_only=True)

    Options: ClassVar[type]
    needs_latent: ClassVar[bool] = True  # False: it can model images without a latent
    generative: ClassVar[bool] = True  # False: a classifier, which makes no images
    # What the model can do beyond this interface:
    #   "complete": it has `complete(z_BZ, key_B, x_BHWC, rows)`, `log_prob_of_rows(z_BZ, x_BHWC,
    #       rows)` and `token_height`, the number of pixel rows in one row of tokens.
    #   "frames": it has `frames(z_BZ)`.
    capabilities: ClassVar[frozenset[str]] = frozenset()

    def encode_features(self, x_BHWC: jax.Array) -> jax.Array:
        """The encoder up to its latent: features_BD."""
        raise NotImplementedError

    def decode_teacher_forced(self, z_BZ: jax.Array, x_BHWC: jax.Array) -> jax.Array:
        """Likelihood parameters params_BHWP of x_BHWC given the latent, as in training. An
        autoregressive decoder reads the true pixels of x_BHWC as its previous outputs."""
        raise NotImplementedError

    def decode_free_running(self, z_BZ: jax.Array, key_B: jax.Array) -> jax.Array:
        """Likelihood parameters params_BHWP given the latent alone. An autoregressive decoder reads
        its own previous outputs, which `key_B` makes random if they are sampled."""
        raise NotImplementedError

    @property
    def latent_dimensions(self) -> int:
        """Z, the number of dimensions of the whole latent z_BZ."""
        return self.latent.size

    @property
    def has_prior(self) -> bool:
        """Whether `sample_prior` works. A latent without dimensions counts as having a prior."""
        return self.latent.variational or not self.latent_dimensions

    @property
    def has_mean(self) -> bool:
        """Whether `decode_mean` works. An autoregressive decoder that reads its own samples has no
        closed form for the mean of p(x | z)."""
        return True

    def __call__(self, x_BHWC: jax.Array, key_B: jax.Array) -> Terms:
        """The terms of the objective at one sample of each example's latent."""
        return self.terms(self.posterior(x_BHWC), x_BHWC, key_B)

    def posterior(self, x_BHWC: jax.Array) -> Any:
        """The part of q(z | x) that does not depend on the sample of z; arrays (B, ...)."""
        return self.latent.posterior(self.encode_features(x_BHWC))

    def terms(self, posterior: Any, x_BHWC: jax.Array, key_B: jax.Array) -> Terms:
        """The terms of the objective, given `posterior(x_BHWC)`. With it, many samples of z for the
        same images need the encoder once."""
        z_BZ = self.latent.sample_posterior(posterior, key_B)
        kl_BTZ, log_ratio_B = self.latent.kl_and_log_ratio(posterior, z_BZ, self.encode_features)
        log_prob_B = self.likelihood.log_prob(self.decode_teacher_forced(z_BZ, x_BHWC), x_BHWC)
        return Terms(log_prob_B, kl_BTZ, log_ratio_B)

    def encode(self, x_BHWC: jax.Array) -> jax.Array:
        """z_BZ without randomness: the mean of the posterior."""
        return self.latent.mean(self.posterior(x_BHWC))

    def sample_posterior(self, posterior: Any, key_B: jax.Array) -> jax.Array:
        """A sample z_BZ of q(z | x)."""
        return self.latent.sample_posterior(posterior, key_B)

    def log_posterior(self, posterior: Any, z_BZ: jax.Array) -> jax.Array:
        """log q(z | x) of given latents, (B,), nats."""
        return self.latent.log_posterior(posterior, z_BZ)

    def sample_prior(self, key_B: jax.Array) -> jax.Array:
        """A sample z_BZ of p(z); see `has_prior`."""
        return self.latent.sample_prior(key_B, self.encode_features)

    def decode_mean(self, z_BZ: jax.Array, key_B: jax.Array) -> jax.Array:
        """The mean image x_BHWC of p(x | z); see `has_mean`. `key_B` is not used by a model that
        has a mean; it is there so that this method and `decode_sample` are called alike."""
        if not self.has_mean:
            raise NotImplementedError(f"{type(self).__name__} has no closed form for its mean")
        return self.likelihood.mean(self.decode_free_running(z_BZ, key_B))

    def decode_sample(self, z_BZ: jax.Array, key_B: jax.Array) -> jax.Array:
        """An image x_BHWC sampled from p(x | z)."""
        return self.likelihood.sample(self.decode_free_running(z_BZ, key_B), key_B)

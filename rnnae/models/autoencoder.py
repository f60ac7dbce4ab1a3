"""What every model promises, and how one whose code is drawn at once does it.

A model is an `nn.Module` over images in [0, 1] of `image_shape` (H, W, C). Randomness comes in as
one key for each example, so that neither the batch nor the number of devices shows in a result.
"""

from typing import Any, ClassVar

import jax
from flax import linen as nn

from rnnae.latents import Latent
from rnnae.likelihoods import Likelihood
from rnnae.types import Terms


class Autoencoder(nn.Module):
    """`read` and `write` make a model; one that draws its code in steps overrides the rest too."""

    image_shape: tuple[int, int, int]
    pixels: Likelihood
    latent: Latent

    needs_code: ClassVar[bool] = True  # False: it can be a likelihood model without a code

    def read(self, x_BHWC: jax.Array) -> jax.Array:
        """The encoder before its latent: features_BD."""
        raise NotImplementedError

    def write(self, z_BZ: jax.Array, x_BHWC: jax.Array) -> jax.Array:
        """The decoder in training, params_BHWP; x_BHWC is what it may be fed of its own output."""
        raise NotImplementedError

    def run_free(self, z_BZ: jax.Array, key_B: jax.Array) -> jax.Array:
        """The decoder on its own, params_BHWP."""
        raise NotImplementedError

    @property
    def code_size(self) -> int:
        """Z, numbers in a code."""
        return self.latent.size

    @property
    def has_prior(self) -> bool:
        """Whether `prior` gives codes; a code of no numbers is its own."""
        return self.latent.variational or not self.code_size

    def __call__(self, x_BHWC: jax.Array, key_B: jax.Array) -> Terms:
        """The terms of the objective at one draw of each example's code."""
        return self.terms(self.infer(x_BHWC), x_BHWC, key_B)

    def infer(self, x_BHWC: jax.Array) -> Any:
        """What of the posterior q(z | x) does not depend on the draw."""
        return self.latent.posterior(self.read(x_BHWC))

    def terms(self, posterior: Any, x_BHWC: jax.Array, key_B: jax.Array) -> Terms:
        """`__call__` behind `infer`: for many draws of the same images."""
        z_BZ = self.latent.draw(posterior, key_B)
        kl_BTZ, log_ratio_B = self.latent.price(posterior, z_BZ, self.read)
        log_prob_B = self.pixels.log_prob(self.write(z_BZ, x_BHWC), x_BHWC)
        return Terms(log_prob_B, kl_BTZ, log_ratio_B)

    def encode(self, x_BHWC: jax.Array) -> jax.Array:
        """The mean code z_BZ."""
        return self.latent.mean(self.infer(x_BHWC))

    def draw(self, posterior: Any, key_B: jax.Array) -> jax.Array:
        """A code z_BZ from the posterior."""
        return self.latent.draw(posterior, key_B)

    def log_posterior(self, posterior: Any, z_BZ: jax.Array) -> jax.Array:
        """log q(z | x) of given codes, (B,), nats."""
        return self.latent.log_posterior(posterior, z_BZ)

    def decode(self, z_BZ: jax.Array, key_B: jax.Array) -> jax.Array:
        """The mean image x_BHWC of codes; a decoder fed its own output runs free."""
        return self.pixels.mean(self.run_free(z_BZ, key_B))

    def prior(self, key_B: jax.Array) -> jax.Array:
        """New codes z_BZ from the prior; see `has_prior`."""
        return self.latent.prior(key_B, self.read)

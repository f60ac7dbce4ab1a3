"""A plain multi-layer perceptron autoencoder: the baseline row of tables, and nothing more."""

import math

import jax
from flax import linen as nn

from rnnae.latents import latent
from rnnae.likelihoods import Likelihood, likelihood
from rnnae.types import Terms


class MLP(nn.Module):
    """Flattened image -> `widths` with ReLU -> code -> `widths` reversed -> image."""

    image_shape: tuple[int, int, int]
    widths: tuple[int, ...]
    latent: str
    latent_size: int
    likelihood: str

    def setup(self):
        self.pixels: Likelihood = likelihood(self.likelihood)
        self.encoder = [nn.Dense(width) for width in self.widths]
        self.code = latent(self.latent, self.latent_size)
        self.decoder = [nn.Dense(width) for width in reversed(self.widths)]
        self.head = nn.Dense(math.prod(self.image_shape) * self.pixels.parameters)

    def __call__(self, x_BHWC: jax.Array) -> Terms:
        """Images in [0, 1] -> terms of the objective, per example."""
        z_BZ, kl_B = self._code(x_BHWC)
        return Terms(self.pixels.log_prob(self._params(z_BZ), x_BHWC), kl_B)

    def encode(self, x_BHWC: jax.Array) -> jax.Array:
        """x_BHWC -> z_BZ."""
        return self._code(x_BHWC)[0]

    def decode(self, z_BZ: jax.Array, key: jax.Array) -> jax.Array:
        """z_BZ -> the mean image, (B, H, W, C); `key` is unused."""
        del key
        return self.pixels.mean(self._params(z_BZ))

    def _code(self, x_BHWC):
        h_BD = x_BHWC.reshape(x_BHWC.shape[0], -1)
        for layer in self.encoder:
            h_BD = nn.relu(layer(h_BD))
        return self.code(h_BD)

    def _params(self, z_BZ):
        h_BD = z_BZ
        for layer in self.decoder:
            h_BD = nn.relu(layer(h_BD))
        return self.head(h_BD).reshape(z_BZ.shape[0], *self.image_shape[:2], -1)

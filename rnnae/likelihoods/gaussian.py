"""Densities of real-valued pixels."""

import dataclasses
from typing import ClassVar

import jax
import numpy as np

from rnnae.likelihoods.likelihood import Likelihood


@dataclasses.dataclass(frozen=True)
class Gaussian(Likelihood):
    """N(sigmoid(params), sigma^2) for each value: squared error / (2 sigma^2) plus a constant.

    It is a density over real values, so its nats are comparable only between models with the same
    sigma. At sigma^2 = 1/2 the loss is the squared error plus log(pi) / 2 for each value.
    """

    discrete: ClassVar[bool] = False
    sigma: float = 0.5**0.5

    @property
    def parameters(self):
        return self.channels

    def log_prob_by_block(self, params_BHWP, x_BHWC):
        error_BHWC = (x_BHWC - self.mean(params_BHWP)) / self.sigma
        constant = 0.5 * np.log(2 * np.pi * self.sigma**2)
        return -(0.5 * error_BHWC**2 + constant)

    def error_text(self, nats, dimensions):
        error = self.sigma**2 * (2 * nats / dimensions - np.log(2 * np.pi * self.sigma**2))
        return f"MSE {error:.5f}"

    def mean(self, params_BHWP):
        return jax.nn.sigmoid(params_BHWP)

    def sample(self, params_BHWP, key_B):
        mean_BHWC = self.mean(params_BHWP)
        noise = jax.vmap(lambda key: jax.random.normal(key, mean_BHWC.shape[1:]))(key_B)
        return mean_BHWC + self.sigma * noise

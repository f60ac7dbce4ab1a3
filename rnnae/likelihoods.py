"""Likelihoods: p(image | parameters), one interface for every kind of pixel.

`x_BHWC` is an image in [0, 1]; `params_BHWP` holds `parameters` values for each of its channels.
To add one, subclass `Likelihood` and add its line to `LIKELIHOODS`.
"""

from typing import ClassVar

import jax
import jax.numpy as jnp

from rnnae.errors import ConfigError


class Likelihood:
    """Interface. `log_prob_B` sums over pixels and channels, in nats."""

    parameters: ClassVar[int]  # values for each channel of each pixel

    def log_prob(self, params_BHWP: jax.Array, x_BHWC: jax.Array) -> jax.Array:
        raise NotImplementedError

    def mean(self, params_BHWP: jax.Array) -> jax.Array:
        raise NotImplementedError

    def sample(self, params_BHWP: jax.Array, key: jax.Array) -> jax.Array:
        raise NotImplementedError


class SquaredError(Likelihood):
    """log p = -sum (x - sigmoid(params))^2: a Gaussian of variance 1/2 but for its constant.

    The sigmoid keeps the mean in [0, 1]. A sample is the mean: at this variance a draw is noise.
    """

    parameters: ClassVar[int] = 1

    def log_prob(self, params_BHWP, x_BHWC):
        return -jnp.sum((x_BHWC - self.mean(params_BHWP)) ** 2, axis=(1, 2, 3))

    def mean(self, params_BHWP):
        return jax.nn.sigmoid(params_BHWP)

    def sample(self, params_BHWP, key):
        del key
        return self.mean(params_BHWP)


class Bernoulli(Likelihood):
    """Binary pixels from logits: log p = sum x l - softplus(l), finite at any logit.

    A density of binary images only: on grey levels it is a cross-entropy, not a likelihood.
    """

    parameters: ClassVar[int] = 1

    def log_prob(self, params_BHWP, x_BHWC):
        return jnp.sum(x_BHWC * params_BHWP - jax.nn.softplus(params_BHWP), axis=(1, 2, 3))

    def mean(self, params_BHWP):
        return jax.nn.sigmoid(params_BHWP)

    def sample(self, params_BHWP, key):
        return jax.random.bernoulli(key, self.mean(params_BHWP)).astype(params_BHWP.dtype)


LIKELIHOODS: dict[str, Likelihood] = {"squared_error": SquaredError(), "bernoulli": Bernoulli()}


def likelihood(name: str) -> Likelihood:
    """The likelihood called `name`; ConfigError with the choices if there is none."""
    if name not in LIKELIHOODS:
        raise ConfigError(
            f"unknown config.model.likelihood {name!r}; choose one of {', '.join(LIKELIHOODS)}"
        )
    return LIKELIHOODS[name]

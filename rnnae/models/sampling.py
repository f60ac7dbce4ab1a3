"""Temperature and guidance: distributions to sample from that are not the model's own.

No likelihood may be reported for images that were sampled with them.
"""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp

from rnnae.errors import ConfigError
from rnnae.likelihoods import LIKELIHOODS, Likelihood


class Sampling(NamedTuple):
    """How images are sampled. Both numbers are static: other values compile another program.

    With a `temperature` T below 1, samples are closer to the most probable ones. A decoder that
    draws its pixels draws each token from p^(1/T), normalised (`Likelihood.temper`). T scales the
    noise of a latent's prior (`Latent.sample_prior`).

    With a `guidance` w above 0, samples are more typical of the class that was asked for: the
    logits of each token are (1 + w) l(y) - w l(unknown), where y is the class (Ho & Salimans 2022,
    equation 6).
    """

    temperature: float = 1.0
    guidance: float = 0.0

    def check(self, classes: int, likelihood: Likelihood) -> None:
        """ConfigError if a decoder with these classes and this likelihood cannot sample so."""
        if not 0 < self.temperature < math.inf:
            raise ConfigError(f"temperature must be positive and finite, not {self.temperature}")
        if not 0 <= self.guidance < math.inf:
            raise ConfigError(f"guidance must be 0 or more and finite, not {self.guidance}")
        if not self.guidance:
            return
        if not classes:
            raise ConfigError(
                "guidance needs a model that is told the class: train one with config.model.classes"
            )
        if not likelihood.logits:
            able = [name for name, kind in LIKELIHOODS.items() if kind.logits]
            raise ConfigError(
                "guidance mixes the logits of two distributions, so it needs "
                f"config.likelihood.name={' or '.join(able)}"
            )

    # With guidance the decoder runs as two streams in one batch of 2 B examples: the first is told
    # the class, the second is not.

    def repeat(self, x_BX: jax.Array) -> jax.Array:
        """The array of each stream, one after the other: x_BX itself without guidance."""
        return jnp.concatenate([x_BX, x_BX]) if self.guidance else x_BX

    def labels(self, label_B: jax.Array | None) -> jax.Array | None:
        """The labels of each stream: those that are given, then unknown ones."""
        if label_B is None or not self.guidance:
            return label_B
        return jnp.concatenate([label_B, jnp.full_like(label_B, -1)])

    def combine(self, params_NHWP: jax.Array, likelihood: Likelihood) -> jax.Array:
        """The likelihood parameters to sample from, params_BHWP, from those of all streams."""
        if self.guidance:
            given_BHWP, unknown_BHWP = jnp.split(params_NHWP, 2)
            params_NHWP = (1 + self.guidance) * given_BHWP - self.guidance * unknown_BHWP
        if self.temperature == 1:
            return params_NHWP
        return likelihood.temper(params_NHWP, self.temperature)


MODEL_DISTRIBUTION = Sampling()

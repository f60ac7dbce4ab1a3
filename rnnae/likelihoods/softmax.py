"""A likelihood of 8-bit values by a softmax over all of their levels."""

import dataclasses
from typing import ClassVar

import jax
import jax.numpy as jnp

from rnnae.likelihoods.likelihood import Likelihood, fourier_features

# Anti-aliased images of ink on paper have sharp edges in the distribution of their levels: most
# pixels are exactly 0, and strokes are close to 255. The bound is between two levels, so that
# rounding cannot matter.
_NEARLY_WHITE = 251.5 / 255
_HIGHEST = jax.lax.Precision.HIGHEST  # float32 products on every device


@dataclasses.dataclass(frozen=True)
class Softmax(Likelihood):
    """Each channel of each pixel has a softmax over `levels` grey levels (van den Oord et al. 2016,
    Pixel Recurrent Neural Networks, section 3.1). The values are independent given the parameters.

    A network reads, beside the value, whether it is above 0, whether it is nearly 1 (level 252 or
    more), and Fourier features of `frequencies` frequencies.
    """

    logits: ClassVar[bool] = True

    levels: int = 256
    frequencies: int = 0

    @property
    def parameters(self):
        return self.channels * self.levels

    @property
    def element(self):
        return dataclasses.replace(self, channels=1)

    def log_prob_by_block(self, params_BHWP, x_BHWC):
        level_BHWC = jnp.round(x_BHWC * (self.levels - 1)).astype(jnp.int32)
        log_p = jax.nn.log_softmax(self._logits(params_BHWP))
        return jnp.take_along_axis(log_p, level_BHWC[..., None], axis=-1)[..., 0]

    def mean(self, params_BHWP):
        values = jnp.linspace(0, 1, self.levels)
        probabilities = jax.nn.softmax(self._logits(params_BHWP))
        return jnp.matmul(probabilities, values, precision=_HIGHEST)

    def sample(self, params_BHWP, key_B):
        level = jax.vmap(jax.random.categorical)(key_B, self._logits(params_BHWP))
        return level.astype(params_BHWP.dtype) / (self.levels - 1)

    def to_inputs(self, x_BHWC):
        edges = jnp.float32(x_BHWC > 0), jnp.float32(x_BHWC > _NEARLY_WHITE)
        waves = fourier_features(x_BHWC, self.frequencies)
        return jnp.concatenate([super().to_inputs(x_BHWC), *edges, waves], axis=-1)

    def _logits(self, params_BHWP):
        """(B, H, W, C, levels)."""
        return params_BHWP.reshape(*params_BHWP.shape[:3], self.channels, self.levels)

"""Likelihoods of binary pixels."""

import dataclasses
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from rnnae.errors import ConfigError
from rnnae.likelihoods.likelihood import Likelihood

_HIGHEST = jax.lax.Precision.HIGHEST  # float32 products on every device


@dataclasses.dataclass(frozen=True)
class Bernoulli(Likelihood):
    """Binary pixels with logits l: log p = sum x l - softplus(l), which is finite for every l."""

    binary: ClassVar[bool] = True
    logits: ClassVar[bool] = True

    @property
    def parameters(self):
        return self.channels

    def log_prob_by_block(self, params_BHWP, x_BHWC):
        return x_BHWC * params_BHWP - jax.nn.softplus(params_BHWP)

    def mean(self, params_BHWP):
        return jax.nn.sigmoid(params_BHWP)

    def sample(self, params_BHWP, key_B):
        sample = jax.vmap(jax.random.bernoulli)(key_B, self.mean(params_BHWP))
        return sample.astype(params_BHWP.dtype)


@dataclasses.dataclass(frozen=True)
class Categorical(Likelihood):
    """The exact joint distribution of the k x k binary pixels of a block (k = `block`), for each
    channel: a softmax over 2^(k k) patterns. Pixel i, in raster order, is bit i of the index of a
    pattern."""

    binary: ClassVar[bool] = True
    logits: ClassVar[bool] = True

    block: int = 2

    def __post_init__(self):
        if not 1 <= self.block <= 3:
            raise ConfigError(
                f"config.likelihood.block must be 1, 2 or 3, not {self.block}: a block of side k "
                "has 2^(k k) patterns"
            )

    @property
    def _patterns(self) -> int:
        return 2 ** (self.block * self.block)

    @property
    def parameters(self):
        return self.channels * self._patterns

    def log_prob_by_block(self, params_BHWP, x_BHWC):
        log_p = jax.nn.log_softmax(self._logits(params_BHWP))
        index = jnp.matmul(self._to_blocks(x_BHWC), self._powers(), precision=_HIGHEST)
        index_BHWC = jnp.round(index).astype(jnp.int32)
        return jnp.take_along_axis(log_p, index_BHWC[..., None], axis=-1)[..., 0]

    def mean(self, params_BHWP):
        probabilities = jax.nn.softmax(self._logits(params_BHWP))
        return self._to_image(jnp.matmul(probabilities, self._bits(), precision=_HIGHEST))

    def sample(self, params_BHWP, key_B):
        index = jax.vmap(jax.random.categorical)(key_B, self._logits(params_BHWP))
        return self._to_image(self._bits()[index])

    def sample_given(self, params_BHWP, key_B, x_BHWC, given_BHWC):
        """Among the patterns that have the given pixels; their total probability is that of the
        given pixels."""
        log_p = jax.nn.log_softmax(self._logits(params_BHWP))
        pixel, given = (self._to_blocks(x)[..., None, :] for x in (x_BHWC, given_BHWC))
        bits = jnp.expand_dims(self._bits(), (0, 1, 2, 3))
        has_them = jnp.all(~given | (pixel == bits), axis=-1)
        log_p = jnp.where(has_them, log_p, -jnp.inf)
        index = jax.vmap(jax.random.categorical)(key_B, log_p)
        log_prob_B = jnp.sum(jax.nn.logsumexp(log_p, axis=-1), axis=(1, 2, 3))
        return self._to_image(self._bits()[index]), log_prob_B

    def _logits(self, params_BHWP):
        """(B, H, W, C, patterns)."""
        return params_BHWP.reshape(*params_BHWP.shape[:3], self.channels, self._patterns)

    def _powers(self):
        return jnp.asarray(2.0 ** np.arange(self.block**2), jnp.float32)

    def _bits(self):
        """The pixels of each pattern, (patterns, k k)."""
        patterns = np.arange(self._patterns)[:, None]
        return jnp.asarray(patterns >> np.arange(self.block**2) & 1, jnp.float32)

    def _to_blocks(self, x_BHWC):
        """(B, H, W, C) -> (B, H / k, W / k, C, k k)."""
        batch, height, width, channels = x_BHWC.shape
        k = self.block
        split = x_BHWC.reshape(batch, height // k, k, width // k, k, channels)
        return split.transpose(0, 1, 3, 5, 2, 4).reshape(
            batch, height // k, width // k, channels, k * k
        )

    def _to_image(self, blocks):
        """The inverse of `_to_blocks`."""
        batch, rows, columns, channels, _ = blocks.shape
        k = self.block
        split = blocks.reshape(batch, rows, columns, channels, k, k)
        return split.transpose(0, 1, 4, 2, 5, 3).reshape(batch, rows * k, columns * k, channels)

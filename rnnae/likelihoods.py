"""LIKELIHOODS: p(image | parameters), with one interface for all kinds of pixels.

x_BHWC is an image in [0, 1]. params_BHWP holds P parameters for each block of `block` x `block`
pixels, so its H and W are those of the image divided by `block`. Every likelihood is normalised;
log-probabilities are in nats. To add one, subclass `Likelihood` and add a line to `LIKELIHOODS`.
"""

import dataclasses
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from rnnae import rng
from rnnae.config.options import refuse_unused
from rnnae.errors import ConfigError, choose

_HIGHEST = jax.lax.Precision.HIGHEST  # float32 products on every device


@dataclasses.dataclass(frozen=True)
class Likelihood:
    """Interface. The fields of a subclass are keys of `config.likelihood`."""

    channels: int

    binary: ClassVar[bool] = False  # True: pixels are 0 or 1
    discrete: ClassVar[bool] = True  # a probability mass function; False: a density
    block: ClassVar[int] = 1  # side of the square of pixels that are modelled jointly

    @property
    def parameters(self) -> int:
        """P, the number of parameters of each block."""
        raise NotImplementedError

    def log_prob(self, params_BHWP: jax.Array, x_BHWC: jax.Array) -> jax.Array:
        """log p(x) of each image, summed over its pixels and channels: (B,), nats."""
        raise NotImplementedError

    def mean(self, params_BHWP: jax.Array) -> jax.Array:
        """The expected image, in [0, 1]."""
        raise NotImplementedError

    def sample(self, params_BHWP: jax.Array, key_B: jax.Array) -> jax.Array:
        """An image x_BHWC sampled from p. Example i depends on key i alone."""
        raise NotImplementedError

    def add_location(self, params_BHWP: jax.Array, x_BHWC: jax.Array) -> jax.Array:
        """The parameters with the image x_BHWC added to their location. A likelihood without a
        location parameter returns them unchanged."""
        del x_BHWC
        return params_BHWP


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

    def log_prob(self, params_BHWP, x_BHWC):
        error_BHWC = (x_BHWC - self.mean(params_BHWP)) / self.sigma
        constant = 0.5 * np.log(2 * np.pi * self.sigma**2)
        return -jnp.sum(0.5 * error_BHWC**2 + constant, axis=(1, 2, 3))

    def mean_squared_error(self, nats: float, dimensions: int) -> float:
        """The mean squared error of an image of `dimensions` values whose -log p(x) is `nats`."""
        return self.sigma**2 * (2 * nats / dimensions - np.log(2 * np.pi * self.sigma**2))

    def mean(self, params_BHWP):
        return jax.nn.sigmoid(params_BHWP)

    def sample(self, params_BHWP, key_B):
        mean_BHWC = self.mean(params_BHWP)
        noise = jax.vmap(lambda key: jax.random.normal(key, mean_BHWC.shape[1:]))(key_B)
        return mean_BHWC + self.sigma * noise


@dataclasses.dataclass(frozen=True)
class Bernoulli(Likelihood):
    """Binary pixels with logits l: log p = sum x l - softplus(l), which is finite for every l."""

    binary: ClassVar[bool] = True

    @property
    def parameters(self):
        return self.channels

    def log_prob(self, params_BHWP, x_BHWC):
        return jnp.sum(x_BHWC * params_BHWP - jax.nn.softplus(params_BHWP), axis=(1, 2, 3))

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

    def log_prob(self, params_BHWP, x_BHWC):
        log_p = jax.nn.log_softmax(self._logits(params_BHWP))
        index = jnp.matmul(self._to_blocks(x_BHWC), self._powers(), precision=_HIGHEST)
        index_BHWC = jnp.round(index).astype(jnp.int32)
        observed = jnp.take_along_axis(log_p, index_BHWC[..., None], axis=-1)[..., 0]
        return jnp.sum(observed, axis=(1, 2, 3))

    def mean(self, params_BHWP):
        probabilities = jax.nn.softmax(self._logits(params_BHWP))
        return self._to_image(jnp.matmul(probabilities, self._bits(), precision=_HIGHEST))

    def sample(self, params_BHWP, key_B):
        index = jax.vmap(jax.random.categorical)(key_B, self._logits(params_BHWP))
        return self._to_image(self._bits()[index])

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


@dataclasses.dataclass(frozen=True)
class LogisticMixture(Likelihood):
    """A discretised mixture of logistics (Salimans et al. 2017, PixelCNN++, sections 2.1 and 2.2).

    Each channel has `levels` grey levels. Each pixel has a mixture of `components` logistics, in
    which the mean of a channel is linear in the channels before it. The first and the last level
    have the probability of the tails.
    """

    components: int = 10
    levels: int = 256

    @property
    def parameters(self):
        c = self.channels
        return self.components * (1 + 2 * c + c * (c - 1) // 2)

    def log_prob(self, params_BHWP, x_BHWC):
        logits_BHWM, means, log_scales, coefficients = self._split(params_BHWP)
        level_BHWC = jnp.round(x_BHWC * (self.levels - 1))
        signed_BHWC = 2 * level_BHWC / (self.levels - 1) - 1
        total_BHWM = jax.nn.log_softmax(logits_BHWM)
        for channel in range(self.channels):
            mean_BHWM = self._mean(means, coefficients, signed_BHWC, channel)
            inverse_BHWM = jnp.exp(-log_scales[channel])
            centred_BHWM = signed_BHWC[..., channel, None] - mean_BHWM
            half = 1 / (self.levels - 1)  # half of the width of a level, on [-1, 1]
            upper = inverse_BHWM * (centred_BHWM + half)
            lower = inverse_BHWM * (centred_BHWM - half)
            # sigma(u) - sigma(l) = sigma(u) sigma(-l) (1 - e^(l - u)). The right side has no
            # difference of nearly equal numbers, so values far from the mean need no special case.
            inside = (
                jax.nn.log_sigmoid(upper)
                + jax.nn.log_sigmoid(-lower)
                + jnp.log(-jnp.expm1(-2 * half * inverse_BHWM))
            )
            level = level_BHWC[..., channel, None]
            first, last = jax.nn.log_sigmoid(upper), jax.nn.log_sigmoid(-lower)
            total_BHWM += jnp.where(
                level <= 0, first, jnp.where(level >= self.levels - 1, last, inside)
            )
        return jnp.sum(jax.nn.logsumexp(total_BHWM, axis=-1), axis=(1, 2))

    def mean(self, params_BHWP):
        """The mean of the mixture clipped to the range. Rounding to levels is neglected, and with
        several channels the clipping of the channels that a channel's mean depends on."""
        logits_BHWM, means, log_scales, coefficients = self._split(params_BHWP)
        weights_BHWM = jax.nn.softmax(logits_BHWM)
        clipped = []
        for channel in range(self.channels):
            mean = means[channel]
            for earlier, c in zip(clipped, coefficients[channel], strict=True):
                mean = mean + c * earlier
            scale = jnp.exp(log_scales[channel])
            # E clip(X, -1, 1) = -1 + the integral of P(X > t) over [-1, 1]
            rise = jax.nn.softplus((mean + 1) / scale) - jax.nn.softplus((mean - 1) / scale)
            clipped.append(scale * rise - 1)
        mean_BHWC = jnp.stack([jnp.sum(weights_BHWM * m, axis=-1) for m in clipped], axis=-1)
        return (mean_BHWC + 1) / 2

    def sample(self, params_BHWP, key_B):
        logits_BHWM, means, log_scales, coefficients = self._split(params_BHWP)
        index_key, noise_key = rng.split(key_B)
        index = jax.vmap(jax.random.categorical)(index_key, logits_BHWM)[..., None]
        shape = (*logits_BHWM.shape[1:3], self.channels)
        noise_BHWC = jax.vmap(lambda key: jax.random.logistic(key, shape))(noise_key)

        def select(values_BHWM):
            return jnp.take_along_axis(values_BHWM, index, axis=-1)[..., 0]

        signed: list[jax.Array] = []
        for channel in range(self.channels):
            mean_BHW = select(means[channel])
            for earlier, c in zip(signed, coefficients[channel], strict=True):
                mean_BHW += select(c) * earlier
            value = mean_BHW + jnp.exp(select(log_scales[channel])) * noise_BHWC[..., channel]
            level = jnp.clip(jnp.round((value + 1) / 2 * (self.levels - 1)), 0, self.levels - 1)
            signed.append(2 * level / (self.levels - 1) - 1)
        return (jnp.stack(signed, axis=-1) + 1) / 2

    def add_location(self, params_BHWP, x_BHWC):
        m = self.components
        means = slice(m, m * (1 + self.channels))
        return params_BHWP.at[..., means].add(jnp.repeat(2 * x_BHWC - 1, m, axis=-1))

    def _split(self, params_BHWP):
        """(logits, means, log_scales, coefficients), all arrays (B, H, W, M). Means and log_scales
        are lists by channel. coefficients[c] is the list by channel before c."""
        parts = iter(jnp.split(params_BHWP, params_BHWP.shape[-1] // self.components, axis=-1))
        logits = next(parts)
        means = [next(parts) for _ in range(self.channels)]
        # -7 as in PixelCNN++: a logistic of that scale is within one level. At 7 it is flat.
        log_scales = [jnp.clip(next(parts), -7.0, 7.0) for _ in range(self.channels)]
        coefficients = [[jnp.tanh(next(parts)) for _ in range(c)] for c in range(self.channels)]
        return logits, means, log_scales, coefficients

    @staticmethod
    def _mean(means, coefficients, signed_BHWC, channel):
        mean_BHWM = means[channel]
        for earlier, c in enumerate(coefficients[channel]):
            mean_BHWM = mean_BHWM + c * signed_BHWC[..., earlier, None]
        return mean_BHWM


LIKELIHOODS: dict[str, type[Likelihood]] = {
    "gaussian": Gaussian,
    "bernoulli": Bernoulli,
    "categorical": Categorical,
    "logistic_mixture": LogisticMixture,
}


def likelihood(name: str, channels: int, **options) -> Likelihood:
    """The likelihood called `name` for images of `channels`.

    `options` are the other keys of `config.likelihood`. ConfigError for an unknown name, and for a
    changed option that this likelihood does not have.
    """
    kind = choose(LIKELIHOODS, "config.likelihood.name", name)
    used = [field.name for field in dataclasses.fields(kind) if field.name != "channels"]
    refuse_unused("likelihood", name, used, options)
    return kind(channels=channels, **{key: options[key] for key in used if key in options})

"""Likelihoods: p(image | parameters), one interface for every kind of pixel.

`x_BHWC` is an image in [0, 1]; `params_BHWP` holds `parameters` values for each block of
`block` x `block` pixels, so its H and W are those of the image divided by `block`. Every
likelihood is a normalised density or mass function, in nats. To add one, subclass `Likelihood` and
add its line to `LIKELIHOODS`.
"""

import dataclasses
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from rnnae import rng
from rnnae.errors import ConfigError, choose


@dataclasses.dataclass(frozen=True)
class Likelihood:
    """Interface. Fields beside `channels` are keys of `config.likelihood`."""

    channels: int

    binary: ClassVar[bool] = False  # of pixels 0 and 1 only
    discrete: ClassVar[bool] = True  # a mass function; else a density over [0, 1]
    block: ClassVar[int] = 1  # side of the square of pixels that are modelled jointly

    @property
    def parameters(self) -> int:
        """P, values for each block."""
        raise NotImplementedError

    def log_prob(self, params_BHWP: jax.Array, x_BHWC: jax.Array) -> jax.Array:
        """log p(x) of each image, summed over its pixels and channels: (B,), nats."""
        raise NotImplementedError

    def mean(self, params_BHWP: jax.Array) -> jax.Array:
        """The expected image, in [0, 1]."""
        raise NotImplementedError

    def sample(self, params_BHWP: jax.Array, key_B: jax.Array) -> jax.Array:
        """An image x_BHWC drawn from p, example i by key i alone."""
        raise NotImplementedError

    def around(self, params_BHWP: jax.Array, x_BHWC: jax.Array) -> jax.Array:
        """Parameters relative to an image, where such a likelihood has a location; else as they
        are."""
        del x_BHWC
        return params_BHWP


@dataclasses.dataclass(frozen=True)
class Gaussian(Likelihood):
    """N(sigmoid(params), sigma^2) for each value: squared error / (2 sigma^2) plus its constant.

    A density over real values, not a mass function of 8-bit ones: its nats compare with those of
    the same sigma only. At sigma^2 = 1/2 the loss is the squared error plus log(pi) / 2 a value.
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

    def mean(self, params_BHWP):
        return jax.nn.sigmoid(params_BHWP)

    def sample(self, params_BHWP, key_B):
        mean_BHWC = self.mean(params_BHWP)
        noise = jax.vmap(lambda key: jax.random.normal(key, mean_BHWC.shape[1:]))(key_B)
        return mean_BHWC + self.sigma * noise


@dataclasses.dataclass(frozen=True)
class Bernoulli(Likelihood):
    """Binary pixels from logits: log p = sum x l - softplus(l), finite at any logit."""

    binary: ClassVar[bool] = True

    @property
    def parameters(self):
        return self.channels

    def log_prob(self, params_BHWP, x_BHWC):
        return jnp.sum(x_BHWC * params_BHWP - jax.nn.softplus(params_BHWP), axis=(1, 2, 3))

    def mean(self, params_BHWP):
        return jax.nn.sigmoid(params_BHWP)

    def sample(self, params_BHWP, key_B):
        drawn = jax.vmap(jax.random.bernoulli)(key_B, self.mean(params_BHWP))
        return drawn.astype(params_BHWP.dtype)


@dataclasses.dataclass(frozen=True)
class Categorical(Likelihood):
    """The exact joint of a k x k binary patch: a softmax over its 2^(k k) patterns, each channel.

    Pixel i of a patch, in raster order, is bit i of the pattern's number.
    """

    binary: ClassVar[bool] = True

    block: int = 2

    def __post_init__(self):
        if not 1 <= self.block <= 3:
            raise ConfigError(
                f"config.likelihood.block must be 1, 2 or 3, not {self.block}: a patch of side k "
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
        pattern_BHWC = jnp.round(self._blocks(x_BHWC) @ self._powers()).astype(jnp.int32)
        chosen = jnp.take_along_axis(log_p, pattern_BHWC[..., None], axis=-1)[..., 0]
        return jnp.sum(chosen, axis=(1, 2, 3))

    def mean(self, params_BHWP):
        return self._image(jax.nn.softmax(self._logits(params_BHWP)) @ self._bits())

    def sample(self, params_BHWP, key_B):
        pattern = jax.vmap(jax.random.categorical)(key_B, self._logits(params_BHWP))
        return self._image(self._bits()[pattern])

    def _logits(self, params_BHWP):
        """(B, H, W, C, patterns)."""
        return params_BHWP.reshape(*params_BHWP.shape[:3], self.channels, self._patterns)

    def _powers(self):
        return jnp.asarray(2.0 ** np.arange(self.block**2), jnp.float32)

    def _bits(self):
        """(patterns, k k): the pixels of each pattern."""
        patterns = np.arange(self._patterns)[:, None]
        return jnp.asarray(patterns >> np.arange(self.block**2) & 1, jnp.float32)

    def _blocks(self, x_BHWC):
        """(B, H, W, C) -> (B, H / k, W / k, C, k k)."""
        batch, height, width, channels = x_BHWC.shape
        k = self.block
        split = x_BHWC.reshape(batch, height // k, k, width // k, k, channels)
        return split.transpose(0, 1, 3, 5, 2, 4).reshape(
            batch, height // k, width // k, channels, k * k
        )

    def _image(self, blocks):
        """The inverse of `_blocks`."""
        batch, rows, columns, channels, _ = blocks.shape
        k = self.block
        split = blocks.reshape(batch, rows, columns, channels, k, k)
        return split.transpose(0, 1, 4, 2, 5, 3).reshape(batch, rows * k, columns * k, channels)


@dataclasses.dataclass(frozen=True)
class LogisticMixture(Likelihood):
    """Discretised mixture of logistics (Salimans et al. 2017, PixelCNN++, section 2.1 and 2.2).

    `levels` grey levels; a mixture of `components` for each pixel, in which the mean of a channel
    is linear in the channels before it. The first and last level take the tails.
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
            half = 1 / (self.levels - 1)  # of a level's width, on [-1, 1]
            upper = inverse_BHWM * (centred_BHWM + half)
            lower = inverse_BHWM * (centred_BHWM - half)
            # sigma(u) - sigma(l) = sigma(u) sigma(-l) (1 - e^(l - u)): no difference of near
            # equals, so it needs no special case far from the mean.
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
        """Of the mixture clipped to the range; exact but for the rounding to levels and, with
        several channels, for the clipping of those that a channel's mean is linear in."""
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
        chosen_key, noise_key = rng.split(key_B)
        chosen = jax.vmap(jax.random.categorical)(chosen_key, logits_BHWM)[..., None]
        shape = (*logits_BHWM.shape[1:3], self.channels)
        noise_BHWC = jax.vmap(lambda key: jax.random.logistic(key, shape))(noise_key)

        def of_chosen(values_BHWM):
            return jnp.take_along_axis(values_BHWM, chosen, axis=-1)[..., 0]

        signed: list[jax.Array] = []
        for channel in range(self.channels):
            mean_BHW = of_chosen(means[channel])
            for earlier, c in zip(signed, coefficients[channel], strict=True):
                mean_BHW += of_chosen(c) * earlier
            drawn = mean_BHW + jnp.exp(of_chosen(log_scales[channel])) * noise_BHWC[..., channel]
            level = jnp.clip(jnp.round((drawn + 1) / 2 * (self.levels - 1)), 0, self.levels - 1)
            signed.append(2 * level / (self.levels - 1) - 1)
        return (jnp.stack(signed, axis=-1) + 1) / 2

    def around(self, params_BHWP, x_BHWC):
        m = self.components
        means = slice(m, m * (1 + self.channels))
        return params_BHWP.at[..., means].add(jnp.repeat(2 * x_BHWC - 1, m, axis=-1))

    def _split(self, params_BHWP):
        """(logits, means by channel, log scales by channel, coefficients by channel and earlier
        channel), every array (B, H, W, M)."""
        parts = iter(jnp.split(params_BHWP, params_BHWP.shape[-1] // self.components, axis=-1))
        logits = next(parts)
        means = [next(parts) for _ in range(self.channels)]
        # -7 as in PixelCNN++: a narrower logistic is all in one level; a wider one than 7, flat.
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
    """The likelihood called `name` for images of `channels`; it takes what it has of `options`.

    Raises ConfigError with the choices if there is none of that name.
    """
    kind = choose(LIKELIHOODS, "config.likelihood.name", name)
    fields = {field.name for field in dataclasses.fields(kind)}
    return kind(channels=channels, **{k: v for k, v in options.items() if k in fields})

"""A likelihood of 8-bit pixels, grey or RGB."""

import dataclasses
import math

import jax
import jax.numpy as jnp

from rnnae import rng
from rnnae.likelihoods.likelihood import Likelihood, fourier_features

# Limit of the logarithms of scales. At -7, as in PixelCNN++, a logistic is within one level. At 7
# it is flat.
_LOG_LIMIT = 7.0


@dataclasses.dataclass(frozen=True)
class LogisticMixture(Likelihood):
    """A discretised mixture of logistics (Salimans et al. 2017, PixelCNN++, sections 2.1 and 2.2).

    Each channel has `levels` grey levels. Each pixel has a mixture of `components` logistics, in
    which the mean of a channel is linear in the channels before it. The first and the last level
    have the probability of the tails. A network reads, beside the value, Fourier features of
    `frequencies` frequencies.
    """

    components: int = 10
    levels: int = 256
    frequencies: int = 0

    @property
    def parameters(self):
        c = self.channels
        return self.components * (1 + 2 * c + c * (c - 1) // 2)

    def to_inputs(self, x_BHWC):
        waves = fourier_features(x_BHWC, self.frequencies)
        return jnp.concatenate([super().to_inputs(x_BHWC), waves], axis=-1)

    def log_prob_by_block(self, params_BHWP, x_BHWC):
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
        return jax.nn.logsumexp(total_BHWM, axis=-1, keepdims=True)

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

    def temper(self, params_BHWP, temperature):
        """The logits of the components divided by the temperature, and the scales multiplied by it.
        A scale stays at least exp(-7), which is within one of 256 levels."""
        m = self.components
        scales = slice(m * (1 + self.channels), m * (1 + 2 * self.channels))
        log_scales = jnp.clip(params_BHWP[..., scales], -_LOG_LIMIT, _LOG_LIMIT)
        params_BHWP = params_BHWP.at[..., :m].divide(temperature)
        return params_BHWP.at[..., scales].set(log_scales + math.log(temperature))

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
        log_scales = [jnp.clip(next(parts), -_LOG_LIMIT, _LOG_LIMIT) for _ in range(self.channels)]
        coefficients = [[jnp.tanh(next(parts)) for _ in range(c)] for c in range(self.channels)]
        return logits, means, log_scales, coefficients

    @staticmethod
    def _mean(means, coefficients, signed_BHWC, channel):
        mean_BHWM = means[channel]
        for earlier, c in enumerate(coefficients[channel]):
            mean_BHWM = mean_BHWM + c * signed_BHWC[..., earlier, None]
        return mean_BHWM

"""The interface of all likelihoods."""

import dataclasses
from typing import ClassVar

import jax
import jax.numpy as jnp


def fourier_features(x_BHWC: jax.Array, frequencies: int) -> jax.Array:
    """sin and cos of 2 pi 2^k x for k from 0 to `frequencies` - 1, (B, H, W, 2 C frequencies).

    Of the value alone, a network can hardly make functions that differ from one grey level to the
    next (Kingma et al. 2021, Variational Diffusion Models, appendix C).
    """
    waves = [f(2 * jnp.pi * 2**k * x_BHWC) for k in range(frequencies) for f in (jnp.sin, jnp.cos)]
    return jnp.concatenate([x_BHWC[..., :0], *waves], axis=-1)


@dataclasses.dataclass(frozen=True)
class Likelihood:
    """Interface. The fields of a subclass are keys of `config.likelihood`."""

    channels: int

    binary: ClassVar[bool] = False  # True: pixels are 0 or 1
    discrete: ClassVar[bool] = True  # a probability mass function; False: a density
    logits: ClassVar[bool] = False  # True: the parameters are logits of a distribution's values
    block: ClassVar[int] = 1  # side of the square of pixels that are modelled jointly

    @property
    def parameters(self) -> int:
        """P, the number of parameters of each block."""
        raise NotImplementedError

    @property
    def element(self) -> "Likelihood":
        """The likelihood of the smallest part of a block that has parameters of its own, which are
        those of the parts of a block one after the other. It differs from that of a block in the
        number of channels only."""
        return self

    def to_inputs(self, x_BHWC: jax.Array) -> jax.Array:
        """What an autoregressive network reads of an image, (B, H, W, n C). The first C numbers are
        the image on [-1, 1]."""
        return 2 * x_BHWC - 1

    def from_inputs(self, inputs_BHWK: jax.Array) -> jax.Array:
        """The inverse of `to_inputs`: x_BHWC."""
        return (inputs_BHWK[..., : self.channels] + 1) / 2

    def log_prob(self, params_BHWP: jax.Array, x_BHWC: jax.Array) -> jax.Array:
        """log p(x) of each image, summed over its pixels and channels: (B,), nats."""
        return jnp.sum(self.log_prob_by_block(params_BHWP, x_BHWC), axis=(1, 2, 3))

    def log_prob_by_block(self, params_BHWP: jax.Array, x_BHWC: jax.Array) -> jax.Array:
        """log p of each channel of each block, (B, H, W, C), nats, or of all channels together,
        (B, H, W, 1). H and W are those of the grid of blocks, as in params_BHWP."""
        raise NotImplementedError

    def mean(self, params_BHWP: jax.Array) -> jax.Array:
        """The expected image, in [0, 1]."""
        raise NotImplementedError

    def sample(self, params_BHWP: jax.Array, key_B: jax.Array) -> jax.Array:
        """An image x_BHWC sampled from p. Example i depends on key i alone."""
        raise NotImplementedError

    def sample_given(
        self, params_BHWP: jax.Array, key_B: jax.Array, x_BHWC: jax.Array, given_BHWC: jax.Array
    ) -> tuple[jax.Array, jax.Array]:
        """(x_BHWC, log_prob_B): pixels drawn from p given those of x_BHWC where the mask is true,
        which are kept, and log p of the given ones, in nats. All channels of a pixel are given, or
        none. Correct if pixels are independent given the parameters."""
        drawn_BHWC = self.sample(params_BHWP, key_B)
        log_prob_BHWC = self.log_prob_by_block(params_BHWP, x_BHWC)
        given_log_prob = jnp.where(given_BHWC[..., : log_prob_BHWC.shape[-1]], log_prob_BHWC, 0.0)
        x_BHWC = jnp.where(given_BHWC, x_BHWC, drawn_BHWC)
        return x_BHWC, jnp.sum(given_log_prob, axis=(1, 2, 3))

    def temper(self, params_BHWP: jax.Array, temperature: float) -> jax.Array:
        """The parameters of a sharper distribution if `temperature` is below 1, and of a flatter
        one if it is above. With logits, it is p^(1 / temperature), normalised."""
        if self.logits:
            return params_BHWP / temperature
        raise NotImplementedError(f"{type(self).__name__} has no parameter for its width")

    def error_text(self, nats: float, dimensions: int) -> str:
        """The error of an image of `dimensions` values whose -log p(x) is `nats`, as a person would
        read it, such as "MSE 0.00185". Empty for a likelihood that does not measure an error."""
        del nats, dimensions
        return ""

    def add_location(self, params_BHWP: jax.Array, x_BHWC: jax.Array) -> jax.Array:
        """The parameters with the image x_BHWC added to their location. A likelihood without a
        location parameter returns them unchanged."""
        del x_BHWC
        return params_BHWP

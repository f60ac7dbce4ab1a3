"""A head that draws the parts of a token one after another.

Without it, the parts of a token (its blocks of pixels; with a softmax, also its channels) are
independent given the tokens before. With it, the parameters of a part depend on the parts before
it in the same token too, so that tokens may hold several pixels and the likelihood is still exact.
The recurrent sweeps then run over fewer positions than there are pixels.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from rnnae.likelihoods import Likelihood
from rnnae.nn.matmul import Dense
from rnnae.scan_order import ScanOrder


class Known(NamedTuple):
    """Inputs of tokens, or of a part of a token, of which some are given; axes may stand before."""

    input_BI: jax.Array
    given_BI: jax.Array  # bool


# (parameters p_BP of a token or of a part of it, keys, its known inputs or None) -> (its inputs,
# log p of those that were given, (B,), or None). A given input is kept.
Draw = Callable[
    [jax.Array, jax.Array, Known | None],
    tuple[jax.Array, jax.Array | None],
]


def parts_of_token(tokens: ScanOrder, likelihood: Likelihood) -> tuple[tuple[int, ...], ...]:
    """Where the inputs of every part of a token are among those of the token, as indices."""
    block, channels = likelihood.block, likelihood.channels
    inputs = likelihood.to_inputs(jnp.zeros((1, 1, 1, channels))).shape[-1] // channels
    height, width = tokens.token_height, tokens.token_width
    split = (height // block, block, width // block, block, inputs)
    split += (channels // likelihood.element.channels, likelihood.element.channels)
    index = np.arange(height * width * inputs * channels).reshape(split)
    # row, y, column, x, input, part, channel -> row, column, part, y, x, input, channel
    parts = index.transpose(0, 2, 5, 1, 3, 4, 6).reshape(-1, block * block * inputs * split[-1])
    return tuple(map(tuple, parts.tolist()))


class TokenChain(nn.Module):
    """(h_XD, inputs of the token x_XJ) -> likelihood parameters of the token, p_XP.

    Every part has its own network with one hidden layer of `width` GELU units. It reads h_XD, which
    knows the tokens before, and the inputs of the parts before it.
    """

    width: int
    parts: tuple[tuple[int, ...], ...]  # of `parts_of_token`
    part_parameters: int
    matmul_dtype: jnp.dtype = jnp.float32

    def setup(self):
        count, dtype = len(self.parts), self.matmul_dtype
        self.from_token = Dense(count * self.width, matmul_dtype=dtype)
        self.from_before = [
            Dense(self.width, use_bias=False, matmul_dtype=dtype) for _ in range(1, count)
        ]
        self.out = [Dense(self.part_parameters, matmul_dtype=dtype) for _ in range(count)]

    def __call__(self, h_XD: jax.Array, x_XJ: jax.Array) -> jax.Array:
        hidden = self._hidden(h_XD)
        parts = [self._part(i, hidden, x_XJ) for i in range(len(self.parts))]
        return jnp.concatenate(parts, axis=-1)

    def sample(
        self,
        h_BD: jax.Array,
        key_B: jax.Array,
        draw: Draw,
        known: Known | None = None,
    ) -> tuple[jax.Array, jax.Array, jax.Array | None]:
        """(p_BP, x_BJ, log p of the given inputs): the parts of a token, drawn in turn."""
        hidden, parameters, log_probs = self._hidden(h_BD), [], []
        # E: part of a token
        key_EB = jax.vmap(lambda key: jax.random.split(key, len(self.parts)), out_axes=1)(key_B)
        x_BJ = jnp.zeros((h_BD.shape[0], sum(map(len, self.parts))))
        for i, inputs in enumerate(self.parts):
            index = jnp.array(inputs)
            parameters.append(self._part(i, hidden, x_BJ))
            part = None if known is None else Known(*(values_BJ[:, index] for values_BJ in known))
            part_BI, log_prob_B = draw(parameters[-1], key_EB[i], part)
            x_BJ = x_BJ.at[:, index].set(part_BI)
            log_probs.append(log_prob_B)
        return jnp.concatenate(parameters, axis=-1), x_BJ, None if known is None else sum(log_probs)

    def _hidden(self, h_XD):
        """What the hidden units of all parts read of h_XD, a list by part."""
        return jnp.split(self.from_token(h_XD), len(self.parts), axis=-1)

    def _part(self, i, hidden, x_XJ):
        units = hidden[i]
        if i:
            units = units + self.from_before[i - 1](x_XJ[..., np.ravel(self.parts[:i])])
        return self.out[i](nn.gelu(units))

"""The sweep autoencoder: gated recurrences along the rows and columns of a grid of tokens.

Its decoder is autoregressive over tokens in raster order (`streams.py`), so its log-likelihood
given the code is exact, and it can do without a code. It draws an image token by token, at about
the cost of one pass over all tokens, and completes an image whose first rows are given.
"""

from typing import ClassVar

import jax
import jax.numpy as jnp
from flax import linen as nn

from rnnae.errors import ConfigError, choose
from rnnae.models.autoencoder import Autoencoder
from rnnae.models.streams import ABOVE, CONDITIONS, Decoder, TwoWay
from rnnae.nn.cells import dense_2d
from rnnae.scan_order import ScanOrder


class Sweep(Autoencoder):
    """Encoder, latent, decoder, likelihood; fields are the keys of `config.model`."""

    patch: int
    cell: str
    width: int
    blocks: int
    encoder_blocks: int
    expansion: int
    condition: str
    window: int
    above: str
    sees_down: bool
    sees_left: bool
    view: int

    needs_code: ClassVar[bool] = False

    def setup(self):
        choose(dict.fromkeys(CONDITIONS), "config.model.condition", self.condition)
        choose(dict.fromkeys(ABOVE), "config.model.above", self.above)
        self.tokens = ScanOrder(self.image_shape, self.patch, self.patch)
        if not self.pixels.discrete:
            raise ConfigError(
                "config.model.name=sweep reads its own pixels and needs a likelihood of discrete "
                "ones: config.likelihood.name=categorical, bernoulli or logistic_mixture"
            )
        self.params_order = self.tokens.in_blocks(self.pixels.block, self.pixels.parameters)
        if self.code_size:
            block = (self.cell, self.width, self.expansion)
            self.embed = nn.Dense(self.width)
            self.encoder = [TwoWay(*block, name=f"encoder_{i}") for i in range(self.encoder_blocks)]
            self.readout = nn.Dense(self.view)
        self.decoder = Decoder(
            self.tokens.grid,
            self.cell,
            self.width,
            self.blocks,
            self.expansion,
            self.condition,
            self.window,
            self.above,
            self.sees_down,
            self.sees_left,
            self.view,
            self.params_order.token_size,
        )

    def read(self, x_BHWC: jax.Array) -> jax.Array:
        if not self.code_size:
            return jnp.zeros((x_BHWC.shape[0], 0))
        x_RQBD = dense_2d(self.embed, self._grid(x_BHWC))
        for block in self.encoder:
            x_RQBD = block(x_RQBD)
        few_RQBD = dense_2d(self.readout, x_RQBD)
        return few_RQBD.transpose(2, 0, 1, 3).reshape(x_BHWC.shape[0], -1)

    def write(self, z_BZ: jax.Array, x_BHWC: jax.Array) -> jax.Array:
        return self._params(self.decoder(z_BZ, self._grid(x_BHWC)))

    def run_free(self, z_BZ: jax.Array, key_B: jax.Array) -> jax.Array:
        return self._params(self._draw(z_BZ, key_B, None, 0)[0])

    def decode(self, z_BZ: jax.Array, key_B: jax.Array) -> jax.Array:
        """An image x_BHWC drawn given the code: there is no closed form of its mean."""
        return self.complete(z_BZ, key_B, None, 0)

    def complete(self, z_BZ, key_B, x_BHWC, rows: int) -> jax.Array:
        """An image drawn given the code and the first `rows` rows of tokens of x_BHWC."""
        token_RQBI = self._draw(z_BZ, key_B, x_BHWC, rows)[1]
        return self._image((token_RQBI + 1) / 2)

    def log_prob_of_rows(self, z_BZ: jax.Array, x_BHWC: jax.Array, rows: int) -> jax.Array:
        """log p of the first `rows` rows of tokens of x_BHWC given the code, (B,), nats."""
        height = rows * self.patch
        params_BHWP = self.write(z_BZ, x_BHWC)[:, : height // self.pixels.block]
        return self.pixels.log_prob(params_BHWP, x_BHWC[:, :height])

    def _draw(self, z_BZ, key_B, x_BHWC, rows):
        batch = key_B.shape[0]
        if x_BHWC is None:
            x_BHWC = jnp.zeros((batch, *self.image_shape))
        given_RQ = jnp.broadcast_to(
            jnp.arange(self.tokens.grid[0])[:, None] < rows, self.tokens.grid
        )

        def token(p_BP, key_B):
            params_BHWP = self.params_order.token_to_image(p_BP)
            return 2 * self.pixels.sample(params_BHWP, key_B).reshape(batch, -1) - 1

        return self.decoder.run_free(z_BZ, key_B, token, self._grid(x_BHWC), given_RQ)

    def _grid(self, x_BHWC):
        """Tokens with values in [-1, 1], x_RQBI: 0 is what lies outside the image."""
        x_TBI = 2 * self.tokens.to_tokens(x_BHWC) - 1
        return x_TBI.reshape(*self.tokens.grid, *x_TBI.shape[1:])

    def _image(self, x_RQBI):
        return self.tokens.to_image(x_RQBI.reshape(-1, *x_RQBI.shape[2:]))

    def _params(self, p_RQBP):
        return self.params_order.to_image(p_RQBP.reshape(-1, *p_RQBP.shape[2:]))

"""The decoder of the sweep autoencoder, with two streams.

The decoder follows the gated PixelCNN (van den Oord et al. 2016) with recurrent sweeps in place of
masked convolutions. Its *vertical* stream sees the rows above a token. Its *horizontal* stream sees
the tokens to the left and, through the vertical stream, all rows above. One block is enough to see
all tokens before a token.

Nothing is masked. Instead the inputs are shifted: position (r, q) of the vertical stream starts
from the token above, (r - 1, q), and that of the horizontal stream from the token to the left,
(r, q - 1). Sweeps that run down, and to the right along a row, then never reach the current token.
With an input window, a position starts from more of the tokens before it: (r - 1, q - 1),
(r - 1, q), (r - 1, q + 1) and (r - 2, q) in the vertical stream, (r, q - 1) and (r, q - 2) in the
horizontal stream. Theis and Bethge (2015) feed their spatial LSTM in this way. Letters of axes are
explained in `rnnae/types.py`.
"""

import functools

import jax
import jax.numpy as jnp
from flax import linen as nn

from rnnae.models.particles import Particles, reweigh, trace_back
from rnnae.models.sweep_blocks import HorizontalBlock, SweepOptions, VerticalBlock, dense
from rnnae.models.token_chain import Draw, Known, TokenChain
from rnnae.nn.recurrence import zero_carries

# The tokens that a position of each stream starts from, as (rows up, columns to the left). Those
# of the horizontal stream are in its row.
_NEAREST = ((1, 0),), ((0, 1),)
_WINDOW = ((1, 0), (1, 1), (1, -1), (2, 0)), ((0, 1), (0, 2))

# Explicit names of submodules and parameters are historical. They are the paths in saved
# checkpoints, and initial values depend on them, so they must not change.


class SweepDecoder(nn.Module):
    """(condition_BZ, tokens x_RQBI in [-1, 1]) -> likelihood parameters of every token, p_RQBP.

    The parameters of a token depend on the tokens before it in raster order. What they mean is up
    to the likelihood: with `categorical`, one softmax over all patterns of a token's pixels; with
    `bernoulli`, pixels that are independent given the tokens before. With a chain, the parameters
    of a part of a token depend on the parts before it as well.
    """

    options: SweepOptions
    matmul_dtype: jnp.dtype
    grid: tuple[int, int]  # rows and columns of tokens
    token_parameters: int  # P, likelihood parameters of a token
    parts: tuple[tuple[int, ...], ...]  # of a token, see `token_chain.parts_of_token`

    def setup(self):
        options, (rows, columns) = self.options, self.grid
        self.window_above, self.window_left = _WINDOW if options.input_window else _NEAREST
        init = nn.initializers.normal(0.1)
        self.row_embedding = self.param("row", init, (rows, 1, 1, options.width))
        self.column_embedding = self.param("column", init, (1, columns, 1, options.width))
        self.embed_above, self.embed_left = dense(self), dense(self)
        # Every token has its own linear projection of the latent, of width `token_latent_width`.
        self.token_latents = dense(self, rows * columns * options.token_latent_width, name="views")
        self.embed_token_latent = dense(self, use_bias=False, name="embed_view")
        block = (options, self.matmul_dtype)
        indices = range(options.blocks)
        self.vertical = [VerticalBlock(*block, name=f"vertical_{i}") for i in indices]
        self.horizontal = [HorizontalBlock(*block, name=f"horizontal_{i}") for i in indices]
        self.norm = nn.LayerNorm()
        if options.chain:
            size = self.token_parameters // len(self.parts)
            self.chain = TokenChain(options.chain, self.parts, size, self.matmul_dtype)
        else:
            self.head = dense(self, self.token_parameters)

    def __call__(self, condition_BZ: jax.Array, x_RQBI: jax.Array) -> jax.Array:
        """p_RQBP of all tokens at once, given the true tokens x_RQBI (teacher forcing)."""
        position_RQBD = self.position_embedding(condition_BZ)
        above_RQBJ = jnp.concatenate([_shift(x_RQBI, *by) for by in self.window_above], axis=-1)
        left_RQBJ = jnp.concatenate([_shift(x_RQBI, *by) for by in self.window_left], axis=-1)
        x_RQBD = self.embed_above(above_RQBJ) + position_RQBD
        y_RQBD = self.embed_left(left_RQBJ) + position_RQBD
        for vertical, horizontal in zip(self.vertical, self.horizontal, strict=True):
            x_RQBD = vertical(x_RQBD, condition_BZ)
            y_RQBD = horizontal(y_RQBD, x_RQBD, condition_BZ)
        y_RQBD = self.norm(y_RQBD)
        return self.chain(y_RQBD, x_RQBI) if self.options.chain else self.head(y_RQBD)

    def decode_free_running(
        self,
        condition_BZ: jax.Array,
        key_B: jax.Array,
        draw: Draw,
        known: Known | None = None,
        particles: Particles | None = None,
        resample_key_N: jax.Array | None = None,
    ) -> tuple[jax.Array, jax.Array, Particles | None]:
        """(p_RQBP, x_RQBI, particles), token by token in raster order.

        `draw`, the only reader of the keys, draws the inputs of a token, or with a chain those of a
        part of it. Given `particles`, the examples are their states, which the probabilities of
        known inputs weigh; they are resampled after each row by the keys of the images, and x_RQBI
        are their whole paths. p_RQBP is then not that of the paths.

        A scan over rows carries the vertical states of all columns and the last N rows, those of
        the window. Within a row, a scan over columns carries the horizontal states and the last M
        tokens.
        """
        rows, columns = self.grid
        batch = condition_BZ.shape[0]
        key_RQB = jax.vmap(lambda key: jax.random.split(key, self.grid), out_axes=2)(key_B)
        nn_scan = functools.partial(
            nn.scan,
            variable_broadcast="params",
            split_rngs={"params": False},
            check_constancy_invariants=False,  # they would be traced twice
        )

        def row_step(decoder, carry, inputs):
            carries, rows_NQBI, particles = carry  # the row above first
            row, position_QBD, keys_QB, known_Q = inputs
            row_condition_BZ = condition_BZ
            if particles is not None:
                row_condition_BZ = condition_BZ[particles.first_B]
                position_QBD = position_QBD[:, particles.first_B]
            above_QBJ = jnp.concatenate(
                [_shift(rows_NQBI, 0, left)[up - 1] for up, left in decoder.window_above], axis=-1
            )
            x_QBD = decoder.embed_above(above_QBJ) + position_QBD
            vertical_QBD, new_carries = [], []  # the vertical stream after each block
            for block, block_carry in zip(decoder.vertical, carries, strict=True):
                block_carry, x_QBD = block.step(block_carry, x_QBD, row_condition_BZ, row)
                new_carries.append(block_carry)
                vertical_QBD.append(x_QBD)

            def column_step(decoder, carry, inputs):
                carries, tokens_MBI = carry  # the nearest token first
                column, position_BD, key_B, known, vertical_BD = inputs
                left_BJ = jnp.concatenate(
                    [tokens_MBI[left - 1] for _, left in decoder.window_left], axis=-1
                )
                y_BD = decoder.embed_left(left_BJ) + position_BD
                new_carries = []
                blocks = zip(decoder.horizontal, carries, vertical_BD, strict=True)
                for block, block_carry, x_BD in blocks:
                    block_carry, y_BD = block.step(
                        block_carry, y_BD, x_BD, row_condition_BZ, column
                    )
                    new_carries.append(block_carry)
                y_BD = decoder.norm(y_BD)
                if decoder.options.chain:
                    p_BP, token_BI, log_p_B = decoder.chain.sample(y_BD, key_B, draw, known)
                else:
                    p_BP = decoder.head(y_BD)
                    token_BI, log_p_B = draw(p_BP, key_B, known)
                return (tuple(new_carries), _push(token_BI, tokens_MBI)), (p_BP, token_BI, log_p_B)

            none_MBI = jnp.zeros((len(decoder.window_left), batch, inputs_of_token))
            start = (decoder._zero_carries(batch), none_MBI)
            by_column = (jnp.arange(columns), position_QBD, keys_QB, known_Q)
            _, (p_QBP, token_QBI, log_p_QB) = nn_scan(column_step)(
                decoder, start, (*by_column, tuple(vertical_QBD))
            )
            carries, rows_NQBI, parent_B = tuple(new_carries), _push(token_QBI, rows_NQBI), None
            if particles is not None:
                particles, parent_B = reweigh(
                    particles, jnp.sum(log_p_QB, axis=0), resample_key_N, row
                )
                rows_NQBI = rows_NQBI[:, :, parent_B]
                line_X = (batch * jnp.arange(columns)[:, None] + parent_B[None]).ravel()
                carries = jax.tree.map(lambda carry_XD: carry_XD[line_X], carries)
            return (carries, rows_NQBI, particles), (p_QBP, token_QBI, parent_B)

        inputs_of_token = sum(map(len, self.parts))
        none_NQBI = jnp.zeros(
            (max(up for up, _ in self.window_above), columns, batch, inputs_of_token)
        )
        start = (self._zero_carries(columns * batch), none_NQBI, particles)
        position_RQBD = self.position_embedding(condition_BZ)
        by_row = (jnp.arange(rows), position_RQBD, key_RQB, known)
        (*_, particles), (p_RQBP, x_RQBI, parent_RB) = nn_scan(row_step)(self, start, by_row)
        if parent_RB is not None:
            x_RQBI = jax.vmap(lambda x_QBI, index_B: x_QBI[:, index_B])(
                x_RQBI, trace_back(parent_RB)
            )
        return p_RQBP, x_RQBI, particles

    def position_embedding(self, condition_BZ: jax.Array) -> jax.Array:
        """(R, Q, B, D): the embedding of a token's row and column, plus that of its projection of
        the condition."""
        position_RQ1D = self.row_embedding + self.column_embedding
        if not condition_BZ.shape[-1]:
            shape = (*self.grid, condition_BZ.shape[0], self.options.width)
            return jnp.broadcast_to(position_RQ1D, shape)
        latent_BRQV = self.token_latents(condition_BZ).reshape(
            -1, *self.grid, self.options.token_latent_width
        )
        return position_RQ1D + self.embed_token_latent(latent_BRQV.transpose(1, 2, 0, 3))

    def _zero_carries(self, lines: int):
        """Zero states of a forward sweep over `lines` parallel lines, for every block."""
        zero = zero_carries(self.options.cell, self.options.width, lines)
        return (zero,) * self.options.blocks


def _shift(x_RQBI: jax.Array, up: int, left: int) -> jax.Array:
    """The grid whose position (r, q) holds the token (r - up, q - left); 0 outside the image."""
    if up:
        x_RQBI = jnp.concatenate([jnp.zeros_like(x_RQBI[:up]), x_RQBI[:-up]])
    if left > 0:
        x_RQBI = jnp.concatenate([jnp.zeros_like(x_RQBI[:, :left]), x_RQBI[:, :-left]], axis=1)
    if left < 0:
        x_RQBI = jnp.concatenate([x_RQBI[:, -left:], jnp.zeros_like(x_RQBI[:, left:])], axis=1)
    return x_RQBI


def _push(newest: jax.Array, last: jax.Array) -> jax.Array:
    """`last`, an array of the last few values along its first axis, with `newest` in front."""
    return jnp.concatenate([newest[None], last[:-1]])

"""The blocks of the sweep autoencoder, and its decoder with two streams.

The decoder follows the gated PixelCNN (van den Oord et al. 2016) with recurrent sweeps in place of
masked convolutions. Its *vertical* stream sees the rows above a token. Its *horizontal* stream sees
the tokens to the left and, through the vertical stream, all rows above. One block is enough to see
all tokens before a token.

Nothing is masked. Instead the inputs are shifted: position (r, q) of the vertical stream starts
from the token above, (r - 1, q), and that of the horizontal stream from the token to the left,
(r, q - 1). Sweeps that run down, and to the right along a row, then never reach the current token.
Letters of axes are explained in `rnnae/types.py`.
"""

import dataclasses
import functools

import jax
import jax.numpy as jnp
from flax import linen as nn

from rnnae.nn.matmul import Dense
from rnnae.nn.recurrence import zero_carries
from rnnae.nn.sweeps import GridSweep

# Explicit names of submodules and parameters are historical. They are the paths in saved
# checkpoints, and initial values depend on them, so they must not change.


@dataclasses.dataclass(frozen=True)
class SweepOptions:
    """The keys of `config.model`; see `config/defaults.py`."""

    patch: int
    cell: str
    width: int  # D
    blocks: int
    encoder_blocks: int
    expansion: int
    condition: str
    segment: int
    sweeps_above: str
    sweep_down: bool
    sweep_row: bool
    token_latent_width: int


def _dense(block: nn.Module, features: int | None = None, **kwargs) -> Dense:
    """A dense layer with the `matmul_dtype` of the block; `features` defaults to its width."""
    features = block.options.width if features is None else features
    return Dense(features, matmul_dtype=block.matmul_dtype, **kwargs)


def _sweep(
    block: nn.Module, axis: str, direction: str = "forward", segment: int = 0, **kwargs
) -> GridSweep:
    """A sweep with the cell, the width and the `matmul_dtype` of the block."""
    cell, width = block.options.cell, block.options.width
    return GridSweep(cell, width, axis, direction, segment, block.matmul_dtype, **kwargs)


class MLPBlock(nn.Module):
    """x + MLP(LayerNorm(x)) at every position of x_XD, with one hidden GELU layer."""

    options: SweepOptions
    matmul_dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, x_XD: jax.Array) -> jax.Array:
        hidden = _dense(self, self.options.expansion * self.options.width)(nn.LayerNorm()(x_XD))
        return x_XD + _dense(self)(nn.gelu(hidden))


class ConditionedNorm(nn.Module):
    """LayerNorm of x_XBD, conditioned on condition_BZ, the latent with the class beside it.

    With `film`, the condition gives a scale and a shift of every unit (FiLM, Perez et al. 2018);
    with `add`, a shift only. A condition without dimensions changes nothing.
    """

    options: SweepOptions
    matmul_dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, x_XBD: jax.Array, condition_BZ: jax.Array) -> jax.Array:
        x_XBD = nn.LayerNorm()(x_XBD)
        if not condition_BZ.shape[-1]:
            return x_XBD
        lead = (1,) * (x_XBD.ndim - 2)
        shift_BD = _dense(self, name="shift")(condition_BZ)
        if self.options.condition == "film":
            scale_BD = _dense(self, name="scale")(condition_BZ)
            x_XBD = x_XBD * (1 + scale_BD.reshape(*lead, *scale_BD.shape))
        return x_XBD + shift_BD.reshape(*lead, *shift_BD.shape)


class EncoderBlock(nn.Module):
    """A sweep along rows and one along columns, each in both directions, and an MLP. The output of
    each is added to its input."""

    options: SweepOptions
    matmul_dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, x_RQBD: jax.Array) -> jax.Array:
        for index, axis in enumerate(("across", "down")):
            sweep = _sweep(self, axis, "both", name=f"Sweep_{index}")
            x_RQBD = x_RQBD + sweep(nn.LayerNorm()(x_RQBD))
        return MLPBlock(self.options, self.matmul_dtype, name="Mixer_0")(x_RQBD)


class VerticalBlock(nn.Module):
    """A block of the vertical stream: a sweep across in both directions (rows above are known as a
    whole), a sweep down, and an MLP; each is added to its input.

    Its output at (r, q) depends on its inputs in the rows up to r, which hold the tokens of the
    rows above r. `sweeps_above` sets the directions of the sweep across. With none, the conditioned
    norm is added in its place, so that the latent still enters. `sweep_down` can be turned off.
    """

    options: SweepOptions
    matmul_dtype: jnp.dtype = jnp.float32

    def setup(self):
        options = self.options
        self.conditioned_norm = ConditionedNorm(options, self.matmul_dtype, name="entry")
        if options.sweeps_above != "none":
            self.across = _sweep(self, "across", options.sweeps_above)
        if options.sweep_down:
            self.norm = nn.LayerNorm()
            self.down = _sweep(self, "down", segment=options.segment)
        self.mlp = MLPBlock(options, self.matmul_dtype, name="mixer")

    def __call__(self, x_RQBD: jax.Array, condition_BZ: jax.Array) -> jax.Array:
        x_RQBD = self._sweep_across(x_RQBD, condition_BZ)
        if self.options.sweep_down:
            x_RQBD = x_RQBD + self.down(self.norm(x_RQBD))
        return self.mlp(x_RQBD)

    def step(self, carries, x_QBD: jax.Array, condition_BZ: jax.Array, row: jax.Array):
        """One row of tokens: (carries of the sweep down, x_QBD) -> (carries, x_QBD)."""
        x_QBD = self._sweep_across(x_QBD[None], condition_BZ)[0]
        if self.options.sweep_down:
            x_ND = self.norm(x_QBD).reshape(-1, self.options.width)
            carries, h_ND = self.down.step(carries, x_ND, row)
            x_QBD = x_QBD + h_ND.reshape(x_QBD.shape)
        return carries, self.mlp(x_QBD)

    def _sweep_across(self, x_RQBD, condition_BZ):
        h_RQBD = self.conditioned_norm(x_RQBD, condition_BZ)
        return x_RQBD + (h_RQBD if self.options.sweeps_above == "none" else self.across(h_RQBD))


class HorizontalBlock(nn.Module):
    """A block of the horizontal stream: it adds the vertical stream, a forward sweep across and an
    MLP to its input.

    Its output at (r, q) depends on its inputs in row r up to column q, which hold the tokens to the
    left of q, and on the vertical stream at (r, q). Without `sweep_row`, the conditioned norm is
    added in place of the sweep, and only the nearest token to the left is seen.
    """

    options: SweepOptions
    matmul_dtype: jnp.dtype = jnp.float32

    def setup(self):
        options = self.options
        self.from_vertical = _dense(self, name="above")
        self.conditioned_norm = ConditionedNorm(options, self.matmul_dtype, name="entry")
        if options.sweep_row:
            self.across = _sweep(self, "across", segment=options.segment)
        self.mlp = MLPBlock(options, self.matmul_dtype, name="mixer")

    def __call__(self, y_RQBD: jax.Array, x_RQBD: jax.Array, condition_BZ: jax.Array) -> jax.Array:
        y_RQBD = y_RQBD + self.from_vertical(x_RQBD)
        h_RQBD = self.conditioned_norm(y_RQBD, condition_BZ)
        if self.options.sweep_row:
            h_RQBD = self.across(h_RQBD)
        return self.mlp(y_RQBD + h_RQBD)

    def step(
        self, carries, y_BD: jax.Array, x_BD: jax.Array, condition_BZ: jax.Array, column: jax.Array
    ):
        """One token: (carries of the sweep across, y_BD, x_BD) -> (carries, y_BD)."""
        y_BD = y_BD + self.from_vertical(x_BD)
        h_BD = self.conditioned_norm(y_BD, condition_BZ)
        if self.options.sweep_row:
            carries, h_BD = self.across.step(carries, h_BD, column)
        return carries, self.mlp(y_BD + h_BD)


class SweepDecoder(nn.Module):
    """(condition_BZ, tokens x_RQBI in [-1, 1]) -> likelihood parameters of every token, p_RQBP.

    The parameters of a token depend on the tokens before it in raster order. What they mean is up
    to the likelihood: with `categorical`, one softmax over all patterns of a token's pixels; with
    `bernoulli`, pixels that are independent given the tokens before.
    """

    options: SweepOptions
    matmul_dtype: jnp.dtype
    grid: tuple[int, int]  # rows and columns of tokens
    token_parameters: int  # P, likelihood parameters of a token

    def setup(self):
        options, (rows, columns) = self.options, self.grid
        init = nn.initializers.normal(0.1)
        self.row_embedding = self.param("row", init, (rows, 1, 1, options.width))
        self.column_embedding = self.param("column", init, (1, columns, 1, options.width))
        self.embed_above, self.embed_left = _dense(self), _dense(self)
        # Every token has its own linear projection of the latent, of width `token_latent_width`.
        self.token_latents = _dense(self, rows * columns * options.token_latent_width, name="views")
        self.embed_token_latent = _dense(self, use_bias=False, name="embed_view")
        block = (options, self.matmul_dtype)
        indices = range(options.blocks)
        self.vertical = [VerticalBlock(*block, name=f"vertical_{i}") for i in indices]
        self.horizontal = [HorizontalBlock(*block, name=f"horizontal_{i}") for i in indices]
        self.norm = nn.LayerNorm()
        self.head = _dense(self, self.token_parameters)

    def __call__(self, condition_BZ: jax.Array, x_RQBI: jax.Array) -> jax.Array:
        """p_RQBP of all tokens at once, given the true tokens x_RQBI (teacher forcing)."""
        position_RQBD = self.position_embedding(condition_BZ)
        zero_1QBI, zero_R1BI = jnp.zeros_like(x_RQBI[:1]), jnp.zeros_like(x_RQBI[:, :1])
        above_RQBI = jnp.concatenate([zero_1QBI, x_RQBI[:-1]])
        left_RQBI = jnp.concatenate([zero_R1BI, x_RQBI[:, :-1]], axis=1)
        x_RQBD = self.embed_above(above_RQBI) + position_RQBD
        y_RQBD = self.embed_left(left_RQBI) + position_RQBD
        for vertical, horizontal in zip(self.vertical, self.horizontal, strict=True):
            x_RQBD = vertical(x_RQBD, condition_BZ)
            y_RQBD = horizontal(y_RQBD, x_RQBD, condition_BZ)
        return self.head(self.norm(y_RQBD))

    def decode_free_running(
        self, condition_BZ: jax.Array, key_B: jax.Array, sample_token, known_RQBI, known_RQ
    ):
        """(p_RQBP, x_RQBI), token by token in raster order.

        `sample_token(p_BP, key_B)`, the only reader of the keys, samples a token. Where the mask
        known_RQ is true, the token of known_RQBI is taken instead. A scan over rows carries the
        vertical states of all columns. Within a row, a scan over columns carries the horizontal
        states.
        """
        rows, columns = self.grid
        batch = condition_BZ.shape[0]
        key_RQB = jax.vmap(lambda key: jax.random.split(key, self.grid), out_axes=2)(key_B)
        nn_scan = functools.partial(
            nn.scan, variable_broadcast="params", split_rngs={"params": False}
        )

        def row_step(decoder, carry, inputs):
            carries, above_QBI = carry
            row, position_QBD, keys_QB, known_QBI, known_Q = inputs
            x_QBD = decoder.embed_above(above_QBI) + position_QBD
            vertical_QBD, new_carries = [], []  # the vertical stream after each block
            for block, block_carry in zip(decoder.vertical, carries, strict=True):
                block_carry, x_QBD = block.step(block_carry, x_QBD, condition_BZ, row)
                new_carries.append(block_carry)
                vertical_QBD.append(x_QBD)

            def column_step(decoder, carry, inputs):
                carries, left_BI = carry
                column, position_BD, key_B, known_BI, known, vertical_BD = inputs
                y_BD = decoder.embed_left(left_BI) + position_BD
                new_carries = []
                blocks = zip(decoder.horizontal, carries, vertical_BD, strict=True)
                for block, block_carry, x_BD in blocks:
                    block_carry, y_BD = block.step(block_carry, y_BD, x_BD, condition_BZ, column)
                    new_carries.append(block_carry)
                p_BP = decoder.head(decoder.norm(y_BD))
                token_BI = jnp.where(known, known_BI, sample_token(p_BP, key_B))
                return (tuple(new_carries), token_BI), (p_BP, token_BI)

            start = (decoder._zero_carries(batch), jnp.zeros_like(above_QBI[0]))
            by_column = (jnp.arange(columns), position_QBD, keys_QB, known_QBI, known_Q)
            _, (p_QBP, token_QBI) = nn_scan(column_step)(
                decoder, start, (*by_column, tuple(vertical_QBD))
            )
            return (tuple(new_carries), token_QBI), (p_QBP, token_QBI)

        start = (self._zero_carries(columns * batch), jnp.zeros_like(known_RQBI[0]))
        position_RQBD = self.position_embedding(condition_BZ)
        by_row = (jnp.arange(rows), position_RQBD, key_RQB, known_RQBI, known_RQ)
        return nn_scan(row_step)(self, start, by_row)[1]

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

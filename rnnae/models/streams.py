"""What the sweep autoencoder is made of: blocks of sweeps, and its decoder of two streams.

As the gated PixelCNN (van den Oord et al. 2016), with sweeps in the place of masked convolutions:
the *vertical* stream sees the rows above, the *horizontal* one the tokens to the left and, through
the vertical one, all rows above. One block already sees everything before a token.
"""

import jax
import jax.numpy as jnp
from flax import linen as nn

from rnnae.nn.cells import dense_2d
from rnnae.nn.recurrence import Sweep, zero_carries

CONDITIONS = ("film", "add")
ABOVE = ("both", "forward", "backward", "none")


class Mixer(nn.Module):
    """LayerNorm and a position-wise GELU MLP, added to its input x_XD."""

    width: int
    expansion: int

    @nn.compact
    def __call__(self, x_XD: jax.Array) -> jax.Array:
        hidden = dense_2d(nn.Dense(self.expansion * self.width), nn.LayerNorm()(x_XD))
        return x_XD + dense_2d(nn.Dense(self.width), nn.gelu(hidden))


class Entry(nn.Module):
    """LayerNorm, and what the code says: scaled and shifted (FiLM, Perez et al. 2018) or shifted
    by a linear view of z_BZ; a code of no numbers says nothing."""

    width: int
    condition: str

    @nn.compact
    def __call__(self, x_XBD: jax.Array, z_BZ: jax.Array) -> jax.Array:
        x_XBD = nn.LayerNorm()(x_XBD)
        if not z_BZ.shape[-1]:
            return x_XBD
        lead = (1,) * (x_XBD.ndim - 2)
        shift_BD = nn.Dense(self.width, name="shift")(z_BZ)
        if self.condition == "film":
            scale_BD = nn.Dense(self.width, name="scale")(z_BZ)
            x_XBD = x_XBD * (1 + scale_BD.reshape(*lead, *scale_BD.shape))
        return x_XBD + shift_BD.reshape(*lead, *shift_BD.shape)


class TwoWay(nn.Module):
    """A block of the encoder: sweeps both ways across, both ways down, an MLP; each added."""

    cell: str
    width: int
    expansion: int

    @nn.compact
    def __call__(self, x_RQBD: jax.Array) -> jax.Array:
        for axis in ("across", "down"):
            sweep = Sweep(self.cell, self.width, axis, "both")
            x_RQBD = x_RQBD + sweep(nn.LayerNorm()(x_RQBD))
        return Mixer(self.width, self.expansion)(x_RQBD)


class Vertical(nn.Module):
    """A block of the vertical stream, whose token (r, q) is a function of the rows above r: both
    ways across (whole rows are known), down, an MLP; each added. `above` and `sees_down` leave
    sweeps out."""

    cell: str
    width: int
    expansion: int
    condition: str
    window: int
    above: str
    sees_down: bool

    def setup(self):
        self.entry = Entry(self.width, self.condition)
        if self.above != "none":
            self.across = Sweep(self.cell, self.width, "across", self.above)
        if self.sees_down:
            self.norm = nn.LayerNorm()
            self.down = Sweep(self.cell, self.width, "down", window=self.window)
        self.mixer = Mixer(self.width, self.expansion)

    def __call__(self, x_RQBD: jax.Array, z_BZ: jax.Array) -> jax.Array:
        x_RQBD = self._enter(x_RQBD, z_BZ)
        if self.sees_down:
            x_RQBD = x_RQBD + self.down(self.norm(x_RQBD))
        return self.mixer(x_RQBD)

    def step(self, carries, x_QBD: jax.Array, z_BZ: jax.Array, row: jax.Array):
        """One row: (carries, x_QBD) -> (carries, x_QBD)."""
        x_QBD = self._enter(x_QBD[None], z_BZ)[0]
        if self.sees_down:
            flat = self.norm(x_QBD).reshape(-1, self.width)
            carries, h_ND = self.down.step(carries, flat, row)
            x_QBD = x_QBD + h_ND.reshape(x_QBD.shape)
        return carries, self.mixer(x_QBD)

    def _enter(self, x_RQBD, z_BZ):
        entered_RQBD = self.entry(x_RQBD, z_BZ)
        return x_RQBD + (entered_RQBD if self.above == "none" else self.across(entered_RQBD))


class Horizontal(nn.Module):
    """A block of the horizontal stream, whose token (r, q) is a function of the tokens left of q in
    row r and of the vertical stream there: across, an MLP; each added. Without `sees_left` it is
    one of the token to the left alone."""

    cell: str
    width: int
    expansion: int
    condition: str
    window: int
    sees_left: bool

    def setup(self):
        self.above = nn.Dense(self.width)
        self.entry = Entry(self.width, self.condition)
        if self.sees_left:
            self.across = Sweep(self.cell, self.width, "across", window=self.window)
        self.mixer = Mixer(self.width, self.expansion)

    def __call__(self, y_RQBD: jax.Array, x_RQBD: jax.Array, z_BZ: jax.Array) -> jax.Array:
        y_RQBD = y_RQBD + dense_2d(self.above, x_RQBD)
        entered_RQBD = self.entry(y_RQBD, z_BZ)
        h_RQBD = self.across(entered_RQBD) if self.sees_left else entered_RQBD
        return self.mixer(y_RQBD + h_RQBD)

    def step(self, carries, y_BD: jax.Array, x_BD: jax.Array, z_BZ: jax.Array, column: jax.Array):
        """One token: (carries, y_BD) -> (carries, y_BD)."""
        y_BD = y_BD + self.above(x_BD)
        h_BD = self.entry(y_BD, z_BZ)
        if self.sees_left:
            carries, h_BD = self.across.step(carries, h_BD, column)
        return carries, self.mixer(y_BD + h_BD)


class Decoder(nn.Module):
    """(z_BZ, tokens x_RQBI in [-1, 1]) -> likelihood parameters of every token, p_RQBP."""

    grid: tuple[int, int]
    cell: str
    width: int
    blocks: int
    expansion: int
    condition: str
    window: int
    above: str
    sees_down: bool
    sees_left: bool
    view: int  # numbers of the code's own view of every token
    parameters: int  # P, likelihood parameters of a token

    def setup(self):
        rows, columns = self.grid
        init = nn.initializers.normal(0.1)
        self.row = self.param("row", init, (rows, 1, 1, self.width))
        self.column = self.param("column", init, (1, columns, 1, self.width))
        self.embed_above, self.embed_left = nn.Dense(self.width), nn.Dense(self.width)
        self.views = nn.Dense(rows * columns * self.view)
        self.embed_view = nn.Dense(self.width, use_bias=False)
        block = (self.cell, self.width, self.expansion, self.condition, self.window)
        self.vertical = [
            Vertical(*block, self.above, self.sees_down, name=f"vertical_{i}")
            for i in range(self.blocks)
        ]
        self.horizontal = [
            Horizontal(*block, self.sees_left, name=f"horizontal_{i}") for i in range(self.blocks)
        ]
        self.norm = nn.LayerNorm()
        self.head = nn.Dense(self.parameters)

    def __call__(self, z_BZ: jax.Array, x_RQBI: jax.Array) -> jax.Array:
        places_RQBD = self._places(z_BZ)
        zero_1QBI, zero_R1BI = jnp.zeros_like(x_RQBI[:1]), jnp.zeros_like(x_RQBI[:, :1])
        above_RQBI = jnp.concatenate([zero_1QBI, x_RQBI[:-1]])
        left_RQBI = jnp.concatenate([zero_R1BI, x_RQBI[:, :-1]], axis=1)
        x_RQBD = dense_2d(self.embed_above, above_RQBI) + places_RQBD
        y_RQBD = dense_2d(self.embed_left, left_RQBI) + places_RQBD
        for vertical, horizontal in zip(self.vertical, self.horizontal, strict=True):
            x_RQBD = vertical(x_RQBD, z_BZ)
            y_RQBD = horizontal(y_RQBD, x_RQBD, z_BZ)
        return dense_2d(self.head, self.norm(y_RQBD))

    def run_free(self, z_BZ: jax.Array, key_B: jax.Array, token, known_RQBI, given_RQ):
        """(p_RQBP, x_RQBI), token by token: `token(p_BP, key_B)` draws one; where `given_RQ`, that
        of known_RQBI is taken instead. A scan over rows carries the vertical states of every
        column; inside it, one over columns carries the horizontal ones."""
        rows, columns = self.grid
        batch = z_BZ.shape[0]
        key_RQB = jax.vmap(lambda key: jax.random.split(key, self.grid), out_axes=2)(key_B)

        def row_step(decoder, carry, inputs):
            states, above_QBI = carry
            row, places_QBD, keys_QB, known_QBI, given_Q = inputs
            x_QBD = decoder.embed_above(above_QBI.reshape(columns * batch, -1))
            x_QBD = x_QBD.reshape(columns, batch, -1) + places_QBD
            streams, after = [], []
            for block, state in zip(decoder.vertical, states, strict=True):
                state, x_QBD = block.step(state, x_QBD, z_BZ, row)
                after.append(state)
                streams.append(x_QBD)

            def column_step(decoder, carry, inputs):
                states, left_BI = carry
                column, place_BD, key_B, known_BI, given, above = inputs
                y_BD = decoder.embed_left(left_BI) + place_BD
                after = []
                for block, state, x_BD in zip(decoder.horizontal, states, above, strict=True):
                    state, y_BD = block.step(state, y_BD, x_BD, z_BZ, column)
                    after.append(state)
                p_BP = decoder.head(decoder.norm(y_BD))
                token_BI = jnp.where(given, known_BI, token(p_BP, key_B))
                return (tuple(after), token_BI), (p_BP, token_BI)

            first = (decoder._zero(batch), jnp.zeros_like(above_QBI[0]))
            of_columns = (jnp.arange(columns), places_QBD, keys_QB, known_QBI, given_Q)
            scan = nn.scan(column_step, variable_broadcast="params", split_rngs={"params": False})
            _, (p_QBP, token_QBI) = scan(decoder, first, (*of_columns, tuple(streams)))
            return (tuple(after), token_QBI), (p_QBP, token_QBI)

        first = (self._zero(columns * batch), jnp.zeros_like(known_RQBI[0]))
        of_rows = (jnp.arange(rows), self._places(z_BZ), key_RQB, known_RQBI, given_RQ)
        scan = nn.scan(row_step, variable_broadcast="params", split_rngs={"params": False})
        return scan(self, first, of_rows)[1]

    def _zero(self, lines: int):
        """The first states of every block's forward sweep over so many lines."""
        return (zero_carries(self.cell, self.width, lines),) * self.blocks

    def _places(self, z_BZ):
        """What a token's place is to both streams: its row, its column, its view of the code."""
        places = self.row + self.column
        if not z_BZ.shape[-1]:
            return jnp.broadcast_to(places, (*self.grid, z_BZ.shape[0], self.width))
        view = self.views(z_BZ).reshape(-1, *self.grid, self.view).transpose(1, 2, 0, 3)
        return places + dense_2d(self.embed_view, view)

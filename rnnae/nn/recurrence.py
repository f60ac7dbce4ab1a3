"""A cell over time: one `nn.scan`, its direction, and stacks of such layers; sweeps over a grid.

Time is the leading axis. `Layer` is one cell in one direction or both; `Stack` is connected layers.
Only a forward stack can also be advanced one step at a time (`Stack.step`), which is how a decoder
that reads its own output samples. `Sweep` is a layer along one axis of a grid of tokens, all its
lines at once.
"""

import jax
import jax.numpy as jnp
from flax import linen as nn

from rnnae.errors import ConfigError, choose
from rnnae.nn import scans
from rnnae.nn.cells import Carry, Cell, GatedCell, LinearCell, cell_type, dense_2d

DIRECTIONS = ("forward", "backward", "both")
CONNECTIONS = ("residual", "skip", "none")


def scan_cell(
    cell: Cell, carry: Carry, x_TBI: jax.Array, reverse: bool = False
) -> tuple[Carry, jax.Array]:
    """Runs `cell` along the leading axis of x_TBI; h_TBD is aligned with it, also in reverse.
    Inputs that are the same for all examples may be x_T1I."""
    if isinstance(cell, LinearCell):
        h_BE = cell.from_state(carry[0])
        a_TBE, b_TBE = cell.coefficients(cell.project(x_TBI))
        b_TBE = jnp.broadcast_to(b_TBE, (len(x_TBI), *h_BE.shape))
        h_TBD = cell.to_state(scans.linear(a_TBE, b_TBE, h_BE, reverse))
        return (h_TBD[0 if reverse else -1],), h_TBD
    if isinstance(cell, GatedCell) and not cell.is_initializing():
        return _scan_gated(cell, carry, x_TBI, reverse)

    def step(cell, carry, projected_BG):
        return cell.step(carry, projected_BG)

    scan = nn.scan(step, variable_broadcast="params", split_rngs={"params": False}, reverse=reverse)
    return scan(cell, carry, cell.project(x_TBI))


def _scan_gated(cell, carry, x_TBI, reverse):
    """Narrow inputs are read step by step, in one product with the state: what the gates are made
    of stays in the cache. Others are read before, all at once."""
    steps, batch, width = x_TBI.shape
    kernel_KG, bias_G = cell.weights(cell.recurrent)
    read_T = ()
    if cell.summed and width < cell.width and batch == carry[0].shape[0]:
        kernel_IG, more_G = cell.weights(cell.input)
        kernel_KG, bias_G = jnp.concatenate([kernel_KG, kernel_IG]), bias_G + more_G
    else:
        read_T = cell.of_input(cell.project(x_TBI))
        x_TBI = jnp.zeros((steps, carry[0].shape[0], 0))
    dtype = cell.operands()
    return scans.gated(type(cell), dtype, reverse, kernel_KG, bias_G, x_TBI, read_T, carry)


def zero_carries(cell: str, width: int, batch: int, cells: int = 1) -> tuple[Carry, ...]:
    """The states of so many cells before the first step."""
    zero = (jnp.zeros((batch, width)),) * cell_type(cell).state_size
    return (zero,) * cells


class Layer(nn.Module):
    """One cell over time, `forward`, `backward` or `both` (then h_TB2D, forward half first)."""

    cell: str
    width: int
    direction: str = "forward"

    def setup(self):
        choose(dict.fromkeys(DIRECTIONS), "a direction", self.direction)
        new = cell_type(self.cell)
        if self.direction != "backward":
            self.forward = new(self.width)
        if self.direction != "forward":
            self.backward = new(self.width)

    @property
    def cells(self) -> int:
        return 2 if self.direction == "both" else 1

    def __call__(self, x_TBI: jax.Array, carries: tuple[Carry, ...]):
        """x_TBI and one carry for each cell -> (final carries, h_TBD or h_TB2D)."""
        ends, outputs = [], []
        for carry, reverse in zip(carries, self._reverses(), strict=True):
            cell = self.backward if reverse else self.forward
            end, h_TBD = scan_cell(cell, carry, x_TBI, reverse)
            ends.append(end)
            outputs.append(h_TBD)
        return tuple(ends), jnp.concatenate(outputs, axis=-1)

    def step(self, carries: tuple[Carry, ...], x_BI: jax.Array):
        """One step of a forward layer."""
        if self.direction != "forward":
            raise ConfigError("only a forward recurrence can be run one step at a time")
        carry, h_BD = self.forward(carries[0], x_BI)
        return (carry,), h_BD

    def _reverses(self) -> tuple[bool, ...]:
        return {"forward": (False,), "backward": (True,), "both": (False, True)}[self.direction]


class Stack(nn.Module):
    """`layers` recurrent layers, each reading the one below: `none`; `residual`, from the second on
    added to what they read (He et al. 2016); or `skip`, the sum of all is the stack's output
    (the outward half of the skips of Graves 2013).

    Carries are a flat tuple, one a cell: layer by layer, forward before backward.
    """

    cell: str
    width: int
    layers: int = 1
    direction: str = "forward"
    connections: str = "residual"

    def setup(self):
        choose(dict.fromkeys(CONNECTIONS), "config.model.connections", self.connections)
        self.stack = [
            Layer(self.cell, self.width, self.direction, name=f"layer_{i}")
            for i in range(self.layers)
        ]

    @property
    def cells(self) -> int:
        """Carries that `__call__` takes and returns."""
        return self.layers * (2 if self.direction == "both" else 1)

    @nn.nowrap
    def zero_carries(self, batch: int) -> tuple[Carry, ...]:
        return zero_carries(self.cell, self.width, batch, self.cells)

    def __call__(self, x_TBI: jax.Array, carries: tuple[Carry, ...] | None = None):
        """x_TBI -> (final carries, h_TBD); carries start at zero unless given."""
        carries = self.zero_carries(x_TBI.shape[1]) if carries is None else carries
        return self._through(lambda layer, h, c: layer(h, c), x_TBI, carries)

    def step(self, carries: tuple[Carry, ...], x_BI: jax.Array):
        """One step of a forward stack: (carries, x_BI) -> (carries, h_BD)."""
        return self._through(lambda layer, h, c: layer.step(c, h), x_BI, carries)

    def _through(self, apply, x, carries):
        ends: tuple[Carry, ...] = ()
        outputs = []
        for index, layer in enumerate(self.stack):
            own = carries[index * layer.cells : (index + 1) * layer.cells]
            own_ends, h = apply(layer, x, own)
            x = x + h if self.connections == "residual" and index else h
            outputs.append(h)
            ends += own_ends
        return ends, sum(outputs) if self.connections == "skip" else x


class Sweep(nn.Module):
    """A `Layer` along an axis of a grid, `down` (over rows) or `across` (over columns), and a dense
    layer over what it gives: x_RQBI -> h_RQBD.

    `window` cuts the axis into segments of so many tokens that see nothing of each other; 0 does
    not.
    """

    cell: str
    width: int
    axis: str
    direction: str = "forward"
    window: int = 0

    def setup(self):
        self.layer = Layer(self.cell, self.width, self.direction)
        self.out = nn.Dense(self.width)

    def __call__(self, x_RQBI: jax.Array) -> jax.Array:
        x_TLBI = x_RQBI if self.axis == "down" else x_RQBI.swapaxes(0, 1)
        tokens, lines, batch, size = x_TLBI.shape
        window = self.window or tokens
        if tokens % window:
            raise ConfigError(
                f"config.model.window={window} does not divide the {tokens} tokens of a line"
            )
        segments = tokens // window
        # Segments become lines: (segment, t, line, B) -> (t, segment, line, B).
        x_TNI = x_TLBI.reshape(segments, window, -1, size).swapaxes(0, 1).reshape(window, -1, size)
        carries = zero_carries(self.cell, self.width, x_TNI.shape[1], self.layer.cells)
        _, h_TND = self.layer(x_TNI, carries)
        h_TND = dense_2d(self.out, h_TND)
        h_TLBD = h_TND.reshape(window, segments, -1, self.width).swapaxes(0, 1)
        h_TLBD = h_TLBD.reshape(tokens, lines, batch, self.width)
        return h_TLBD if self.axis == "down" else h_TLBD.swapaxes(0, 1)

    def step(self, carries: tuple[Carry, ...], x_NI: jax.Array, position: jax.Array):
        """One token of every line of a forward sweep, at `position` of the axis:
        (carries, x_NI) -> (carries, h_ND)."""
        if self.window:
            fresh = position % self.window == 0
            carries = jax.tree.map(lambda h: jnp.where(fresh, jnp.zeros_like(h), h), carries)
        carries, h_ND = self.layer.step(carries, x_NI)
        return carries, self.out(h_ND)

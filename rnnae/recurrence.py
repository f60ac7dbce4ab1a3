"""A cell over time: one `nn.scan`, its direction, and stacks of such layers.

Time is the leading axis. `Layer` is one cell in one direction or both; `Stack` is layers with
residual connections. Only a forward stack can also be advanced one step at a time (`Stack.step`),
which is how a decoder that reads its own output samples.
"""

import jax
import jax.numpy as jnp
from flax import linen as nn

from rnnae.cells import Carry, Cell, cell_type
from rnnae.errors import ConfigError

DIRECTIONS = ("forward", "backward", "both")


def scan_cell(
    cell: Cell, carry: Carry, x_TBI: jax.Array, reverse: bool = False
) -> tuple[Carry, jax.Array]:
    """Runs `cell` along the leading axis of x_TBI; h_TBD is aligned with it, also in reverse."""

    def step(cell, carry, projected_BG):
        return cell.step(carry, projected_BG)

    scan = nn.scan(step, variable_broadcast="params", split_rngs={"params": False}, reverse=reverse)
    return scan(cell, carry, cell.project(x_TBI))


class Layer(nn.Module):
    """One cell over time, `forward`, `backward` or `both` (then h_TB2D, forward half first)."""

    cell: str
    width: int
    direction: str = "forward"

    def setup(self):
        if self.direction not in DIRECTIONS:
            raise ConfigError(
                f"unknown direction {self.direction!r}; choose one of {', '.join(DIRECTIONS)}"
            )
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
    """`layers` recurrent layers, each reading the one below; from the second on with a residual.

    Carries are a flat tuple, one a cell: layer by layer, forward before backward.
    """

    cell: str
    width: int
    layers: int = 1
    direction: str = "forward"
    residual: bool = True

    def setup(self):
        self.stack = [
            Layer(self.cell, self.width, self.direction, name=f"layer_{i}")
            for i in range(self.layers)
        ]

    @property
    def cells(self) -> int:
        """Carries that `__call__` takes and returns."""
        return self.layers * (2 if self.direction == "both" else 1)

    @property
    def output_width(self) -> int:
        return self.width * (2 if self.direction == "both" else 1)

    @nn.nowrap
    def zero_carries(self, batch: int) -> tuple[Carry, ...]:
        zero = (jnp.zeros((batch, self.width)),) * cell_type(self.cell).state_size
        return (zero,) * self.cells

    def __call__(self, x_TBI: jax.Array, carries: tuple[Carry, ...] | None = None):
        """x_TBI -> (final carries, h_TBD); carries start at zero unless given."""
        carries = self.zero_carries(x_TBI.shape[1]) if carries is None else carries
        return self._through(lambda layer, h, c: layer(h, c), x_TBI, carries)

    def step(self, carries: tuple[Carry, ...], x_BI: jax.Array):
        """One step of a forward stack: (carries, x_BI) -> (carries, h_BD)."""
        return self._through(lambda layer, h, c: layer.step(c, h), x_BI, carries)

    def _through(self, apply, x, carries):
        ends: tuple[Carry, ...] = ()
        for index, layer in enumerate(self.stack):
            own = carries[index * layer.cells : (index + 1) * layer.cells]
            own_ends, h = apply(layer, x, own)
            x = x + h if self.residual and index else h
            ends += own_ends
        return ends, x

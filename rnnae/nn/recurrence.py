"""A cell over time: one scan, its direction, and stacks of recurrent layers.

Time is the leading axis. `Layer` runs one cell in one direction, or two cells in both directions.
`Stack` is several layers on top of each other. A stack whose direction is `forward` can also
advance one step at a time (`Stack.step`). Autoregressive decoders need that for sampling.
"""

import jax
import jax.numpy as jnp
from flax import linen as nn

from rnnae.config.choices import CHOICES, DIRECTIONS
from rnnae.errors import ConfigError, check_choice
from rnnae.nn import scans
from rnnae.nn.cells import Carry, Cell, GatedCell, LinearCell, cell_type


def scan_cell(
    cell: Cell, carry: Carry, x_TBI: jax.Array, reverse: bool = False
) -> tuple[Carry, jax.Array]:
    """Runs `cell` along the leading axis of x_TBI and returns (final carry, h_TBD).

    With `reverse`, time runs from the last step to the first; h_TBD stays aligned with x_TBI.
    Inputs that are the same for all examples may be given once, as x_T1I.
    """
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
    """Chooses where the input is multiplied by its kernel.

    A narrow input is multiplied in every step, in one product with the state: then the summands of
    the gates stay in the cache. Other inputs are multiplied before the scan, for all steps at once.
    """
    steps, batch, inputs = x_TBI.shape
    kernel_KG, bias_G = cell.weights(cell.recurrent)
    input_gates_T = ()
    if cell.additive_gates and inputs < cell.width and batch == carry[0].shape[0]:
        kernel_IG, input_bias_G = cell.weights(cell.input)
        kernel_KG, bias_G = jnp.concatenate([kernel_KG, kernel_IG]), bias_G + input_bias_G
    else:
        input_gates_T = cell.input_gates(cell.project(x_TBI))
        x_TBI = jnp.zeros((steps, carry[0].shape[0], 0))
    return scans.gated(
        type(cell), cell.matmul_dtype, reverse, kernel_KG, bias_G, x_TBI, input_gates_T, carry
    )


def zero_carries(cell: str, width: int, batch: int, cells: int = 1) -> tuple[Carry, ...]:
    """Carries of zeros for `cells` cells: the states before the first step."""
    zero = (jnp.zeros((batch, width)),) * cell_type(cell).state_size
    return (zero,) * cells


class Layer(nn.Module):
    """One recurrent layer with direction `forward`, `backward` or `both`.

    With `both`, its output is h_TB2D, the forward half first.
    """

    cell: str
    width: int
    direction: str = "forward"
    matmul_dtype: jnp.dtype = jnp.float32

    def setup(self):
        check_choice(DIRECTIONS, "a direction", self.direction)
        new_cell = cell_type(self.cell)
        if self.direction != "backward":
            self.forward = new_cell(self.width, self.matmul_dtype)
        if self.direction != "forward":
            self.backward = new_cell(self.width, self.matmul_dtype)

    @property
    def cells(self) -> int:
        """Number of cells, and so of carries."""
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
        """One step: (carries, x_BI) -> (carries, h_BD). ConfigError unless the direction is
        `forward`."""
        if self.direction != "forward":
            raise ConfigError("only a forward recurrence can be run one step at a time")
        carry, h_BD = self.forward(carries[0], x_BI)
        return (carry,), h_BD

    def _reverses(self) -> tuple[bool, ...]:
        return {"forward": (False,), "backward": (True,), "both": (False, True)}[self.direction]


class Stack(nn.Module):
    """`layers` recurrent layers, where each layer's input is the output of the layer below.

    `connections` is `none`, `residual` or `skip`. With `residual`, every layer but the first adds
    its input to its output (He et al. 2016). With `skip`, the output of the stack is the sum of the
    outputs of all layers (the output half of the skip connections of Graves 2013).

    Carries are a flat tuple with one carry for each cell: layer by layer, forward before backward.
    """

    cell: str
    width: int
    layers: int = 1
    direction: str = "forward"
    connections: str = "residual"
    matmul_dtype: jnp.dtype = jnp.float32

    def setup(self):
        check_choice(CHOICES["model.connections"], "config.model.connections", self.connections)
        self.stack = [
            Layer(self.cell, self.width, self.direction, self.matmul_dtype, name=f"layer_{i}")
            for i in range(self.layers)
        ]

    @property
    def cells(self) -> int:
        """Number of carries that `__call__` takes and returns."""
        return self.layers * (2 if self.direction == "both" else 1)

    @nn.nowrap
    def zero_carries(self, batch: int) -> tuple[Carry, ...]:
        return zero_carries(self.cell, self.width, batch, self.cells)

    def __call__(self, x_TBI: jax.Array, carries: tuple[Carry, ...] | None = None):
        """x_TBI -> (final carries, h_TBD). Carries start at zero unless they are given."""
        carries = self.zero_carries(x_TBI.shape[1]) if carries is None else carries
        return self._apply_layers(lambda layer, h, c: layer(h, c), x_TBI, carries)

    def step(self, carries: tuple[Carry, ...], x_BI: jax.Array):
        """One step of a forward stack: (carries, x_BI) -> (carries, h_BD)."""
        return self._apply_layers(lambda layer, h, c: layer.step(c, h), x_BI, carries)

    def _apply_layers(self, apply, x, carries):
        ends: tuple[Carry, ...] = ()
        outputs = []
        for index, layer in enumerate(self.stack):
            layer_carries = carries[index * layer.cells : (index + 1) * layer.cells]
            layer_ends, h = apply(layer, x, layer_carries)
            x = x + h if self.connections == "residual" and index else h
            outputs.append(h)
            ends += layer_ends
        return ends, sum(outputs) if self.connections == "skip" else x

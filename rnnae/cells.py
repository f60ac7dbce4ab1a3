"""Cells: one step of recurrence.

A cell is two halves: `project`, what its gates read from the input, which does not depend on time
and so is one matrix product for the whole sequence; and `step`, what must be done in order. To add
a cell: subclass `Cell`, add its line to `CELLS`. Every test in `cells_test.py` then runs on it.
"""

from collections.abc import Callable
from typing import ClassVar

import jax
import jax.numpy as jnp
from flax import linen as nn

from rnnae.errors import choose

Carry = tuple[jax.Array, ...]  # the state: `state_size` arrays of shape (B, D), h first


def dense_2d(layer: nn.Dense, x_XI: jax.Array) -> jax.Array:
    """`layer` over the last axis, through two dimensions.

    On the CPU the weight gradient of a dense layer over three or more axes misses XLA's GEMM.
    """
    return layer(x_XI.reshape(-1, x_XI.shape[-1])).reshape(*x_XI.shape[:-1], -1)


def _orthogonal_gates(gates: int) -> Callable:
    """One orthogonal matrix for each gate (Saxe et al. 2014), side by side."""
    orthogonal = nn.initializers.orthogonal()

    def init(key, shape, dtype=jnp.float32):
        width = shape[0]
        keys = jax.random.split(key, gates)
        return jnp.concatenate([orthogonal(k, (width, width), dtype) for k in keys], axis=1)

    return init


def _gate_bias(gates: int, **values: float) -> Callable:
    """Zero but for the gates named `g<index>`, which start at the value given."""

    def init(key, shape, dtype=jnp.float32):
        bias = jnp.zeros((gates, shape[0] // gates), dtype)
        for name, value in values.items():
            bias = bias.at[int(name[1:])].set(value)
        return bias.reshape(shape)

    return init


class Cell(nn.RNNCellBase):
    """Interface of a cell of `width` D.

    `project`: x_XI -> p_XG, with any leading axes X; `step`: (carry, p_BG) -> (carry, h_BD).
    """

    width: int
    state_size: ClassVar[int]  # arrays of shape (B, D) in the carry

    def project(self, x_XI: jax.Array) -> jax.Array:
        raise NotImplementedError

    def step(self, carry: Carry, projected_BG: jax.Array) -> tuple[Carry, jax.Array]:
        raise NotImplementedError

    def __call__(self, carry: Carry, x_BI: jax.Array) -> tuple[Carry, jax.Array]:
        return self.step(carry, self.project(x_BI))

    @nn.nowrap
    def initialize_carry(self, rng, input_shape: tuple[int, ...]) -> Carry:
        """Zeros for inputs of `input_shape` (B, I); `rng` is unused."""
        del rng
        return (jnp.zeros((*input_shape[:-1], self.width)),) * self.state_size

    @property
    def num_feature_axes(self) -> int:
        return 1


class SimpleCell(Cell):
    """Elman (1990): h' = tanh(W x + U h + b)."""

    state_size: ClassVar[int] = 1

    def setup(self):
        self.input = nn.Dense(self.width)
        self.recurrent = nn.Dense(
            self.width, use_bias=False, kernel_init=nn.initializers.orthogonal()
        )

    def project(self, x_XI):
        return dense_2d(self.input, x_XI)

    def step(self, carry, projected_BG):
        (h_BD,) = carry
        h_BD = jnp.tanh(projected_BG + self.recurrent(h_BD))
        return (h_BD,), h_BD


class GRUCell(Cell):
    """Cho et al. (2014) in the form whose reset gate acts after the product (as in cuDNN).

    r, z = sigmoid(W x + U h + b); n = tanh(W_n x + b_n + r (U_n h + c_n)); h' = (1 - z) n + z h.
    """

    state_size: ClassVar[int] = 1

    def setup(self):
        self.input = nn.Dense(3 * self.width)
        self.recurrent = nn.Dense(3 * self.width, kernel_init=_orthogonal_gates(3))

    def project(self, x_XI):
        return dense_2d(self.input, x_XI)

    def step(self, carry, projected_BG):
        (h_BD,) = carry
        r_in, z_in, n_in = jnp.split(projected_BG, 3, axis=-1)
        r_rec, z_rec, n_rec = jnp.split(self.recurrent(h_BD), 3, axis=-1)
        r_BD, z_BD = nn.sigmoid(r_in + r_rec), nn.sigmoid(z_in + z_rec)
        n_BD = jnp.tanh(n_in + r_BD * n_rec)
        h_BD = (1 - z_BD) * n_BD + z_BD * h_BD
        return (h_BD,), h_BD


class LSTMCell(Cell):
    """Hochreiter & Schmidhuber (1997) with the forget gate of Gers et al. (2000), biased to 1.

    i, f, o = sigmoid(W x + U h + b); g = tanh(W_g x + U_g h + b_g);
    c' = f c + i g; h' = o tanh(c').
    """

    state_size: ClassVar[int] = 2

    def setup(self):
        self.input = nn.Dense(4 * self.width, bias_init=_gate_bias(4, g1=1.0))
        self.recurrent = nn.Dense(4 * self.width, use_bias=False, kernel_init=_orthogonal_gates(4))

    def project(self, x_XI):
        return dense_2d(self.input, x_XI)

    def step(self, carry, projected_BG):
        h_BD, c_BD = carry
        i, f, g, o = jnp.split(projected_BG + self.recurrent(h_BD), 4, axis=-1)
        c_BD = nn.sigmoid(f) * c_BD + nn.sigmoid(i) * jnp.tanh(g)
        h_BD = nn.sigmoid(o) * jnp.tanh(c_BD)
        return (h_BD, c_BD), h_BD


class LayerNormLSTMCell(Cell):
    """Ba, Kiros & Hinton (2016), equations 20-22: both products and the cell are normalised.

    i, f, g, o = LN(U h) + LN(W x) + b; c' = sigma(f) c + sigma(i) tanh(g);
    h' = sigma(o) tanh(LN(c')).
    """

    state_size: ClassVar[int] = 2

    def setup(self):
        self.input = nn.Dense(4 * self.width, use_bias=False)
        # The one bias b of equation 20 is this norm's; the recurrent norm has a gain only.
        self.input_norm = nn.LayerNorm(bias_init=_gate_bias(4, g1=1.0))
        self.recurrent = nn.Dense(4 * self.width, use_bias=False, kernel_init=_orthogonal_gates(4))
        self.recurrent_norm = nn.LayerNorm(use_bias=False)
        self.cell_norm = nn.LayerNorm()

    def project(self, x_XI):
        return self.input_norm(dense_2d(self.input, x_XI))

    def step(self, carry, projected_BG):
        h_BD, c_BD = carry
        gates_BG = projected_BG + self.recurrent_norm(self.recurrent(h_BD))
        i, f, g, o = jnp.split(gates_BG, 4, axis=-1)
        c_BD = nn.sigmoid(f) * c_BD + nn.sigmoid(i) * jnp.tanh(g)
        h_BD = nn.sigmoid(o) * jnp.tanh(self.cell_norm(c_BD))
        return (h_BD, c_BD), h_BD


CELLS: dict[str, type[Cell]] = {
    "simple": SimpleCell,
    "gru": GRUCell,
    "lstm": LSTMCell,
    "layer_norm_lstm": LayerNormLSTMCell,
}


def cell_type(name: str) -> type[Cell]:
    """The cell called `name`; ConfigError with the choices if there is none."""
    return choose(CELLS, "config.model.cell", name)

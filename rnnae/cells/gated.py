"""Cells whose gates read the state: each step waits for the one before."""

from typing import ClassVar

import jax
import jax.numpy as jnp
from flax import linen as nn

from rnnae.cells.cell import Carry, Cell, dense_2d, gate_bias, orthogonal_gates


class GatedCell(Cell):
    """Interface of cells with one product with the state, U h, and no other parameter in a step.

    `recurrent` is the layer of that product; `gates`: (p_BG, r_BG) -> s_BS, linear, puts together
    what was read from the input and from the state; `advance`: (carry, s_BS) -> carry. Both are
    functions of their arguments alone, element by element.
    """

    def step(self, carry, projected_BG):
        carry = self.advance(carry, self.gates(projected_BG, self.recurrent(carry[0])))
        return carry, carry[0]

    def weights(self) -> tuple[jax.Array, jax.Array]:
        """U and c of the product with the state, for who does that product."""
        params = self.recurrent.variables["params"]
        kernel_DG = params["kernel"]
        return kernel_DG, params.get("bias", jnp.zeros(kernel_DG.shape[1]))

    def operands(self) -> jnp.dtype:
        """What the operands of that product are rounded to; see `precision.py`."""
        return jnp.dtype(jnp.float32)

    @staticmethod
    def gates(projected_BG: jax.Array, recurrent_BG: jax.Array) -> jax.Array:
        return projected_BG + recurrent_BG

    @staticmethod
    def advance(carry: Carry, gates_BS: jax.Array) -> Carry:
        raise NotImplementedError


class SimpleCell(GatedCell):
    """Elman (1990): h' = tanh(W x + U h + b)."""

    state_size: ClassVar[int] = 1

    def setup(self):
        self.input = nn.Dense(self.width)
        self.recurrent = nn.Dense(
            self.width, use_bias=False, kernel_init=nn.initializers.orthogonal()
        )

    def project(self, x_XI):
        return dense_2d(self.input, x_XI)

    @staticmethod
    def advance(carry, gates_BS):
        return (jnp.tanh(gates_BS),)


class GRUCell(GatedCell):
    """Cho et al. (2014) in the form whose reset gate acts after the product (as in cuDNN).

    r, z = sigmoid(W x + U h + b); n = tanh(W_n x + b_n + r (U_n h + c_n)); h' = (1 - z) n + z h.
    """

    state_size: ClassVar[int] = 1

    def setup(self):
        self.input = nn.Dense(3 * self.width)
        self.recurrent = nn.Dense(3 * self.width, kernel_init=orthogonal_gates(3))

    def project(self, x_XI):
        return dense_2d(self.input, x_XI)

    @staticmethod
    def gates(projected_BG, recurrent_BG):
        """r and z summed, the two sides of n apart."""
        split = projected_BG.shape[-1] // 3 * 2
        both = projected_BG[..., :split] + recurrent_BG[..., :split]
        return jnp.concatenate([both, projected_BG[..., split:], recurrent_BG[..., split:]], -1)

    @staticmethod
    def advance(carry, gates_BS):
        (h_BD,) = carry
        r, z, n_in, n_rec = jnp.split(gates_BS, 4, axis=-1)
        z_BD = nn.sigmoid(z)
        n_BD = jnp.tanh(n_in + nn.sigmoid(r) * n_rec)
        return ((1 - z_BD) * n_BD + z_BD * h_BD,)


class LSTMCell(GatedCell):
    """Hochreiter & Schmidhuber (1997) with the forget gate of Gers et al. (2000), biased to 1.

    i, f, o = sigmoid(W x + U h + b); g = tanh(W_g x + U_g h + b_g);
    c' = f c + i g; h' = o tanh(c').
    """

    state_size: ClassVar[int] = 2

    def setup(self):
        self.input = nn.Dense(4 * self.width, bias_init=gate_bias(4, g1=1.0))
        self.recurrent = nn.Dense(4 * self.width, use_bias=False, kernel_init=orthogonal_gates(4))

    def project(self, x_XI):
        return dense_2d(self.input, x_XI)

    @staticmethod
    def advance(carry, gates_BS):
        i, f, g, o = jnp.split(gates_BS, 4, axis=-1)
        c_BD = nn.sigmoid(f) * carry[1] + nn.sigmoid(i) * jnp.tanh(g)
        return nn.sigmoid(o) * jnp.tanh(c_BD), c_BD


class LayerNormLSTMCell(Cell):
    """Ba, Kiros & Hinton (2016), equations 20-22: both products and the cell are normalised.

    i, f, g, o = LN(U h) + LN(W x) + b; c' = sigma(f) c + sigma(i) tanh(g);
    h' = sigma(o) tanh(LN(c')).
    """

    state_size: ClassVar[int] = 2

    def setup(self):
        self.input = nn.Dense(4 * self.width, use_bias=False)
        # The one bias b of equation 20 is this norm's; the recurrent norm has a gain only.
        self.input_norm = nn.LayerNorm(bias_init=gate_bias(4, g1=1.0))
        self.recurrent = nn.Dense(4 * self.width, use_bias=False, kernel_init=orthogonal_gates(4))
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

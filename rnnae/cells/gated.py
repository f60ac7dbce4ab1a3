"""Cells whose gates read the state: each step waits for the one before."""

from typing import ClassVar

import jax.numpy as jnp
from flax import linen as nn

from rnnae.cells.cell import Cell, dense_2d, gate_bias, orthogonal_gates


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
        self.recurrent = nn.Dense(3 * self.width, kernel_init=orthogonal_gates(3))

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
        self.input = nn.Dense(4 * self.width, bias_init=gate_bias(4, g1=1.0))
        self.recurrent = nn.Dense(4 * self.width, use_bias=False, kernel_init=orthogonal_gates(4))

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

"""Cells whose gates read the state: each step waits for the one before."""

from typing import ClassVar

import jax
import jax.numpy as jnp
from flax import linen as nn

from rnnae.cells.cell import Carry, Cell, dense_2d, gate_bias, orthogonal_gates

Affine = tuple[jax.Array, jax.Array]  # kernel_IG, bias_G


class GatedCell(Cell):
    """Interface of cells with one product with the state, and no other parameter in a step.

    `input` and `recurrent` are the layers that make p_BG of the input and r_BG of the state;
    `gates`: (p_BG, r_BG) -> s, one array for each gate, linear in both; `advance`: (carry, s) ->
    carry. Both are functions of their arguments alone, element by element, and p_1G is p_BG whose
    rows are the same.
    """

    summed: ClassVar[bool] = True  # gates see p_BG + r_BG, never one of them alone

    def project(self, x_XI):
        return dense_2d(self.input, x_XI)

    def step(self, carry, projected_BG):
        carry = self.advance(carry, self.gates(projected_BG, self.recurrent(carry[0])))
        return carry, carry[0]

    def weights(self) -> tuple[Affine, Affine]:
        """Of `input` and of `recurrent`, for who does the products."""

        def of(layer):
            params = layer.variables["params"]
            return params["kernel"], params.get("bias", jnp.zeros(params["kernel"].shape[1]))

        return of(self.input), of(self.recurrent)

    def operands(self) -> jnp.dtype:
        """What the operands of those products are rounded to; see `precision.py`."""
        return jnp.dtype(jnp.float32)

    @staticmethod
    def gates(projected_BG: jax.Array, recurrent_BG: jax.Array) -> tuple[jax.Array, ...]:
        raise NotImplementedError

    @staticmethod
    def advance(carry: Carry, gates: tuple[jax.Array, ...]) -> Carry:
        raise NotImplementedError


class SimpleCell(GatedCell):
    """Elman (1990): h' = tanh(W x + U h + b)."""

    state_size: ClassVar[int] = 1

    def setup(self):
        self.input = nn.Dense(self.width)
        self.recurrent = nn.Dense(
            self.width, use_bias=False, kernel_init=nn.initializers.orthogonal()
        )

    @staticmethod
    def gates(projected_BG, recurrent_BG):
        return (projected_BG + recurrent_BG,)

    @staticmethod
    def advance(carry, gates):
        return (jnp.tanh(gates[0]),)


class GRUCell(GatedCell):
    """Cho et al. (2014) in the form whose reset gate acts after the product (as in cuDNN).

    r, z = sigmoid(W x + U h + b); n = tanh(W_n x + b_n + r (U_n h + c_n)); h' = (1 - z) n + z h.
    """

    state_size: ClassVar[int] = 1
    summed: ClassVar[bool] = False

    def setup(self):
        self.input = nn.Dense(3 * self.width)
        self.recurrent = nn.Dense(3 * self.width, kernel_init=orthogonal_gates(3))

    @staticmethod
    def gates(projected_BG, recurrent_BG):
        """r and z summed, the two sides of n apart."""
        r_in, z_in, n_in = jnp.split(projected_BG, 3, axis=-1)
        r_rec, z_rec, n_rec = jnp.split(recurrent_BG, 3, axis=-1)
        return r_in + r_rec, z_in + z_rec, n_in, n_rec

    @staticmethod
    def advance(carry, gates):
        (h_BD,) = carry
        r, z, n_in, n_rec = gates
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

    @staticmethod
    def gates(projected_BG, recurrent_BG):
        sides = (jnp.split(side, 4, axis=-1) for side in (projected_BG, recurrent_BG))
        return tuple(p + r for p, r in zip(*sides, strict=True))

    @staticmethod
    def advance(carry, gates):
        i, f, g, o = gates
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

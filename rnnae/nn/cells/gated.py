"""Cells whose gates read the state: each step waits for the one before."""

from typing import ClassVar

import jax
import jax.numpy as jnp
from flax import linen as nn

from rnnae.nn.cells.cell import Carry, Cell, dense_2d, gate_bias, orthogonal_gates

Gates = tuple[jax.Array, ...]  # before their activations, (B, D) each


class GatedCell(Cell):
    """Interface of cells with one product with the state, and no other parameter in a step.

    `input` and `recurrent` are the layers that make p_BG of the input and r_BG of the state.
    Before their activations the gates are sums, one array each, of what `of_input` (p_BG) and
    `of_state` (r_BG) give, which are linear; `advance`: (carry, gates) -> carry. All three are
    functions of their arguments alone, element by element.
    """

    summed: ClassVar[bool] = True  # `of_input` is `of_state`: gates see p_BG + r_BG and no more

    def project(self, x_XI):
        return dense_2d(self.input, x_XI)

    def step(self, carry, projected_BG):
        parts = self.of_input(projected_BG), self.of_state(self.recurrent(carry[0]))
        carry = self.advance(carry, tuple(map(jnp.add, *parts)))
        return carry, carry[0]

    def weights(self, layer: nn.Dense) -> tuple[jax.Array, jax.Array]:
        """Kernel and bias of `input` or `recurrent`, for who does the product."""
        params = layer.variables["params"]
        return params["kernel"], params.get("bias", jnp.zeros(params["kernel"].shape[1]))

    def operands(self) -> jnp.dtype:
        """What the operands of those products are rounded to; see `precision.py`."""
        return jnp.dtype(jnp.float32)

    @classmethod
    def of_input(cls, projected_XG: jax.Array) -> Gates:
        return cls.of_state(projected_XG)

    @classmethod
    def of_state(cls, recurrent_XG: jax.Array) -> Gates:
        raise NotImplementedError

    @staticmethod
    def advance(carry: Carry, gates: Gates) -> Carry:
        raise NotImplementedError


class SimpleCell(GatedCell):
    """Elman (1990): h' = tanh(W x + U h + b)."""

    state_size: ClassVar[int] = 1

    def setup(self):
        self.input = nn.Dense(self.width)
        self.recurrent = nn.Dense(
            self.width, use_bias=False, kernel_init=nn.initializers.orthogonal()
        )

    @classmethod
    def of_state(cls, recurrent_XG):
        return (recurrent_XG,)

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

    @classmethod
    def of_input(cls, projected_XG):
        r, z, n = jnp.split(projected_XG, 3, axis=-1)
        return r, z, n, jnp.zeros_like(n)

    @classmethod
    def of_state(cls, recurrent_XG):
        r, z, n = jnp.split(recurrent_XG, 3, axis=-1)
        return r, z, jnp.zeros_like(n), n

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

    @classmethod
    def of_state(cls, recurrent_XG):
        return tuple(jnp.split(recurrent_XG, 4, axis=-1))

    @staticmethod
    def advance(carry, gates):
        i, f, g, o = gates
        c_BD = nn.sigmoid(f) * carry[1] + nn.sigmoid(i) * jnp.tanh(g)
        return nn.sigmoid(o) * jnp.tanh(c_BD), c_BD


class SLSTMCell(GatedCell):
    """The sLSTM of the xLSTM (Beck et al. 2024, section 2.2), one head, forget gate a sigmoid.

    z = tanh, i = exp, f = o = sigmoid of W x + R h + b; c' = f c + i z; n' = f n + i;
    h' = o c' / n'. The state is h, c / n and log n, which cannot overflow and makes every state a
    legal one; its zero is c = 0, n = 1. Forget gates start with memories of 20 to 400 steps.
    """

    state_size: ClassVar[int] = 3

    def setup(self):
        self.input = nn.Dense(4 * self.width, bias_init=gate_bias(4, g2=(3.0, 6.0)))
        self.recurrent = nn.Dense(4 * self.width, use_bias=False, kernel_init=orthogonal_gates(4))

    @classmethod
    def of_state(cls, recurrent_XG):
        return tuple(jnp.split(recurrent_XG, 4, axis=-1))

    @staticmethod
    def advance(carry, gates):
        _, mean_BD, log_n_BD = carry
        z, log_i, f, o = gates
        kept = nn.log_sigmoid(f) + log_n_BD  # log f n
        mean_BD += nn.sigmoid(log_i - kept) * (jnp.tanh(z) - mean_BD)  # c' / n'
        return nn.sigmoid(o) * mean_BD, mean_BD, jnp.logaddexp(kept, log_i)


class LayerNormLSTMCell(Cell):
    """Ba, Kiros & Hinton (2016), equations 20-22: both products and the cell are normalised.

    i, f, g, o = LN(U h) + LN(W x) + b; c' = sigma(f) c + sigma(i) tanh(g);
    h' = sigma(o) tanh(LN(c')).
    """

    state_size: ClassVar[int] = 2

    def setup(self):
        self.input = nn.Dense(4 * self.width, use_bias=False)
        # The one bias b of equation 20 is this norm's; the recurrent norm has a gain only. Without
        # input a state of zeros would stay zero, where the norms' derivatives are a thousand each.
        self.input_norm = nn.LayerNorm(bias_init=gate_bias(4, random=True, g1=1.0))
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

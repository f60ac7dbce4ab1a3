"""Cells whose gates depend on the previous state, so that their steps must run one by one."""

import functools
from typing import ClassVar

import jax
import jax.numpy as jnp
from flax import linen as nn

from rnnae.nn.cells.cell import Carry, Cell, gate_bias, orthogonal_gates
from rnnae.nn.matmul import Dense

Gates = tuple[jax.Array, ...]  # pre-activations of the gates, (B, D) each


class GatedCell(Cell):
    """Interface of a cell whose only parameters are the two layers `input` and `recurrent`.

    The layer `input` maps the input to projected_BG. The layer `recurrent` maps the state to
    recurrent_BG. The pre-activations of the gates are `input_gates(projected_BG) +
    recurrent_gates(recurrent_BG)`, where both functions are linear. `update` maps (carry, gates) to
    the new carry. These three functions are elementwise and have no parameters.
    `scans.gated` relies on these properties.
    """

    # True if `input_gates` is `recurrent_gates`, so that the gates depend on the two projections
    # only through their sum.
    additive_gates: ClassVar[bool] = True

    def project(self, x_XI):
        return self.input(x_XI)

    def step(self, carry, projected_BG):
        from_input = self.input_gates(projected_BG)
        from_state = self.recurrent_gates(self.recurrent(carry[0]))
        carry = self.update(carry, tuple(map(jnp.add, from_input, from_state)))
        return carry, carry[0]

    def weights(self, layer: Dense) -> tuple[jax.Array, jax.Array]:
        """(kernel, bias) of `input` or `recurrent`, for code that does the product itself. The bias
        of a layer without one is zero."""
        params = layer.variables["params"]
        return params["kernel"], params.get("bias", jnp.zeros(params["kernel"].shape[1]))

    @classmethod
    def input_gates(cls, projected_XG: jax.Array) -> Gates:
        return cls.recurrent_gates(projected_XG)

    @classmethod
    def recurrent_gates(cls, recurrent_XG: jax.Array) -> Gates:
        raise NotImplementedError

    @staticmethod
    def update(carry: Carry, gates: Gates) -> Carry:
        raise NotImplementedError


class SimpleCell(GatedCell):
    """Elman (1990): h' = tanh(W x + U h + b)."""

    state_size: ClassVar[int] = 1

    def setup(self):
        dense = functools.partial(Dense, self.width, matmul_dtype=self.matmul_dtype)
        self.input = dense()
        self.recurrent = dense(use_bias=False, kernel_init=nn.initializers.orthogonal())

    @classmethod
    def recurrent_gates(cls, recurrent_XG):
        return (recurrent_XG,)

    @staticmethod
    def update(carry, gates):
        return (jnp.tanh(gates[0]),)


class GRUCell(GatedCell):
    """Cho et al. (2014) in the variant of cuDNN: the reset gate acts after the matrix product.

    r, z = sigmoid(W x + U h + b); n = tanh(W_n x + b_n + r (U_n h + c_n)); h' = (1 - z) n + z h.
    """

    state_size: ClassVar[int] = 1
    additive_gates: ClassVar[bool] = False

    def setup(self):
        dense = functools.partial(Dense, 3 * self.width, matmul_dtype=self.matmul_dtype)
        self.input = dense()
        self.recurrent = dense(kernel_init=orthogonal_gates(3))

    @classmethod
    def input_gates(cls, projected_XG):
        r, z, n = jnp.split(projected_XG, 3, axis=-1)
        return r, z, n, jnp.zeros_like(n)

    @classmethod
    def recurrent_gates(cls, recurrent_XG):
        r, z, n = jnp.split(recurrent_XG, 3, axis=-1)
        return r, z, jnp.zeros_like(n), n

    @staticmethod
    def update(carry, gates):
        (h_BD,) = carry
        r, z, n_input, n_recurrent = gates
        z_BD = nn.sigmoid(z)
        n_BD = jnp.tanh(n_input + nn.sigmoid(r) * n_recurrent)
        return ((1 - z_BD) * n_BD + z_BD * h_BD,)


class LSTMCell(GatedCell):
    """Hochreiter & Schmidhuber (1997) with the forget gate of Gers et al. (2000), whose bias starts
    at 1.

    i, f, o = sigmoid(W x + U h + b); g = tanh(W_g x + U_g h + b_g);
    c' = f c + i g; h' = o tanh(c').
    """

    state_size: ClassVar[int] = 2

    def setup(self):
        dense = functools.partial(Dense, 4 * self.width, matmul_dtype=self.matmul_dtype)
        self.input = dense(bias_init=gate_bias(4, g1=1.0))
        self.recurrent = dense(use_bias=False, kernel_init=orthogonal_gates(4))

    @classmethod
    def recurrent_gates(cls, recurrent_XG):
        return tuple(jnp.split(recurrent_XG, 4, axis=-1))

    @staticmethod
    def update(carry, gates):
        i, f, g, o = gates
        c_BD = nn.sigmoid(f) * carry[1] + nn.sigmoid(i) * jnp.tanh(g)
        return nn.sigmoid(o) * jnp.tanh(c_BD), c_BD


class SLSTMCell(GatedCell):
    """The sLSTM of the xLSTM (Beck et al. 2024, section 2.2) with one head and a sigmoid forget
    gate.

    z = tanh, i = exp, f = o = sigmoid of W x + R h + b; c' = f c + i z; n' = f n + i;
    h' = o c' / n'. The carry holds h, c / n and log n instead of c and n. So nothing overflows and
    every carry is valid; the carry of zeros means c = 0, n = 1. The forget gates start with
    memories of 20 to 400 steps.
    """

    state_size: ClassVar[int] = 3

    def setup(self):
        dense = functools.partial(Dense, 4 * self.width, matmul_dtype=self.matmul_dtype)
        self.input = dense(bias_init=gate_bias(4, g2=(3.0, 6.0)))
        self.recurrent = dense(use_bias=False, kernel_init=orthogonal_gates(4))

    @classmethod
    def recurrent_gates(cls, recurrent_XG):
        return tuple(jnp.split(recurrent_XG, 4, axis=-1))

    @staticmethod
    def update(carry, gates):
        _, mean_BD, log_n_BD = carry
        z, log_i, f, o = gates
        log_fn = nn.log_sigmoid(f) + log_n_BD
        mean_BD += nn.sigmoid(log_i - log_fn) * (jnp.tanh(z) - mean_BD)  # c' / n'
        return nn.sigmoid(o) * mean_BD, mean_BD, jnp.logaddexp(log_fn, log_i)


class LayerNormLSTMCell(Cell):
    """Ba et al. (2016), equations 20-22: layer normalisation of both products and of the
    cell state.

    i, f, g, o = LN(U h) + LN(W x) + b; c' = sigma(f) c + sigma(i) tanh(g);
    h' = sigma(o) tanh(LN(c')).
    """

    state_size: ClassVar[int] = 2

    def setup(self):
        dense = functools.partial(
            Dense, 4 * self.width, use_bias=False, matmul_dtype=self.matmul_dtype
        )
        self.input = dense()
        # Equation 20 has one bias b: it is the bias of this norm. The recurrent norm has a gain
        # only. With zero biases and zero inputs the state would stay zero, where a LayerNorm
        # multiplies gradients by 1 / sqrt(1e-6) = 1,000. So the bias starts at random values.
        self.input_norm = nn.LayerNorm(bias_init=gate_bias(4, random=True, g1=1.0))
        self.recurrent = dense(kernel_init=orthogonal_gates(4))
        self.recurrent_norm = nn.LayerNorm(use_bias=False)
        self.cell_norm = nn.LayerNorm()

    def project(self, x_XI):
        return self.input_norm(self.input(x_XI))

    def step(self, carry, projected_BG):
        h_BD, c_BD = carry
        gates_BG = projected_BG + self.recurrent_norm(self.recurrent(h_BD))
        i, f, g, o = jnp.split(gates_BG, 4, axis=-1)
        c_BD = nn.sigmoid(f) * c_BD + nn.sigmoid(i) * jnp.tanh(g)
        h_BD = nn.sigmoid(o) * jnp.tanh(self.cell_norm(c_BD))
        return (h_BD, c_BD), h_BD

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

from rnnae.errors import ConfigError, choose

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


def _gate_bias(gates: int, **values: float | tuple[float, float]) -> Callable:
    """Zero but for the gates named `g<index>`, which start at the value given, or evenly spaced
    from the first of two values to the last: at many time scales."""

    def init(key, shape, dtype=jnp.float32):
        width = shape[0] // gates
        bias = jnp.zeros((gates, width), dtype)
        for name, value in values.items():
            if isinstance(value, tuple):
                value = jnp.linspace(*value, width, dtype=dtype)
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


class LinearCell(Cell):
    """Interface of cells whose gates see the input only: h' = a h + b, element by element.

    `input` is the layer of the gates; `coefficients`: p_XG -> (a_XD, b_XD), any leading axes X.
    """

    state_size: ClassVar[int] = 1

    def project(self, x_XI):
        return dense_2d(self.input, x_XI)

    def coefficients(self, projected_XG: jax.Array) -> tuple[jax.Array, jax.Array]:
        raise NotImplementedError

    def step(self, carry, projected_BG):
        a_BD, b_BD = self.coefficients(projected_BG)
        h_BD = a_BD * carry[0] + b_BD
        return (h_BD,), h_BD


class MinGRUCell(LinearCell):
    """Feng et al. (2024), section 3.1, its candidate within (-1, 1): f = sigmoid(W_f x + b),
    u = tanh(W_u x + c), h' = h + f (u - h). Gates start with memories of 1 to 20 steps."""

    def setup(self):
        self.input = nn.Dense(2 * self.width, bias_init=_gate_bias(2, g0=(-3.0, 1.0)))

    def coefficients(self, projected_XG):
        f, u = jnp.split(projected_XG, 2, axis=-1)
        f = nn.sigmoid(f)
        return 1 - f, f * jnp.tanh(u)


class MinLSTMCell(LinearCell):
    """Feng et al. (2024), section 3.2: f, i = sigmoid(W x + b), both divided by their sum;
    u = tanh(W_u x + c), h' = f h + i u."""

    def setup(self):
        self.input = nn.Dense(3 * self.width, bias_init=_gate_bias(3, g0=(-1.0, 3.0)))

    def coefficients(self, projected_XG):
        f, i, u = jnp.split(projected_XG, 3, axis=-1)
        # sigmoid(f) / (sigmoid(f) + sigmoid(i)), with no quotient of two small numbers
        share = nn.sigmoid(jax.nn.log_sigmoid(f) - jax.nn.log_sigmoid(i))
        return share, (1 - share) * jnp.tanh(u)


class RGLRUCell(LinearCell):
    """The real-gated linear recurrent unit of Griffin (De et al. 2024, equations 1-4):
    r, i = sigmoid(W x + b), log a = -8 softplus(L) r, h' = a h + sqrt(1 - a^2) (i u), u = W_u x.
    At r = 1, a starts between 0.9 and 0.999."""

    def setup(self):
        self.input = nn.Dense(3 * self.width)

        def decay(key, shape, dtype=jnp.float32):
            return jnp.log(jnp.expm1(-jnp.log(jnp.linspace(0.9, 0.999, shape[0], dtype=dtype)) / 8))

        self.decay = self.param("decay", decay, (self.width,))

    def coefficients(self, projected_XG):
        r, i, u = jnp.split(projected_XG, 3, axis=-1)
        rate_D = -8.0 * nn.softplus(self.decay)
        log_a = rate_D.reshape((1,) * (r.ndim - 1) + (-1,)) * nn.sigmoid(r)
        size = jnp.sqrt(jnp.maximum(-jnp.expm1(2 * log_a), 1e-12))
        return jnp.exp(log_a), size * (nn.sigmoid(i) * u)


class LRUCell(Cell):
    """The linear recurrent unit (Orvieto et al. 2023, section 3): D / 2 complex numbers,
    h' = lambda h + sqrt(1 - |lambda|^2) B x, lambda = exp(-exp(nu) + i theta).

    The state and the output are the real parts, then the imaginary ones. |lambda| starts between
    0.5 and 0.99, theta between 0 and pi / 5; the paper's map back to reals is the next layer.
    """

    state_size: ClassVar[int] = 1

    def setup(self):
        if self.width % 2:
            raise ConfigError(f"the lru cell needs an even config.model.width, not {self.width}")
        self.input = nn.Dense(self.width, use_bias=False)

        def log_decay(key, shape, dtype=jnp.float32):
            return jnp.log(-jnp.log(jnp.linspace(0.5, 0.99, shape[0], dtype=dtype)))

        half = (self.width // 2,)
        self.log_decay = self.param("log_decay", log_decay, half)
        self.phase = self.param("phase", nn.initializers.uniform(jnp.pi / 5), half)

    def project(self, x_XI):
        p_XD = dense_2d(self.input, x_XI)
        scale_D = jnp.tile(jnp.sqrt(-jnp.expm1(-2 * jnp.exp(self.log_decay))), 2)
        return p_XD * scale_D.reshape((1,) * (p_XD.ndim - 1) + (-1,))

    def step(self, carry, projected_BG):
        re, im = jnp.split(carry[0], 2, axis=-1)
        size = jnp.exp(-jnp.exp(self.log_decay))
        cos, sin = (size * jnp.cos(self.phase))[None], (size * jnp.sin(self.phase))[None]
        turned_BD = jnp.concatenate([cos * re - sin * im, sin * re + cos * im], axis=-1)
        h_BD = turned_BD + projected_BG
        return (h_BD,), h_BD


CELLS: dict[str, type[Cell]] = {
    "simple": SimpleCell,
    "gru": GRUCell,
    "lstm": LSTMCell,
    "layer_norm_lstm": LayerNormLSTMCell,
    "min_gru": MinGRUCell,
    "min_lstm": MinLSTMCell,
    "lru": LRUCell,
    "rg_lru": RGLRUCell,
}


def cell_type(name: str) -> type[Cell]:
    """The cell called `name`; ConfigError with the choices if there is none."""
    return choose(CELLS, "config.model.cell", name)

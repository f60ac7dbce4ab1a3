"""Cells that are linear in their state: what multiplies it depends on the input only."""

from typing import ClassVar

import jax
import jax.numpy as jnp
from flax import linen as nn

from rnnae.cells.cell import Cell, dense_2d, gate_bias
from rnnae.errors import ConfigError


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
        self.input = nn.Dense(2 * self.width, bias_init=gate_bias(2, g0=(-3.0, 1.0)))

    def coefficients(self, projected_XG):
        f, u = jnp.split(projected_XG, 2, axis=-1)
        f = nn.sigmoid(f)
        return 1 - f, f * jnp.tanh(u)


class MinLSTMCell(LinearCell):
    """Feng et al. (2024), section 3.2: f, i = sigmoid(W x + b), both divided by their sum;
    u = tanh(W_u x + c), h' = f h + i u."""

    def setup(self):
        self.input = nn.Dense(3 * self.width, bias_init=gate_bias(3, g0=(-1.0, 3.0)))

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

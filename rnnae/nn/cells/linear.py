"""Cells that are linear in their state: its coefficients depend on the input only."""

import functools
from typing import ClassVar

import jax
import jax.numpy as jnp
from flax import linen as nn

from rnnae.errors import ConfigError
from rnnae.nn.cells.cell import Cell, gate_bias
from rnnae.nn.matmul import Dense


class LinearCell(Cell):
    """Interface of a cell of the form h' = a h + b, elementwise, where a and b depend on the input.

    The layer `input` maps the input to projected_XG, and `coefficients` maps that to (a_XE, b_XE),
    for any leading axes X. The recurrence runs over E variables. They are the D units of the state
    unless a subclass overrides `from_state` and `to_state`, which convert between the two.
    """

    state_size: ClassVar[int] = 1

    def project(self, x_XI):
        return self.input(x_XI)

    def coefficients(self, projected_XG: jax.Array) -> tuple[jax.Array, jax.Array]:
        raise NotImplementedError

    def from_state(self, h_XD: jax.Array) -> jax.Array:
        """The variables of the recurrence, h_XE, that represent a state."""
        return h_XD

    def to_state(self, h_XE: jax.Array) -> jax.Array:
        """The state h_XD that the variables of the recurrence represent."""
        return h_XE

    def step(self, carry, projected_BG):
        a_BE, b_BE = self.coefficients(projected_BG)
        h_BD = self.to_state(a_BE * self.from_state(carry[0]) + b_BE)
        return (h_BD,), h_BD


class MinGRUCell(LinearCell):
    """Feng et al. (2024), section 3.1: f = sigmoid(W_f x + b), u = tanh(W_u x + c),
    h' = h + f (u - h). The candidate u of the paper has no tanh. The gates start with memories of
    1 to 20 steps."""

    def setup(self):
        dense = functools.partial(Dense, matmul_dtype=self.matmul_dtype)
        self.input = dense(2 * self.width, bias_init=gate_bias(2, g0=(-3.0, 1.0)))

    def coefficients(self, projected_XG):
        f, u = jnp.split(projected_XG, 2, axis=-1)
        f = nn.sigmoid(f)
        return 1 - f, f * jnp.tanh(u)


class MinLSTMCell(LinearCell):
    """Feng et al. (2024), section 3.2: f, i = sigmoid(W x + b), both divided by their sum;
    u = tanh(W_u x + c), h' = f h + i u. The candidate u of the paper has no tanh."""

    def setup(self):
        dense = functools.partial(Dense, matmul_dtype=self.matmul_dtype)
        self.input = dense(3 * self.width, bias_init=gate_bias(3, g0=(-1.0, 3.0)))

    def coefficients(self, projected_XG):
        f, i, u = jnp.split(projected_XG, 3, axis=-1)
        # sigmoid(f) / (sigmoid(f) + sigmoid(i)) without a quotient of two small numbers
        share = nn.sigmoid(jax.nn.log_sigmoid(f) - jax.nn.log_sigmoid(i))
        return share, (1 - share) * jnp.tanh(u)


class RGLRUCell(LinearCell):
    """The real-gated linear recurrent unit of Griffin (De et al. 2024, equations 1-4):
    r, i = sigmoid(W x + b), log a = -8 softplus(L) r, u = W_u x + c,
    h' = a h + sqrt(1 - a^2) (i u). The parameter L (`decay`) starts at values for which a lies
    between 0.9 and 0.999 at r = 1."""

    def setup(self):
        self.input = Dense(3 * self.width, matmul_dtype=self.matmul_dtype)

        def decay(key, shape, dtype=jnp.float32):
            return jnp.log(jnp.expm1(-jnp.log(jnp.linspace(0.9, 0.999, shape[0], dtype=dtype)) / 8))

        self.decay = self.param("decay", decay, (self.width,))

    def coefficients(self, projected_XG):
        r, i, u = jnp.split(projected_XG, 3, axis=-1)
        rate_D = -8.0 * nn.softplus(self.decay)
        log_a = rate_D.reshape((1,) * (r.ndim - 1) + (-1,)) * nn.sigmoid(r)
        scale = jnp.sqrt(jnp.maximum(-jnp.expm1(2 * log_a), 1e-12))
        return jnp.exp(log_a), scale * (nn.sigmoid(i) * u)


class LRUCell(LinearCell):
    """The linear recurrent unit (Orvieto et al. 2023, section 3) with D / 2 complex variables:
    h' = lambda h + sqrt(1 - |lambda|^2) B x, lambda = exp(-exp(nu) + i theta).

    The state and the output hold the real parts first, then the imaginary parts. |lambda| starts
    between 0.5 and 0.99, theta between 0 and pi / 5. The paper's linear map back to real outputs is
    left to the next layer. The factor of the input is computed from lambda; in the paper it only
    starts at this value and is a parameter of its own.
    """

    def setup(self):
        if self.width % 2:
            raise ConfigError(f"the lru cell needs an even config.model.width, not {self.width}")
        self.input = Dense(self.width, use_bias=False, matmul_dtype=self.matmul_dtype)

        def log_decay(key, shape, dtype=jnp.float32):
            return jnp.log(-jnp.log(jnp.linspace(0.5, 0.99, shape[0], dtype=dtype)))

        half = (self.width // 2,)
        self.log_decay = self.param("log_decay", log_decay, half)
        self.phase = self.param("phase", nn.initializers.uniform(jnp.pi / 5), half)

    def coefficients(self, projected_XG):
        lead = (1,) * (projected_XG.ndim - 1)
        decay_E = jnp.exp(self.log_decay).reshape(*lead, -1)
        lambda_E = jnp.exp(jax.lax.complex(-decay_E, self.phase.reshape(*lead, -1)))
        return lambda_E, jnp.sqrt(-jnp.expm1(-2 * decay_E)) * self.from_state(projected_XG)

    def from_state(self, h_XD):
        return jax.lax.complex(*jnp.split(h_XD, 2, axis=-1))

    def to_state(self, h_XE):
        return jnp.concatenate([h_XE.real, h_XE.imag], axis=-1)

"""The interface of all cells, and initialisers of their gates."""

from collections.abc import Callable
from typing import ClassVar

import jax
import jax.numpy as jnp
from flax import linen as nn

Carry = tuple[jax.Array, ...]  # the state: `state_size` arrays of shape (B, D), h first


def orthogonal_gates(gates: int) -> Callable:
    """Initialiser of a recurrent kernel: one orthogonal matrix for each gate (Saxe et al. 2014),
    side by side."""
    orthogonal = nn.initializers.orthogonal()

    def init(key, shape, dtype=jnp.float32):
        width = shape[0]
        keys = jax.random.split(key, gates)
        return jnp.concatenate([orthogonal(k, (width, width), dtype) for k in keys], axis=1)

    return init


def gate_bias(gates: int, random: bool = False, **values: float | tuple[float, float]) -> Callable:
    """Initialiser of the bias of `gates` gates: zero, except for the gates given as `g<index>=`.

    A gate may be given one value, or a pair: then its units start at values evenly spaced between
    the two, that is, at many time scales. `random` adds the initial bias of PyTorch's LSTM, which
    is uniform between -1 / sqrt(width) and 1 / sqrt(width).
    """

    def init(key, shape, dtype=jnp.float32):
        width = shape[0] // gates
        limit = float(random) / width**0.5
        bias = jax.random.uniform(key, (gates, width), dtype, -limit, limit)
        for name, value in values.items():
            if isinstance(value, tuple):
                value = jnp.linspace(*value, width, dtype=dtype)
            bias = bias.at[int(name[1:])].add(value)
        return bias.reshape(shape)

    return init


class Cell(nn.RNNCellBase):
    """Interface of a cell with `width` D units.

    `project` maps x_XI to projected_XG, the pre-activations that come from the input, for any
    leading axes X. `step` maps (carry, projected_BG) to (new carry, h_BD). Matrix products round
    their operands to `matmul_dtype`; see `nn/matmul.py`.
    """

    width: int
    matmul_dtype: jnp.dtype = jnp.float32

    state_size: ClassVar[int]  # number of arrays (B, D) in the carry

    def project(self, x_XI: jax.Array) -> jax.Array:
        raise NotImplementedError

    def step(self, carry: Carry, projected_BG: jax.Array) -> tuple[Carry, jax.Array]:
        raise NotImplementedError

    def __call__(self, carry: Carry, x_BI: jax.Array) -> tuple[Carry, jax.Array]:
        return self.step(carry, self.project(x_BI))

    @nn.nowrap
    def initialize_carry(self, rng, input_shape: tuple[int, ...]) -> Carry:
        """The state of zeros for inputs of `input_shape` (B, I); `rng` is not used."""
        del rng
        return (jnp.zeros((*input_shape[:-1], self.width)),) * self.state_size

    @property
    def num_feature_axes(self) -> int:
        return 1

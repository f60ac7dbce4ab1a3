"""What every cell promises, and how its gates start."""

from collections.abc import Callable
from typing import ClassVar

import jax
import jax.numpy as jnp
from flax import linen as nn

Carry = tuple[jax.Array, ...]  # the state: `state_size` arrays of shape (B, D), h first


def dense_2d(layer: nn.Dense, x_XI: jax.Array) -> jax.Array:
    """`layer` over the last axis, through two dimensions.

    On the CPU the weight gradient of a dense layer over three or more axes misses XLA's GEMM.
    """
    return layer(x_XI.reshape(-1, x_XI.shape[-1])).reshape(*x_XI.shape[:-1], -1)


def orthogonal_gates(gates: int) -> Callable:
    """One orthogonal matrix for each gate (Saxe et al. 2014), side by side."""
    orthogonal = nn.initializers.orthogonal()

    def init(key, shape, dtype=jnp.float32):
        width = shape[0]
        keys = jax.random.split(key, gates)
        return jnp.concatenate([orthogonal(k, (width, width), dtype) for k in keys], axis=1)

    return init


def gate_bias(gates: int, random: bool = False, **values: float | tuple[float, float]) -> Callable:
    """Zero but for the gates named `g<index>`, which start at the value given, or evenly spaced
    from the first of two values to the last: at many time scales. `random` adds what PyTorch's
    LSTM starts with, uniform within one over the root of the width."""

    def init(key, shape, dtype=jnp.float32):
        width = shape[0] // gates
        reach = float(random) / width**0.5
        bias = jax.random.uniform(key, (gates, width), dtype, -reach, reach)
        for name, value in values.items():
            if isinstance(value, tuple):
                value = jnp.linspace(*value, width, dtype=dtype)
            bias = bias.at[int(name[1:])].add(value)
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

"""Random keys of examples: the random numbers of an example depend on its own key only."""

import jax
import jax.numpy as jnp


def example_keys(key: jax.Array, position_B: jax.Array) -> jax.Array:
    """The key of the example at each position of the global batch or of the data set, (B,)."""
    return jax.vmap(jax.random.fold_in, in_axes=(None, 0))(key, position_B)


def stream(key_B: jax.Array, number: jax.Array | int) -> jax.Array:
    """The key of each example for the random numbers that `number` names, (B,)."""
    return jax.vmap(jax.random.fold_in, in_axes=(0, None))(key_B, number)


def split(key_B: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Two independent keys of each example, (B,) and (B,)."""
    return tuple(jnp.moveaxis(jax.vmap(jax.random.split)(key_B), 1, 0))

"""TrainState: everything a run is, as arrays. With (config, state) a run can continue exactly."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn
from flax import struct


@struct.dataclass
class TrainState:
    """`ema` has the structure of `params`. `key` is never split: each step folds in its number and
    the position of each example."""

    step: jax.Array  # int32, number of updates done
    params: Any
    ema: Any
    opt_state: Any
    key: jax.Array


def create(
    model: nn.Module,
    optimizer: optax.GradientTransformation,
    image_shape: tuple[int, int, int],
    seed: int,
) -> TrainState:
    """The state at step 0, a pure function of its arguments."""
    init_key, run_key = jax.random.split(jax.random.key(seed))
    # As one compiled program: operation by operation, initialisation is several times slower.
    params = jax.jit(model.init)(init_key, jnp.zeros((1, *image_shape)), run_key[None])["params"]
    return TrainState(
        step=jnp.zeros((), jnp.int32),
        params=params,
        ema=jax.tree.map(jnp.copy, params),
        opt_state=optimizer.init(params),
        key=run_key,
    )


def shapes(model: nn.Module, optimizer: optax.GradientTransformation) -> TrainState:
    """The state of `create` as `jax.ShapeDtypeStruct`; nothing is compiled."""
    return jax.eval_shape(lambda: create(model, optimizer, model.image_shape, 0))


def shapes_of_params(model: nn.Module) -> Any:
    """The parameters of a model as `jax.ShapeDtypeStruct`; nothing is compiled."""
    image = jax.ShapeDtypeStruct((1, *model.image_shape), jnp.float32)
    key = jax.random.key(0)
    return jax.eval_shape(model.init, key, image, key[None])["params"]


def count(tree: Any) -> int:
    """The number of values in a tree of arrays, such as parameters."""
    return sum(x.size for x in jax.tree.leaves(tree))


def stack(states: Sequence[TrainState]) -> TrainState:
    """The states of several seeds as one, every array with a leading axis of seeds."""
    return jax.tree.map(lambda *arrays: jnp.stack(arrays), *states)


def unstack(stacked: TrainState, count: int) -> list[TrainState]:
    """The inverse of `stack`."""
    return [jax.tree.map(lambda x, seed=seed: x[seed], stacked) for seed in range(count)]


def is_finite(tree: Any) -> bool:
    """Whether every number of a tree of arrays is finite, on this process's first device."""
    return all(np.isfinite(x.addressable_data(0)).all() for x in jax.tree.leaves(tree))


def ema_update(ema: Any, params: Any, decay: float, step: jax.Array) -> Any:
    """Exponential moving average of the parameters.

    The decay after step t is min(decay, (1 + t) / (10 + t)), so that the initial parameters are
    forgotten quickly. With `decay` 0 the average is the parameters themselves.
    """
    rate = 1 - jnp.minimum(decay, (1 + step) / (10 + step))
    return jax.tree.map(lambda average, new: average + rate * (new - average), ema, params)

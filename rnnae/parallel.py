"""The only file that knows there is more than one device.

Data parallelism: the state is replicated, the global batch is cut into equal shards along the axis
`data`, gradients are averaged over it.
"""

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np

from rnnae.errors import ConfigError
from rnnae.state import TrainState

_AXIS = "data"


def choose_devices(count: int) -> list[jax.Device]:
    """The first `count` local devices, all of them for 0; ConfigError if there are fewer."""
    available = jax.local_devices()
    if count > len(available):
        raise ConfigError(
            f"config.devices={count}, but this machine has {len(available)}; use 0 for all of them"
        )
    return available[: count or None]


def check_batch(size: int, devices: Sequence[jax.Device]) -> None:
    """ConfigError unless a global batch of `size` divides over `devices`."""
    if size % len(devices):
        lower = size - size % len(devices)
        raise ConfigError(
            f"config.data.batch_size={size} does not divide over {len(devices)} devices; "
            f"use {lower or len(devices)} or {lower + len(devices)}, or set config.devices"
        )


def is_primary() -> bool:
    """Whether this process is the one that writes and prints."""
    return jax.process_index() == 0


def train_call(step: Callable, devices: Sequence[jax.Device]) -> Callable:
    """K training steps as one program: (state, images_NKBHWC) -> (state, metrics stacked over K).

    `step(state, image_BHWC, positions_B, average)` is one pure step on one shard; `positions_B` are
    its examples' positions in the global batch, so that what is random about an example does not
    depend on the number of devices, and `average` is the mean over devices. The state is donated.
    """

    def average(tree):
        return jax.lax.pmean(tree, _AXIS)

    def call(state: TrainState, images_KBHWC: jax.Array):
        shard = images_KBHWC.shape[1]
        positions_B = jax.lax.axis_index(_AXIS) * shard + jnp.arange(shard)
        return jax.lax.scan(
            lambda state, image: step(state, image, positions_B, average), state, images_KBHWC
        )

    return jax.pmap(
        call,
        axis_name=_AXIS,
        in_axes=(None, 0),
        out_axes=None,
        donate_argnums=0,
        devices=devices,
    )


def replicate(train_state: TrainState, devices: Sequence[jax.Device]) -> TrainState:
    """The state as `train_call` takes it and returns it: whole on every device.

    A compiled program takes arrays that lie as it was compiled for and no others; those of a new
    state would be moved, those of a restored one are where they were put.
    """
    mesh = jax.sharding.Mesh(np.array(devices), (_AXIS,))
    return jax.device_put(
        train_state, jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec())
    )


def shard_batches(images_KBHWC: np.ndarray, devices: Sequence[jax.Device]) -> np.ndarray:
    """(K, B, H, W, C) -> (N, K, B / N, H, W, C) for N devices, neighbours staying together."""
    count, size = images_KBHWC.shape[:2]
    shards = images_KBHWC.reshape(
        count, len(devices), size // len(devices), *images_KBHWC.shape[2:]
    )
    return shards.swapaxes(0, 1)


def map_examples(function: Callable, devices: Sequence[jax.Device]) -> Callable:
    """`function(shared, examples) -> tree of per-example arrays` over a batch cut into shards.

    `shared` (parameters and the like) goes to every device whole; `examples` is a tree of arrays
    whose leading axis must divide over `devices`. What comes back are numpy arrays in its order.
    """
    mapped = jax.pmap(function, in_axes=(None, 0), out_axes=0, devices=devices)

    def cut(x):
        return x.reshape(len(devices), -1, *x.shape[1:])

    def over_devices(shared, examples):
        merged = jax.device_get(mapped(shared, jax.tree.map(cut, examples)))
        return jax.tree.map(lambda x: x.reshape(x.shape[0] * x.shape[1], *x.shape[2:]), merged)

    return over_devices

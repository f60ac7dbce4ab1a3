"""Data parallelism over devices. The only file that calls pmap.

The state is replicated. The global batch is split into equal shards along the axis `data`, and
gradients are averaged over it. Devices are ordered by process, so that each process holds
consecutive examples.
"""

import collections
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from rnnae.errors import ConfigError, ProcessError
from rnnae.state import TrainState
from rnnae.types import Batch

_AXIS = "data"


def choose_devices(count: int) -> list[jax.Device]:
    """The first `count` devices of every process, or all devices if `count` is 0.

    Raises ConfigError if there are fewer, and ProcessError if the processes do not all have the
    same number of devices.
    """
    chosen = collections.defaultdict(list)
    for device in jax.devices():
        chosen[device.process_index].append(device)
    available = {len(own) for own in chosen.values()}
    if len(available) > 1:
        raise ProcessError(
            "the processes have different numbers of devices "
            f"({', '.join(str(len(own)) for own in chosen.values())}): give each the same number"
        )
    if count > min(available):
        raise ConfigError(
            f"config.devices={count}, but this machine has {min(available)}; use 0 for all devices"
        )
    return [device for own in chosen.values() for device in own[: count or None]]


def check_batch(size: int, devices: Sequence[jax.Device]) -> None:
    """ConfigError unless a global batch of `size` divides over `devices`."""
    if size % len(devices):
        lower = size - size % len(devices)
        raise ConfigError(
            f"config.data.batch_size={size} does not divide over {len(devices)} devices; "
            f"use {lower or len(devices)} or {lower + len(devices)}, or set config.devices"
        )


def train_call(step: Callable, devices: Sequence[jax.Device]) -> Callable:
    """K training steps as one program: (state, batches) -> (state, metrics stacked over K).

    `batches` is a Batch with the axes N and K before B, for N devices; those of several seeds that
    train together have the axes N, K and S.

    `step(state, batch, positions_B, average)` is one pure step on one shard. `positions_B` are
    the positions of its examples in the global batch, so that the random numbers of an example do
    not depend on the number of devices. `average` takes the mean over devices. The state is
    donated.
    """

    def average(tree):
        return jax.lax.pmean(tree, _AXIS)

    def call(state: TrainState, batches: Batch):
        shard = batches.label_B.shape[-1]
        positions_B = jax.lax.axis_index(_AXIS) * shard + jnp.arange(shard)
        return jax.lax.scan(
            lambda state, batch: step(state, batch, positions_B, average), state, batches
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
    """The state with a full copy on every device, as `train_call` takes it and returns it.

    Compiled programs accept only matching input shardings.
    """
    sharding = _sharding(devices, PartitionSpec())

    def put(x):
        # Typed keys cannot be put on the devices of other processes, but their data can.
        if jnp.issubdtype(x.dtype, jax.dtypes.prng_key):
            return jax.random.wrap_key_data(put(jax.random.key_data(x)))
        return jax.device_put(x, sharding)

    return jax.tree.map(put, train_state)


def shard_batches(batches: Batch, devices: Sequence[jax.Device]) -> Batch:
    """Puts this process's slice of K batches, with the axes K and B, on its devices.

    The result has the axes N, K and B / N for N devices in all. Consecutive examples stay together.
    There may be more axes before B.
    """
    axis = batches.label_B.ndim - 1
    own = len(devices) // jax.process_count()
    sharding = _sharding(devices, PartitionSpec(_AXIS))

    def shard(x):
        shards = x.reshape(*x.shape[:axis], own, x.shape[axis] // own, *x.shape[axis + 1 :])
        return jax.make_array_from_process_local_data(sharding, np.moveaxis(shards, axis, 0))

    return jax.tree.map(shard, batches)


def map_examples(function: Callable, devices: Sequence[jax.Device]) -> Callable:
    """`function(shared, examples) -> tree of per-example arrays` over a batch cut into shards.

    `shared` (such as parameters) is copied to every device. `examples` is a tree of arrays whose
    leading axis must divide over `devices`. The results are numpy arrays in the same order, in
    every process that has some of `devices`.
    """
    mapped = jax.pmap(function, in_axes=(None, 0), out_axes=0, devices=devices)
    sharding = _sharding(devices, PartitionSpec(_AXIS))

    several = len({device.process_index for device in devices}) > 1

    def split(x):
        x = np.asarray(x).reshape(len(devices), len(x) // len(devices), *x.shape[1:])
        if not several:
            return x
        return jax.make_array_from_callback(x.shape, sharding, lambda index: x[index])

    def gather(tree):
        if several:
            return multihost_utils.process_allgather(tree, tiled=True)
        # jax cannot gather empty arrays, such as the latents of a model that has none.
        tree = jax.tree.map(lambda x: x if x.size else np.zeros(x.shape, x.dtype), tree)
        return jax.device_get(tree)

    def over_devices(shared, examples):
        merged = gather(mapped(shared, jax.tree.map(split, examples)))
        return jax.tree.map(lambda x: x.reshape(x.shape[0] * x.shape[1], *x.shape[2:]), merged)

    return over_devices


def _sharding(devices: Sequence[jax.Device], spec: PartitionSpec) -> NamedSharding:
    return NamedSharding(Mesh(np.array(devices), (_AXIS,)), spec)

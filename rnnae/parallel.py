"""The only file that knows there is more than one device, or more than one process.

Data parallelism: the state is replicated, the global batch is cut into equal shards along the axis
`data`, gradients are averaged over it. Devices are ordered by process, so a process holds
neighbouring examples. All processes do the same in the same order; what only one of them can know
(a file, the clock, a signal) it tells the others before they act on it.
"""

import contextlib
import hashlib
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from rnnae.errors import ConfigError, ProcessError, RnnaeError
from rnnae.state import TrainState

_AXIS = "data"
_HEARTBEAT = 30  # seconds without a sign of life after which a process counts as gone
_JOIN = 300  # seconds that processes wait for each other at the start


def connect(address: str | None, count: int | None, index: int | None, detect: bool) -> None:
    """Joins the processes of a run into one, before anything else touches jax.

    By the address of process 0 (host:port), their number and this one's index; else by what SLURM,
    Open MPI or a TPU pod says in the environment; with `detect` by whatever jax finds, which on
    TPU VMs asks a server. Raises ConfigError for some of the three, ProcessError if the others do
    not come.
    """
    given = [value is not None for value in (address, count, index)]
    if any(given) and not all(given):
        raise ConfigError("--coordinator, --processes and --process_index go together")
    if not any(given) and not detect and not started_together(os.environ):
        return
    try:
        jax.distributed.initialize(
            address,
            count,
            index,
            initialization_timeout=_JOIN,
            heartbeat_timeout_seconds=_HEARTBEAT,
        )
    except (RuntimeError, ValueError) as error:
        raise ProcessError(f"the processes did not find each other: {_line(error)}") from error


def started_together(environment: Mapping[str, str]) -> bool:
    """Whether SLURM (a job step), Open MPI or GKE says that this is one process of several."""
    counts = (environment.get(key, "1") for key in ("SLURM_STEP_NUM_TASKS", "OMPI_COMM_WORLD_SIZE"))
    return any(int(count) > 1 for count in counts) or "," in environment.get(
        "TPU_WORKER_HOSTNAMES", ""
    )


def several() -> bool:
    """Whether this process is one of several."""
    return jax.process_count() > 1


def is_primary() -> bool:
    """Whether this process is the one that writes and prints."""
    return jax.process_index() == 0


def on_primary(function: Callable[[], Any]) -> Any:
    """What `function`, called in process 0 alone, returns (JSON), in every process.

    If it raises an RnnaeError there, the others raise ProcessError.
    """
    if not several():
        return function()
    answer, error = None, None
    if is_primary():
        try:
            answer = {"value": function()}
        except RnnaeError as raised:
            answer, error = {"error": str(raised)}, raised
    text = np.frombuffer(json.dumps(answer).encode(), np.uint8)
    size = int(multihost_utils.broadcast_one_to_all(np.int32(len(text))))
    text = multihost_utils.broadcast_one_to_all(np.resize(text, size))
    answer = json.loads(bytes(text))
    if error:
        raise error
    if "error" in answer:
        raise ProcessError(f"process 0 stopped: {answer['error']}")
    return answer["value"]


def greatest(value: int) -> int:
    """The greatest of all processes' values, in every process."""
    return int(multihost_utils.process_allgather(np.int32(value)).max()) if several() else value


@contextlib.contextmanager
def in_contact() -> Iterator[None]:
    """A failed exchange with the other processes is a ProcessError."""
    try:
        yield
    except (jax.errors.JaxRuntimeError, ValueError) as error:
        # What carries the CPU's exchanges fails by a ValueError.
        if not several() or (isinstance(error, ValueError) and "Gloo" not in str(error)):
            raise
        raise ProcessError(
            f"process {jax.process_index()} lost contact with another ({_line(error)}); start all "
            "processes again by the same command, the run continues"
        ) from error


def check_same(what: str, text: str) -> None:
    """ProcessError in every process unless all of them have the same text."""
    if not several():
        return
    digest = np.frombuffer(hashlib.sha256(text.encode()).digest(), np.uint8)
    different = multihost_utils.process_allgather(digest) != multihost_utils.broadcast_one_to_all(
        digest
    )
    others = np.flatnonzero(different.any(axis=1)).tolist()
    if others:
        raise ProcessError(
            f"{what} of process {', '.join(map(str, others))} differs from that of process 0; "
            "start all processes by the same command"
        )


def part(size: int) -> slice:
    """This process's examples of a global batch of `size`."""
    own = size // jax.process_count()
    return slice(jax.process_index() * own, (jax.process_index() + 1) * own)


def choose_devices(count: int) -> list[jax.Device]:
    """The first `count` devices of every process, all of them for 0; ConfigError if this one has
    fewer."""
    available = len(jax.local_devices())
    if count > available:
        raise ConfigError(
            f"config.devices={count}, but this machine has {available}; use 0 for all of them"
        )
    check_same("the number of devices", str(count or available))
    chosen: dict[int, list[jax.Device]] = {}
    for device in jax.devices():
        chosen.setdefault(device.process_index, []).append(device)
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
    """K training steps as one program: (state, images_NKBHWC) -> (state, metrics stacked over K).
    Runs that train as one have an axis more: images_NKSBHWC.

    `step(state, image_BHWC, positions_B, average)` is one pure step on one shard; `positions_B` are
    its examples' positions in the global batch, so that what is random about an example does not
    depend on the number of devices, and `average` is the mean over devices. The state is donated.
    """

    def average(tree):
        return jax.lax.pmean(tree, _AXIS)

    def call(state: TrainState, images: jax.Array):
        shard = images.shape[-4]
        positions_B = jax.lax.axis_index(_AXIS) * shard + jnp.arange(shard)
        return jax.lax.scan(
            lambda state, image: step(state, image, positions_B, average), state, images
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
    sharding = _sharding(devices, PartitionSpec())

    def put(x):
        if jnp.issubdtype(x.dtype, jax.dtypes.prng_key):  # has no way to other processes' devices
            return jax.random.wrap_key_data(put(jax.random.key_data(x)))
        return jax.device_put(x, sharding)

    return jax.tree.map(put, train_state)


def shard_batches(images: np.ndarray, devices: Sequence[jax.Device]) -> jax.Array:
    """This process's `part` of K batches, (K, B, H, W, C), on its devices: (N, K, B / N, H, W, C)
    of the global batch for N devices in all, neighbours staying together; with any axes before B.
    """
    *before, size, height, width, channels = images.shape
    own = len(devices) // jax.process_count()
    shards = images.reshape(*before, own, size // own, height, width, channels)
    sharding = _sharding(devices, PartitionSpec(_AXIS))
    return jax.make_array_from_process_local_data(sharding, np.moveaxis(shards, len(before), 0))


def map_examples(function: Callable, devices: Sequence[jax.Device]) -> Callable:
    """`function(shared, examples) -> tree of per-example arrays` over a batch cut into shards.

    `shared` (parameters and the like) goes to every device whole; `examples` is a tree of arrays
    whose leading axis must divide over `devices`. What comes back are numpy arrays in its order, in
    every process.
    """
    mapped = jax.pmap(function, in_axes=(None, 0), out_axes=0, devices=devices)
    sharding = _sharding(devices, PartitionSpec(_AXIS))

    def cut(x):
        x = np.asarray(x).reshape(len(devices), -1, *x.shape[1:])
        return jax.make_array_from_callback(x.shape, sharding, lambda index: x[index])

    def whole(tree):
        if several():
            return multihost_utils.process_allgather(tree, tiled=True)
        return jax.device_get(tree)

    def over_devices(shared, examples):
        merged = whole(mapped(shared, jax.tree.map(cut, examples)))
        return jax.tree.map(lambda x: x.reshape(x.shape[0] * x.shape[1], *x.shape[2:]), merged)

    return over_devices


def _sharding(devices: Sequence[jax.Device], spec: PartitionSpec) -> NamedSharding:
    return NamedSharding(Mesh(np.array(devices), (_AXIS,)), spec)


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]

"""Several processes that train one model, each with its own devices and its part of every batch.

All processes do the same in the same order; what only one of them can know (a file, the clock, a
signal) it tells the others before they act on it.
"""

import contextlib
import ctypes
import hashlib
import json
import os
import signal
import sys
import uuid
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NoReturn

import jax
import jax.numpy as jnp
import numpy as np
from jax._src.distributed import global_state  # jax.distributed has no barrier with a time limit
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from rnnae.errors import ConfigError, ProcessError, RnnaeError

_HEARTBEAT = 30  # seconds without a sign of life after which a process counts as gone
_JOIN = 300  # seconds that processes wait for each other at the start
_LEAVE = 10  # seconds that one which ends early waits for the others to do so too
# Of errors that are of the connection, not of the program.
_LOST = ("UNAVAILABLE", "DEADLINE_EXCEEDED", "Gloo", "NCCL", "Connection", "heartbeat", "coordinat")


def connect(address: str | None, count: int | None, index: int | None, detect: bool) -> int:
    """Joins the processes of a run into one, before anything else touches jax; returns how many.

    By the address of process 0 (host:port), their number and this one's index; else by what SLURM,
    Open MPI or a TPU pod says in the environment; with `detect` by whatever jax finds, which on
    TPU VMs asks a server. A `count` of 1 and nothing else is a process alone, whatever SLURM and
    Open MPI say. Raises ConfigError for some of the three, ProcessError if the others do not come.
    """
    given = [value is not None for value in (address, count, index)]
    if count == 1 and sum(given) == 1 and not detect:
        return 1
    if any(given) and not all(given):
        raise ConfigError("--coordinator, --processes and --process_id go together")
    if not any(given) and not detect and not started_together(os.environ):
        return 1
    # Else a CPU may run the exchanges of two programs in another order in each process, and those
    # that do not meet wait for half an hour.
    jax.config.update("jax_cpu_enable_async_dispatch", False)
    try:
        jax.distributed.initialize(
            address,
            count,
            index,
            initialization_timeout=_JOIN,
            heartbeat_timeout_seconds=_HEARTBEAT,
        )
    except (RuntimeError, ValueError) as error:
        raise ProcessError(
            f"the processes did not find each other ({_line(error)}); --coordinator=HOST:PORT "
            "--processes=N --process_id=I says it outright"
        ) from error
    if sys.platform == "linux":
        _exit_where_jax_aborts()
    return global_state.num_processes


def _exit_where_jax_aborts() -> None:
    """Of a coordinator that is gone jax hears in a thread of its own, where it says so and aborts,
    if the exchange that fails is not faster. The code is then that of a ProcessError all the same:
    it is the number of SIGABRT, which is what libc hands to the handler."""
    libc = ctypes.CDLL(None)
    libc.signal(signal.SIGABRT, ctypes.cast(libc._exit, ctypes.c_void_p))


def leave(code: int) -> NoReturn:
    """Ends this process by an exit code other than 0. As one of several it does not wait long for
    the others, as jax would, which then aborts all: they see that it is gone."""
    if jax.distributed.is_initialized():
        if code != ProcessError.exit_code:  # else some are gone already
            with contextlib.suppress(jax.errors.JaxRuntimeError):
                global_state.client.wait_at_barrier("leave", timeout_in_ms=1000 * _LEAVE)
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    sys.exit(code)


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

    If it raises an RnnaeError or OSError there, the others raise ProcessError.
    """
    if not several():
        return function()
    answer, error = None, None
    if is_primary():
        try:
            answer = {"value": function()}
        except (RnnaeError, OSError) as raised:
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


def greatest_soon(value: int) -> Callable[[], int]:
    """`greatest`, under way behind what the devices have to do: the function that is returned waits
    for it."""
    if not several():
        return lambda: value
    mesh = Mesh(np.array(jax.devices()), ("all",))
    of_each, of_all = (NamedSharding(mesh, PartitionSpec(*axes)) for axes in (["all"], []))
    own = np.full(len(jax.local_devices()), value, np.int32)
    values = jax.make_array_from_process_local_data(of_each, own)
    found = jax.jit(jnp.max, out_shardings=of_all)(values)
    return lambda: int(found)


@contextlib.contextmanager
def in_contact() -> Iterator[None]:
    """A failed exchange with the other processes is a ProcessError."""
    try:
        yield
    except (jax.errors.JaxRuntimeError, ValueError) as error:
        # What carries the CPU's exchanges fails by a ValueError.
        if not several() or not any(word in str(error) for word in _LOST):
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


def check_shared(directory: Path) -> None:
    """ProcessError in every process unless all of them see the same files in `directory`."""
    if not several():
        return
    path = directory / "shared.txt"

    def write():
        directory.mkdir(parents=True, exist_ok=True)
        path.write_text(uuid.uuid4().hex)
        return path.read_text()

    text = on_primary(write)
    missing = greatest(not path.is_file() or path.read_text() != text)
    on_primary(lambda: path.unlink(missing_ok=True))
    if missing:
        raise ProcessError(
            f"--workdir {directory} is not the same directory for all processes; "
            "it must be on a disk that they share"
        )


def part(size: int) -> slice:
    """This process's examples of a global batch of `size`."""
    own = size // jax.process_count()
    return slice(jax.process_index() * own, (jax.process_index() + 1) * own)


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]

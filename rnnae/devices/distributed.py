"""Several processes that train one model, each with its own devices and its share of every batch.

All processes do the same in the same order. What only one of them can know (a file, the clock, a
signal) is sent to the others before any process acts on it.
"""

import contextlib
import ctypes
import hashlib
import json
import os
import signal
import sys
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from rnnae.devices import joining
from rnnae.errors import ConfigError, ProcessError, RnnaeError, one_line

T = TypeVar("T")

_HEARTBEAT_SECONDS = 30  # seconds without a heartbeat after which a process counts as gone
_LATER_SECONDS = 60  # by which the limit of jax is later than ours: jax aborts the process at it
_LINGER_SECONDS = 5  # seconds that process 0, which coordinates, outlives an error
# Words in errors of the connection, as opposed to errors of the program.
_CONNECTION_WORDS = (
    "UNAVAILABLE",
    "DEADLINE_EXCEEDED",
    "Gloo",
    "NCCL",
    "Connection",
    "heartbeat",
    "coordinat",
)


def connect(
    address: str | None,
    count: int | None,
    index: int | None,
    detect: bool,
    seconds: float = 300,
) -> int:
    """Joins the processes of a run, before anything else uses jax.

    The processes find each other in one of three ways. They may be given the address of process 0
    (host:port), their count and this process's index. SLURM, Open MPI and GKE set them in the
    environment. With `detect`, jax finds them itself, as on TPU VMs. If only `count` is given and
    is 1, this process trains by itself, whatever the environment says.

    Returns the number of processes, or 1 where jax finds it out later (`detect`). Raises
    ConfigError if only some of address, count and index are given or do not fit, and ProcessError
    if the processes cannot find each other. If the others do not come within `seconds`, this
    process exits with the code of ProcessError, because jax cannot be interrupted here.
    """
    given = [value is not None for value in (address, count, index)]
    if count == 1 and sum(given) == 1 and not detect:
        return 1
    if any(given) and not all(given):
        raise ConfigError("--coordinator, --processes and --process_id go together")
    if all(given):
        joining.check_address(address, count, index)
    count = count or count_in(os.environ)
    if count == 1 and not any(given) and not detect:
        return 1
    # With asynchronous dispatch, CPUs may run the collectives of two programs in a different order
    # in each process; those that do not match then wait for half an hour.
    jax.config.update("jax_cpu_enable_async_dispatch", False)
    try:
        with joining.waiting(address or "the coordinator", count, index, seconds):
            jax.distributed.initialize(
                address,
                count if any(given) else None,
                index,
                initialization_timeout=int(seconds) + _LATER_SECONDS,
                heartbeat_timeout_seconds=_HEARTBEAT_SECONDS,
            )
    except (RuntimeError, ValueError) as error:
        raise ProcessError(
            f"the processes did not find each other ({one_line(error)}); {joining.NAME_THEM}"
        ) from error
    if sys.platform == "linux":
        _exit_instead_of_abort()
    return count


def count_in(environment: Mapping[str, str]) -> int:
    """The number of processes started together by SLURM (a job step), Open MPI or GKE; else 1."""
    counts = [environment.get(key, "1") for key in ("SLURM_STEP_NUM_TASKS", "OMPI_COMM_WORLD_SIZE")]
    hosts = environment.get("TPU_WORKER_HOSTNAMES", "").split(",")
    return max(len(hosts), *map(int, counts))


def _exit_instead_of_abort() -> None:
    """Makes an abort exit with the code of ProcessError.

    If the coordinator dies, a background thread of jax aborts this process, unless a collective
    fails first. libc passes the number of SIGABRT, 6, to the handler. 6 is also the exit code of
    ProcessError, so `_exit` itself serves as the handler.
    """
    libc = ctypes.CDLL(None)
    libc.signal(signal.SIGABRT, ctypes.cast(libc._exit, ctypes.c_void_p))


def leave(code: int) -> NoReturn:
    """Exits with a code other than 0, without waiting for the other processes of the run.

    jax would wait for them and then abort all. Process 0 stays a little longer, so that the others
    exit with their own error and not because the coordinator is gone. After a signal the shutdown
    of Python is left out: native threads that still work would delay it, and then crash.
    """
    together = jax.distributed.is_initialized()
    if together or code > 128:
        with contextlib.suppress(OSError):  # nobody reads it
            sys.stdout.flush()
            sys.stderr.flush()
        if together and code != ProcessError.exit_code and is_primary():
            time.sleep(_LINGER_SECONDS)
        os._exit(code)
    sys.exit(code)


def several() -> bool:
    """Whether this process is one of several."""
    return jax.process_count() > 1


def is_primary() -> bool:
    """Whether this is process 0, the only one that writes files and prints."""
    return jax.process_index() == 0


def local_slice(size: int) -> slice:
    """This process's examples of a global batch of `size`."""
    own = size // jax.process_count()
    return slice(jax.process_index() * own, (jax.process_index() + 1) * own)


def on_primary(function: Callable[[], Any]) -> Any:
    """Calls `function` in process 0 only, and returns its result (JSON) in every process.

    If it raises RnnaeError or OSError in process 0, the other processes raise ProcessError.
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


def primary_first(function: Callable[[], T]) -> T:
    """Calls `function` in process 0, then in the other processes, and returns each one's result.

    For work that process 0 does once on a shared disk, and the others then find done.
    """
    result = []
    on_primary(lambda: result.append(function()))
    return result[0] if result else function()


def wait_for_all() -> None:
    """Returns when every process has called it."""
    on_primary(lambda: None)


def maximum(value: int) -> int:
    """The maximum over all processes, in every process."""
    return int(multihost_utils.process_allgather(np.int32(value)).max()) if several() else value


def async_max(value: int) -> Callable[[], int]:
    """`maximum`, queued behind the work that the devices already have: the function that is
    returned waits for the result."""
    if not several():
        return lambda: value
    mesh = Mesh(np.array(jax.devices()), ("all",))
    by_device, replicated = (NamedSharding(mesh, PartitionSpec(*axes)) for axes in (["all"], []))
    own = np.full(len(jax.local_devices()), value, np.int32)
    values = jax.make_array_from_process_local_data(by_device, own)
    result = jax.jit(jnp.max, out_shardings=replicated)(values)
    return lambda: int(result)


@contextlib.contextmanager
def report_lost_contact() -> Iterator[None]:
    """Turns a failed collective with the other processes into a ProcessError."""
    try:
        yield
    except (jax.errors.JaxRuntimeError, ValueError) as error:
        # The CPU's collectives fail with a ValueError.
        if not several() or not any(word in str(error) for word in _CONNECTION_WORDS):
            raise
        raise ProcessError(
            f"process {jax.process_index()} lost contact with another ({one_line(error)}); start "
            "all processes again by the same command, and the run continues"
        ) from error


def check_same(what: str, text: str) -> None:
    """ProcessError in every process unless all of them have the same `text`."""
    if not several():
        return
    # assert_equal of multihost_utils would raise only in the processes that differ from process 0.
    digest = np.frombuffer(hashlib.sha256(text.encode()).digest(), np.uint8)
    digests = multihost_utils.process_allgather(digest)
    others = np.flatnonzero((digests != digests[:1]).any(axis=1)).tolist()
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
        path.write_text(uuid.uuid4().hex, encoding="utf-8")
        return path.read_text(encoding="utf-8")

    text = on_primary(write)
    missing = maximum(not path.is_file() or path.read_text(encoding="utf-8") != text)
    on_primary(lambda: path.unlink(missing_ok=True))
    if missing:
        raise ProcessError(
            f"--workdir {directory} is not the same directory for all processes; "
            "it must be on a disk that they share"
        )

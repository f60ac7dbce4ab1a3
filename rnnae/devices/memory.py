"""What a run takes of memory, at least, and what there is: compared before anything is built.

Only sizes that are too large for certain are refused: what is counted is less than what a run takes
in the end, and all memory of the machine counts as free.
"""

import contextlib
import math
import os
import warnings
from pathlib import Path
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

from rnnae import build, command, state
from rnnae.errors import TooLargeError

_MANY = 1000  # more square matrices of its largest size than a model and its optimizer have
_CGROUP_LIMITS = ("memory.max", "memory/memory.limit_in_bytes")  # version 2, version 1


def check_training(config: ConfigDict, shape: tuple[int, int, int], device_count: int) -> None:
    """TooLargeError if training the config's model on images of `shape` (H, W, C) cannot fit on
    this process's `device_count` devices.

    Nothing is computed: the shapes of parameters and optimizer come from `jax.eval_shape`.
    """
    batch = config.data.batch_size
    # The batches of two program calls, of at least one step each, as uint8; one as float32.
    _check_batch("data.batch_size", batch, batch * math.prod(shape) * (2 + 4), shape)
    check_evaluation(config, shape)
    check_state(config, shape, device_count)


def check_evaluation(config: ConfigDict, shape: tuple[int, int, int]) -> None:
    """TooLargeError if a batch of an evaluation, as uint8 and as float32, cannot fit."""
    size = config.eval.batch_size
    _check_batch("eval.batch_size", size, size * math.prod(shape) * 5, shape)


def _check_batch(key: str, count: int, size: int, shape: tuple[int, int, int]) -> None:
    what = f"config.{key}={count:,} with images of {'x'.join(map(str, shape))}"
    _require(what, size, machine(), f"make config.{key} or the images (config.data.shape) smaller")


def check_state(config: ConfigDict, shape: tuple[int, int, int], device_count: int = 1) -> None:
    """TooLargeError if the parameters, their average and the optimizer's state cannot fit."""
    sections = config.model, config.latent, config.likelihood
    sizes = [n for section in sections for x in section.values() for n in _integers(x)]
    if 4 * _MANY * max(math.prod(shape), *sizes) ** 2 < machine():
        return  # by far; tracing the model takes a few tenths of a second
    config = config.copy_and_resolve_references()
    config.data.shape = tuple(shape)

    what, advice = "the model and its optimizer", "make the sizes in config.model and config.latent"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # jax warns of indices beyond int32
            created = state.shapes(build.build_model(config), build.build_optimizer(config, 1)[0])
    except (OverflowError, MemoryError) as error:  # more elements than an index can count
        raise TooLargeError(f"{what} have no possible size: {advice} smaller") from error
    count = state.count(created.params)
    size = size_of(created)
    what = f"{what} with {count:,} parameters"
    # On a CPU, all devices have a copy of the state in the same memory.
    size *= max(1, device_count if jax.default_backend() == "cpu" else 1)
    _require(what, size, of_device(), f"{advice} smaller")


def size_of(tree: Any) -> int:
    """Bytes of a tree of arrays, or of their shapes and dtypes."""
    return sum(_bytes(x) for x in jax.tree.leaves(tree))


def check_program(compiled: Any, device_count: int) -> None:
    """TooLargeError if a compiled training program needs more memory than there is, as the compiler
    has reckoned."""
    stats = compiled.memory_analysis()
    if stats is None:
        return
    size = stats.temp_size_in_bytes * (device_count if jax.default_backend() == "cpu" else 1)
    advice = "make config.data.batch_size or the model smaller, or set config.cpu_microbatch"
    _require("the intermediate values of a training step", size, of_device(), advice)


def of_device() -> int:
    """Bytes of memory of this process's first device."""
    device = jax.local_devices()[0]
    stats = None if device.platform == "cpu" else device.memory_stats()
    return (stats or {}).get("bytes_limit") or machine()


def machine() -> int:
    """Bytes of memory that this process can have: of the machine with its swap, or less where its
    container or the shell (ulimit -v) sets a limit."""
    limits = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") + _swap()]
    for name in _CGROUP_LIMITS:
        with contextlib.suppress(OSError, ValueError):  # not there, or the word "max"
            limits.append(int(Path("/sys/fs/cgroup", name).read_text(encoding="utf-8")))
    return min(limits + [command.address_space() or limits[0]])


def _swap() -> int:
    with contextlib.suppress(OSError):
        for line in Path("/proc/meminfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("SwapTotal:"):
                return int(line.split()[1]) << 10
    return 0


def _require(what: str, size: int, available: int, advice: str) -> None:
    if size > available:
        raise TooLargeError(
            f"{what} would take at least {_gigabytes(size)}, and there are "
            f"{_gigabytes(available)} of memory: {advice}"
        )


def _gigabytes(size: int) -> str:
    return f"{size / 1e9:,.1f} GB" if size < 1e15 else f"{size / 1e9:.2g} GB"


def _integers(value: Any) -> list[int]:
    values = value if isinstance(value, tuple | list) else [value]
    return [x for x in values if isinstance(x, int)]


def _bytes(x: Any) -> int:
    itemsize = x.dtype.itemsize if isinstance(x.dtype, np.dtype) else 8  # else a random key
    return math.prod(x.shape) * itemsize

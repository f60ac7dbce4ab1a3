"""Settings of the process, applied once before jax starts its devices."""

import contextlib
import ctypes
import glob
import os
import platform
import re
import tempfile
import time
import warnings
from pathlib import Path

import jax

from rnnae import files
from rnnae.errors import ConfigError, one_line

_MOST_DEVICES = 64  # virtual CPU devices, on a machine with fewer cores
# What jax says of an entry of the compilation cache, with the name of the program.
_CACHE_WARNING = re.compile(
    r"Error (reading|writing) persistent compilation cache entry for '(.*?)': (.*)", re.DOTALL
)
_MIN_SHARD = 16  # examples per virtual CPU device; smaller shards were not measured

# Constants of <malloc.h> and <sys/mman.h> of glibc on Linux.
_TRIM_THRESHOLD, _TOP_PAD, _MMAP_MAX, _ARENA_MAX = -1, -2, -4, -8
_MADV_HUGEPAGE = 14
_HUGE = 2 << 20  # bytes of a huge page
_HEAP = 16 << 30  # maximal bytes of the heap in huge pages


def setup(*, compilation_cache: str, devices: int, batch_size: int, keep_memory: bool) -> None:
    """Sets the persistent compilation cache, the number of virtual CPU devices and the allocator.

    By default a CPU becomes one device per core, as long as the batch divides into shards of at
    least 16. A recurrence is a chain of small matmuls, and two chains keep two cores busier than
    one matmul split in two (two cores: 1.1 times as fast for LSTMs of width 512 and the sweeps,
    1.5 times for width 128, 1.4 times for DRAW with shards of 128). `devices`, or the XLA flag
    --xla_force_host_platform_device_count, overrides it.

    Raises ConfigError for more `devices` than any machine has. A compilation cache that cannot be
    used is left out, with one printed line.
    """
    cores = len(available_cores())
    most = max(cores, _MOST_DEVICES)
    if devices > most:
        raise ConfigError(
            f"config.devices={devices:,}, but this machine has {cores} cores and can use at "
            f"most {most} devices; use 0 to choose automatically"
        )
    if compilation_cache:
        _use_cache(compilation_cache)
    if "xla_force_host_platform_device_count" not in os.environ.get("XLA_FLAGS", ""):
        jax.config.update("jax_num_cpu_devices", devices or _cpu_devices(batch_size))
    if keep_memory and _keep_memory():
        print("freed memory stays in the process, in huge pages (off: --config.keep_memory=False)")


def _use_cache(directory: str) -> None:
    """Keeps compiled programs in `directory`, if files can be written there."""
    try:
        path = files.expand(directory)
        path.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path) as file:
            file.write(bytes(4096))  # a full disk has no room for it
        for entry in path.glob("*-cache"):  # empty if the disk was full: jax would keep it
            if not entry.stat().st_size:
                entry.unlink(missing_ok=True)
    except (OSError, ConfigError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        print(
            f"no compilation cache in {directory} ({reason}): programs are compiled at every start "
            "(another directory: --config.compilation_cache)",
            flush=True,
        )
        return
    jax.config.update("jax_compilation_cache_dir", str(path))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.5)
    _report_cache_errors(path)


def _report_cache_errors(path: Path) -> None:
    """Replaces jax's warning for each entry of the cache in `path` that cannot be read or written
    by one line for all, and removes such entries: jax would neither use nor replace them."""
    show, begin, said = warnings.showwarning, time.time(), set()

    def showwarning(message, *arguments, **options):
        found = _CACHE_WARNING.match(str(message))
        if not found:
            show(message, *arguments, **options)
            return
        verb, program, reason = found.groups()
        for entry in path.glob(f"{glob.escape(program)}-*-cache"):
            with contextlib.suppress(OSError):
                if verb == "reading" or entry.stat().st_mtime >= begin:
                    entry.unlink()
        if verb not in said:
            said.add(verb)
            print(
                f"{verb} the compilation cache in {path} failed ({one_line(OSError(reason))}): "
                "programs are compiled instead",
                flush=True,
            )

    warnings.showwarning = showwarning


def available_cores() -> list[int]:
    """The numbers of the cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):  # on Linux
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))


def _cpu_devices(batch_size: int) -> int:
    most = max(1, min(len(available_cores()), batch_size // _MIN_SHARD))
    return next(count for count in range(most, 0, -1) if batch_size % count == 0)


def _keep_memory() -> bool:
    """Makes glibc keep freed memory, in huge pages; False where that is not possible.

    A training step frees and allocates the same arrays again and again. By default glibc returns
    every large one to the kernel, which clears its pages at the next use; on a CPU that is up to
    half of a step's time. Memory that is never touched is not used, and the peak of the process
    does not change. Nothing is done if the environment sets MALLOC_MMAP_MAX_ or GLIBC_TUNABLES, or
    on accelerators, which have their own allocators.
    """
    chosen = {"MALLOC_MMAP_MAX_", "GLIBC_TUNABLES"} & set(os.environ)
    if platform.libc_ver()[0] != "glibc" or chosen or jax.default_backend() != "cpu":
        return False
    libc = ctypes.CDLL(None)
    libc.malloc.restype = ctypes.c_void_p
    libc.malloc.argtypes = [ctypes.c_size_t]
    libc.free.argtypes = [ctypes.c_void_p]
    libc.madvise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    # One heap for all threads. It grows by large pieces, never shrinks, and has no private maps.
    settings = {_MMAP_MAX: 0, _TRIM_THRESHOLD: -1, _TOP_PAD: 64 << 20, _ARENA_MAX: 1}
    if not all(libc.mallopt(key, value) for key, value in settings.items()):
        return False
    # The heap grows once over all the addresses that it may use, so that they can get huge pages.
    size = min(_HEAP, os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2)
    start = libc.malloc(size)
    if start:
        first = -(-start // _HUGE) * _HUGE
        libc.madvise(first, (start + size - first) // _HUGE * _HUGE, _MADV_HUGEPAGE)
        libc.free(start)
    return True

"""Settings of the process, made once before jax starts its devices."""

import ctypes
import os
import platform
from pathlib import Path

import jax

_SMALLEST_SHARD = 16  # examples that keep a core busy; fewer were not measured

# <malloc.h> and <sys/mman.h> of glibc on Linux
_TRIM_THRESHOLD, _TOP_PAD, _MMAP_MAX, _ARENA_MAX = -1, -2, -4, -8
_MADV_HUGEPAGE = 14
_HUGE = 2 << 20  # bytes of a huge page
_HEAP = 16 << 30  # bytes of the heap in huge pages, at most


def setup(*, compilation_cache: str, devices: int, batch_size: int, keep_memory: bool) -> None:
    """The persistent compilation cache, the precision of products, how many devices the CPU counts
    as, and the allocator.

    float32 products are of float32 operands: by default TPUs round them to bfloat16 and GPUs to
    TF32, where a prior's density is off by nats. What may be rounded says `config.optim.precision`.

    A CPU counts as one device a core, where the batch divides into shards of 16 or more: a
    recurrence is a chain of small products, and two chains keep two cores busier than one product
    split in two (two cores, shards of 16 to 32: 1.1 times as fast for LSTMs of width 512 and the
    sweeps, 1.5 for width 128; 128 for DRAW: 1.4). `devices`, or
    XLA_FLAGS=--xla_force_host_platform_device_count, overrides it.
    """
    if compilation_cache:
        jax.config.update("jax_compilation_cache_dir", str(Path(compilation_cache).expanduser()))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.5)
    jax.config.update("jax_default_matmul_precision", "float32")
    if "xla_force_host_platform_device_count" not in os.environ.get("XLA_FLAGS", ""):
        jax.config.update("jax_num_cpu_devices", devices or _cpu_devices(batch_size))
    if keep_memory and _keep_memory():
        print("freed memory is kept, in huge pages (--config.keep_memory=False turns it off)")


def _cpu_devices(batch_size: int) -> int:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    most = max(1, min(cores or 1, batch_size // _SMALLEST_SHARD))
    return next(count for count in range(most, 0, -1) if batch_size % count == 0)


def _keep_memory() -> bool:
    """Tells glibc to keep freed memory, in huge pages; False where it cannot.

    A training step frees and asks for the same arrays again. By default every large one goes back
    to the kernel, which clears its pages at the next use: half of a step's time on a CPU. Memory
    never touched is not taken, and the peak of a process does not change. An environment with
    MALLOC_MMAP_MAX_ or GLIBC_TUNABLES has chosen for itself; accelerators have other allocators.
    """
    chosen = {"MALLOC_MMAP_MAX_", "GLIBC_TUNABLES"} & set(os.environ)
    if platform.libc_ver()[0] != "glibc" or chosen or jax.default_backend() != "cpu":
        return False
    libc = ctypes.CDLL(None)
    libc.malloc.restype = ctypes.c_void_p
    libc.malloc.argtypes = [ctypes.c_size_t]
    libc.free.argtypes = [ctypes.c_void_p]
    libc.madvise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    # One heap for all threads, grown by large pieces, never shrunk, with no private mappings.
    settings = {_MMAP_MAX: 0, _TRIM_THRESHOLD: -1, _TOP_PAD: 64 << 20, _ARENA_MAX: 1}
    if not all(libc.mallopt(key, value) for key, value in settings.items()):
        return False
    # The heap grows once over the addresses to come, so that they can be given huge pages.
    size = min(_HEAP, os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2)
    start = libc.malloc(size)
    if start:
        first = -(-start // _HUGE) * _HUGE
        libc.madvise(first, (start + size - first) // _HUGE * _HUGE, _MADV_HUGEPAGE)
        libc.free(start)
    return True

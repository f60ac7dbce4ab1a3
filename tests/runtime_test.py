"""The settings of a process, each tested in a new process: jax reads them only once."""

import os
import platform
import subprocess
import sys

import pytest

from rnnae.devices import runtime


def printed(question, batch_size=256, count=0, cores=2, **environment):
    program = (
        "from rnnae.devices import runtime; import os; "
        f"os.sched_getaffinity = lambda _: range({cores}); "
        f"runtime.setup(compilation_cache='', devices={count}, "
        f"batch_size={batch_size}, keep_memory=False); "
        f"import jax; print({question})"
    )
    clean = {k: v for k, v in os.environ.items() if k != "XLA_FLAGS"}
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=clean | {"JAX_PLATFORMS": "cpu"} | environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def devices(**settings):
    return int(printed("len(jax.devices())", **settings))


def test_a_cpu_is_one_virtual_device_per_core_by_default():
    assert devices() == 2
    assert devices(count=3) == 3
    assert devices(XLA_FLAGS="--xla_force_host_platform_device_count=4") == 4


@pytest.mark.parametrize(
    "cores, batch_size, expected",
    [(1, 256, 1), (2, 31, 1), (2, 33, 1), (2, 50, 2), (16, 128, 8), (6, 1000, 5)],
)
def test_cpu_devices_have_equal_shards_of_at_least_16(monkeypatch, cores, batch_size, expected):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: range(cores), raising=False)
    assert runtime._cpu_devices(batch_size) == expected


def test_freed_memory_is_kept():
    """By default freed arrays leave the process; with keep_memory they stay."""
    program = """
import sys
from rnnae.devices import runtime
runtime.setup(compilation_cache="", devices=1, batch_size=1, keep_memory=sys.argv[1] == "keep")
import numpy as np

def resident():
    return int(open("/proc/self/statm").read().split()[1]) * 4096

before, array = resident(), np.ones(300 << 20, np.uint8)
del array
print(resident() - before > 200 << 20)
"""
    if platform.libc_ver()[0] != "glibc":
        pytest.skip("glibc only")
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("MALLOC_", "GLIBC_"))}
    outputs = [
        subprocess.run(
            [sys.executable, "-c", program, word], env=clean, capture_output=True, text=True
        ).stdout
        for word in ("keep", "no")
    ]
    assert outputs[0].startswith("freed memory stays") and outputs[0].endswith("True\n")
    assert outputs[1] == "False\n"

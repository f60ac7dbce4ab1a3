"""The settings of a process, each tested in a new process: jax reads them only once."""

import os
import platform
import subprocess
import sys

import pytest

from rnnae.devices import runtime
from rnnae.errors import ConfigError


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


def setup_with_cache(cache, **environment):
    """(standard output, the cache that jax uses) of a process that is set up with this cache."""
    program = (
        "import sys; from rnnae.devices import runtime; "
        "runtime.setup(compilation_cache=sys.argv[1], devices=1, batch_size=1, keep_memory=False); "
        "import jax; sys.stderr.write(str(jax.config.jax_compilation_cache_dir)); "
        "jax.config.update('jax_persistent_cache_min_compile_time_secs', 0.0); "
        "jax.jit(lambda x: x + 1)(1.0)"
    )
    clean = {k: v for k, v in os.environ.items() if k not in ("JAX_COMPILATION_CACHE_DIR", "HOME")}
    done = subprocess.run(
        [sys.executable, "-c", program, str(cache)],
        env=clean | {"JAX_PLATFORMS": "cpu"} | environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout, done.stderr


def test_a_cache_in_the_home_directory_is_used(tmp_path):
    out, used = setup_with_cache("~/programs", HOME=str(tmp_path))
    assert out == "" and used == str(tmp_path / "programs")
    assert list((tmp_path / "programs").glob("*-cache"))


@pytest.mark.parametrize("where", ["~no-such-user/x", "file", "file/in", "loop"])
def test_a_cache_that_cannot_be_had_is_left_out_with_one_line(where, tmp_path):
    (tmp_path / "file").touch()
    (tmp_path / "loop").symlink_to("loop")
    out, used = setup_with_cache(where if where[0] == "~" else tmp_path / where)
    assert out.startswith("no compilation cache in") and out.count("\n") == 1 and used == "None"


@pytest.mark.parametrize(
    "damage", [lambda x: b"", lambda x: x[: len(x) // 2]], ids=["empty", "half"]
)
def test_a_damaged_entry_of_the_cache_is_replaced(damage, tmp_path):
    setup_with_cache(tmp_path)
    before = {path: len(path.read_bytes()) for path in tmp_path.glob("*-cache")}
    for path in before:
        path.write_bytes(damage(path.read_bytes()))
    out, _ = setup_with_cache(tmp_path)
    assert out.count("\n") <= 1
    assert min(len(path.read_bytes()) for path in before) > 0.9 * min(before.values())
    assert setup_with_cache(tmp_path)[0] == ""


def test_more_devices_than_any_machine_has_are_refused():
    with pytest.raises(ConfigError, match="config.devices=1,000,000, but this machine has"):
        runtime.setup(compilation_cache="", devices=10**6, batch_size=1, keep_memory=False)

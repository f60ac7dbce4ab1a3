"""Two virtual CPU devices and strict broadcasting in every test. Tests of a GPU use the machine's
devices."""

import functools
import importlib.metadata
import os
import signal
import sys
from pathlib import Path

os.environ["JAX_PLATFORMS"] = "cpu"
# Most of the time goes into compiling tiny programs: without optimisation, and fusions by the old
# emitters, it is half. What fusion does to numbers is seen by .ci/run, which sets XLA_FLAGS itself
# for the tests about it.
_FLAGS = "--xla_force_host_platform_device_count=2 --xla_backend_optimization_level=0"
if importlib.metadata.version("jaxlib").startswith("0.10."):  # an unknown flag is fatal
    _FLAGS += " --xla_cpu_use_fusion_emitters=false"
os.environ.setdefault("XLA_FLAGS", _FLAGS)
sys.path.insert(0, str(Path(__file__).parents[1]))  # tests import each other as `tests.<name>`

import jax  # noqa: E402
import pytest  # noqa: E402

jax.config.update("jax_numpy_rank_promotion", "raise")


def pytest_configure(config):
    """`pytest -m gpu` may use the devices that the machine has."""
    if config.option.markexpr == "gpu":
        del os.environ["JAX_PLATFORMS"]
        jax.config.update("jax_platforms", None)


@pytest.fixture(scope="session", autouse=True)
def _compiled_programs(tmp_path_factory):
    """Tests, pytest's processes and those that tests start share compiled programs."""
    root = tmp_path_factory.getbasetemp()  # one of each of pytest's processes, side by side
    shared = root.parent if "PYTEST_XDIST_WORKER" in os.environ else root
    cache = os.environ.get("JAX_COMPILATION_CACHE_DIR") or str(shared / "xla")
    os.environ["JAX_COMPILATION_CACHE_DIR"] = cache
    jax.config.update("jax_compilation_cache_dir", cache)
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.2)


@pytest.fixture
def plant(monkeypatch, tmp_path):
    """plant(**changes) installs the table of `fake_tables` and returns its command arguments."""
    from tests import fake_tables

    return functools.partial(fake_tables.install, monkeypatch, tmp_path)


@pytest.fixture(scope="session")
def data_dir(tmp_path_factory):
    """One prepared MNIST for all tests."""
    return str(tmp_path_factory.mktemp("data"))


@pytest.fixture(autouse=True)
def _hangups_are_not_ignored():
    """The tests may have been started by nohup, and processes that they start would ignore it."""
    previous = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, previous)

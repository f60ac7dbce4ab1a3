"""On a machine with a GPU, `pytest -m gpu`: training there gives the numbers of a CPU."""

import functools

import jax
import numpy as np
import pytest

from rnnae import build, state
from rnnae.config import shipped
from rnnae.data import pipeline
from rnnae.devices import parallel
from rnnae.records.writer import read_metrics
from rnnae.training import seeds
from rnnae.training.step import make_train_step
from rnnae.training.train import train
from tests import runs

pytestmark = pytest.mark.gpu

STEPS, BATCH = 8, 64


@pytest.fixture(scope="module")
def gpu():
    if jax.default_backend() == "cpu":
        pytest.skip("this machine has no GPU that jax can use")
    return jax.local_devices()[0]


@pytest.fixture(scope="module")
def losses(data_dir):
    """losses(device, precision) of the first steps of configs/mnist.py."""
    config = shipped.get_config("mnist")
    config.data.data_dir, config.data.batch_size = data_dir, BATCH
    splits = build.load_splits(config)
    config.data.shape = splits.train.shape[1:]
    batches = [
        pipeline.batch(splits.train, None, seed=0, step=step, batch_size=BATCH)
        for step in range(STEPS)
    ]
    stacked = jax.tree.map(lambda *parts: np.stack(parts), *batches)

    @functools.cache
    def measure(device, precision="float32"):
        config.optim.matmul_precision = precision
        optimizer, learning_rate = build.build_optimizer(config, STEPS)
        # One state for all devices: random numbers are the same, but not the last bit of them.
        with jax.default_device(jax.local_devices(backend="cpu")[0]):
            start = state.create(build.build_model(config), optimizer, config.data.shape, seed=0)
        call = parallel.train_call(
            make_train_step(config, optimizer, learning_rate, device), [device]
        )
        batches = parallel.shard_batches(stacked, [device])
        return np.asarray(call(parallel.replicate(start, [device]), batches)[1]["loss"])

    return measure


def test_the_main_job_has_the_losses_of_a_cpu(gpu, losses):
    on_cpu = losses(jax.local_devices(backend="cpu")[0])
    assert on_cpu[-1] < on_cpu[0]
    np.testing.assert_allclose(losses(gpu), on_cpu, rtol=1e-4)


def test_bfloat16_stays_close_to_float32(gpu, losses):
    rounded, exact = losses(gpu, "bfloat16"), losses(gpu)
    assert (rounded != exact).any()
    np.testing.assert_allclose(rounded, exact, rtol=2e-2)


def test_seeds_as_one_program_are_separate_runs(gpu, tmp_path):
    config = runs.config(tmp_path)
    assert len(seeds.train_seeds(config, tmp_path / "together", (0, 3), together=True)) == 2
    train(runs.config(tmp_path, seed=3), tmp_path / "separate")
    together, separate = (read_metrics(tmp_path / name) for name in ("together/seed3", "separate"))
    runs.assert_close(together, separate)

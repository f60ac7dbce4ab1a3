"""Several seeds as one program, or one by one, give the same runs as separate trainings."""

import functools
import os
import shutil
import signal

import jax
import numpy as np
import pytest

from rnnae import files
from rnnae.errors import ConfigError, NonFiniteError, Stopped, TooLargeError
from rnnae.records.checkpoint import Checkpoints
from rnnae.records.writer import read_metrics, read_timings
from rnnae.training import loop, seeds
from rnnae.training.train import train
from tests import runs

SEEDS = (0, 3)


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    return tmp_path_factory.mktemp("seeds")


@pytest.fixture(scope="module")
def together(directory):
    """The directory of two seeds trained together."""
    config = runs.config(directory)
    assert len(seeds.train_seeds(config, directory / "together", SEEDS, together=True)) == 2
    return directory / "together"


def outcomes(directory, workdir):
    return [runs.outcome(workdir / f"seed{s}", runs.config(directory, seed=s)) for s in SEEDS]


@pytest.fixture(scope="module")
def separate(directory):
    """The directory of the second seed, trained by itself."""
    train(runs.config(directory, seed=SEEDS[1]), directory / "separate")
    return directory / "separate"


@pytest.mark.slow
def test_each_seed_writes_the_records_of_a_separate_run(together, separate):
    runs.assert_close(read_metrics(together / f"seed{SEEDS[1]}"), read_metrics(separate))


@pytest.mark.slow
def test_seeds_are_different_runs_that_share_the_time(together):
    first, second = (read_metrics(together / f"seed{seed}") for seed in SEEDS)
    assert first[0]["train/loss"] != second[0]["train/loss"]
    times = [[r["seconds"] for r in read_timings(together / f"seed{seed}")] for seed in SEEDS]
    np.testing.assert_allclose(*times, atol=0.1)  # measured one after the other


@pytest.mark.slow
def test_two_devices_train_seeds_as_one_device_does(directory, together):
    config = runs.config(directory, devices=2)
    seeds.train_seeds(config, directory / "two", SEEDS, together=True)
    for seed in SEEDS:
        runs.assert_close(
            read_metrics(directory / "two" / f"seed{seed}"), read_metrics(together / f"seed{seed}")
        )


@pytest.mark.slow
def test_stopped_and_killed_seeds_resume_bit_for_bit(directory, together, tmp_path, monkeypatch):
    """They are stopped by a signal, then killed after one seed was saved and the other was not."""
    config = runs.config(directory)
    read, save = loop.ThroughputMeter.read, Checkpoints.save

    def read_and_stop(self, at, metrics):
        reading = read(self, at, metrics)
        if at == 4:
            os.kill(os.getpid(), signal.SIGTERM)
        return reading

    def saving(self, kind, step, train_state):
        if step == 12 and "seed3" in str(self._root):
            raise RuntimeError("power cut")
        save(self, kind, step, train_state)

    begin = functools.partial(seeds.train_seeds, config, tmp_path, SEEDS, together=True)
    with monkeypatch.context() as patch:
        patch.setattr(loop.ThroughputMeter, "read", read_and_stop)
        with pytest.raises(Stopped):
            begin()
    with monkeypatch.context() as patch:
        patch.setattr(Checkpoints, "save", saving)
        with pytest.raises(RuntimeError, match="power cut"):
            begin()
    assert [Checkpoints(tmp_path / f"seed{seed}").newest() for seed in SEEDS] == [12, 6]
    begin()
    for ours, theirs in zip(
        outcomes(directory, tmp_path), outcomes(directory, together), strict=True
    ):
        runs.assert_same(ours, theirs)


@pytest.mark.slow
def test_a_seed_that_another_process_trains_keeps_its_checkpoints(together, tmp_path):
    for seed in SEEDS:
        shutil.copytree(together / f"seed{seed}", tmp_path / f"seed{seed}")
    newest = Checkpoints(tmp_path / f"seed{SEEDS[0]}").newest()
    for path in (tmp_path / f"seed{SEEDS[1]}" / "checkpoints" / "latest").glob(str(newest)):
        shutil.rmtree(path)  # so the first seed would go back by one
    with (
        files.exclusive_lock(tmp_path / f"seed{SEEDS[0]}"),
        pytest.raises(ConfigError, match="another process trains in"),
    ):
        seeds.train_seeds(runs.config(tmp_path), tmp_path, SEEDS, together=True)
    assert Checkpoints(tmp_path / f"seed{SEEDS[0]}").newest() == newest


@pytest.fixture
def trained(monkeypatch):
    """Lists the seeds that would train by themselves, and does not train them."""
    found = []
    monkeypatch.setattr(seeds, "train", lambda config, workdir: found.append(config.seed))
    return found


@pytest.mark.slow
def test_seeds_at_different_steps_train_one_by_one(separate, tmp_path, trained, capsys):
    shutil.copytree(separate, tmp_path / f"seed{SEEDS[1]}")
    seeds.train_seeds(runs.config(tmp_path), tmp_path, SEEDS, together=True)
    assert trained == list(SEEDS)
    assert "at different steps: training them one by one" in capsys.readouterr().out


@pytest.mark.parametrize(
    "error",
    [
        jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory"),
        TooLargeError("the intermediate values of a training step would take at least 1 TB"),
    ],
)
def test_seeds_train_one_by_one_where_memory_is_short(
    error, monkeypatch, tmp_path, trained, capsys
):
    def no_room(configs, workdirs):
        raise error

    monkeypatch.setattr(seeds, "train_together", no_room)
    seeds.train_seeds(runs.config(tmp_path), tmp_path, SEEDS, together=True)
    assert trained == list(SEEDS)
    assert "no memory for all seeds on the device" in capsys.readouterr().out


@pytest.mark.slow
def test_the_error_names_the_seed_that_failed(directory, tmp_path):
    config = runs.config(directory, optim__learning_rate=1e30, optim__warmup_steps=0)
    with pytest.raises(NonFiniteError, match="seed [03]: loss"):
        seeds.train_seeds(config, tmp_path, SEEDS, together=True)

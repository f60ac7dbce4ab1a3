"""Runs that differ in their seeds train as one program, or one after another: the same runs."""

import functools
import os
import shutil
import signal

import jax
import pytest

from rnnae.errors import NonFiniteError, Stopped
from rnnae.records.checkpoint import Checkpoints
from rnnae.records.writer import read_metrics, read_timings
from rnnae.training import loop, train
from tests import runs

SEEDS = (0, 3)


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    return tmp_path_factory.mktemp("seeds")


@pytest.fixture(scope="module")
def together(directory):
    """The directory of two runs trained as one."""
    config = runs.config(directory)
    assert len(train.train_seeds(config, directory / "together", SEEDS, together=True)) == 2
    return directory / "together"


def outcomes(directory, workdir):
    return [runs.outcome(workdir / f"seed{s}", runs.config(directory, seed=s)) for s in SEEDS]


@pytest.fixture(scope="module")
def alone(directory):
    """The directory of the second run, trained by itself."""
    train.train(runs.config(directory, seed=SEEDS[1]), directory / "alone")
    return directory / "alone"


def test_each_is_the_run_of_its_own(together, alone):
    runs.assert_close(read_metrics(together / f"seed{SEEDS[1]}"), read_metrics(alone))


def test_they_are_different_runs_that_share_the_time(together):
    first, second = (read_metrics(together / f"seed{seed}") for seed in SEEDS)
    assert first[0]["train/loss"] != second[0]["train/loss"]
    times = [[r["seconds"] for r in read_timings(together / f"seed{seed}")] for seed in SEEDS]
    assert times[0] == times[1]


@pytest.mark.slow
def test_two_devices_train_them_as_one_does(directory, together):
    config = runs.config(directory, devices=2)
    train.train_seeds(config, directory / "two", SEEDS, together=True)
    for seed in SEEDS:
        runs.assert_close(
            read_metrics(directory / "two" / f"seed{seed}"), read_metrics(together / f"seed{seed}")
        )


@pytest.mark.slow
def test_stopped_and_killed_they_continue_to_the_same_bits(
    directory, together, tmp_path, monkeypatch
):
    """By a signal; then after one of them was saved and the other not."""
    config = runs.config(directory)
    read, save = loop.Meter.read, Checkpoints.save

    def reading(self, at, metrics):
        read(self, at, metrics)
        if at == 4:
            os.kill(os.getpid(), signal.SIGTERM)

    def saving(self, kind, step, train_state):
        if step == 12 and "seed3" in str(self._root):
            raise RuntimeError("power cut")
        save(self, kind, step, train_state)

    begin = functools.partial(train.train_seeds, config, tmp_path, SEEDS, together=True)
    with monkeypatch.context() as patch:
        patch.setattr(loop.Meter, "read", reading)
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


@pytest.fixture
def trained(monkeypatch):
    """The seeds that are trained by themselves, instead of training them."""
    seeds = []
    monkeypatch.setattr(train, "train", lambda config, workdir: seeds.append(config.seed))
    return seeds


def test_at_different_steps_they_train_one_after_another(alone, tmp_path, trained, capsys):
    shutil.copytree(alone, tmp_path / f"seed{SEEDS[1]}")
    train.train_seeds(runs.config(tmp_path), tmp_path, SEEDS, together=True)
    assert trained == list(SEEDS)
    assert "different steps: one after another" in capsys.readouterr().out


def test_where_there_is_no_room_they_train_one_after_another(
    monkeypatch, tmp_path, trained, capsys
):
    def no_room(configs, workdirs):
        raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory")

    monkeypatch.setattr(train, "train_together", no_room)
    train.train_seeds(runs.config(tmp_path), tmp_path, SEEDS, together=True)
    assert trained == list(SEEDS)
    assert "no room for all seeds on the device" in capsys.readouterr().out


def test_what_failed_is_named(directory, tmp_path):
    config = runs.config(directory, optim__learning_rate=1e30, optim__warmup_steps=0)
    with pytest.raises(NonFiniteError, match="run [12] of 2"):
        train.train_seeds(config, tmp_path, SEEDS, together=True)

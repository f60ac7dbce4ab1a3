"""What a run finds in its workdir is used or refused in one line; records say what happened."""

import json
import os
import shutil
import signal

import numpy as np
import pytest

from rnnae.config import saved_config
from rnnae.errors import CheckpointError, ConfigError, Stopped
from rnnae.evaluation import loading, modes
from rnnae.records.writer import read_metrics, read_starts
from rnnae.training import loop
from rnnae.training.train import train
from tests import damage, runs

pytestmark = pytest.mark.slow  # about thirty short trainings


@pytest.fixture(autouse=True)
def _hangups_are_not_ignored():
    """A command that was started by nohup ignores SIGHUP, and so would the tests."""
    previous = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, previous)


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    directory = tmp_path_factory.mktemp("records")
    train(runs.config(directory), directory / "run")
    return directory


@pytest.fixture
def copied(directory, tmp_path):
    return shutil.copytree(directory / "run", tmp_path / "run")


def config_of(workdir):
    config = saved_config.get_config(str(workdir / "config.json"))
    # A saved config does not tell where the data are; it may come from somebody else.
    record = json.loads((workdir / "config.json").read_text(encoding="utf-8"))["data"]
    config.data.data_dir, config.data.source_dir = record["data_dir"], record["source_dir"]
    return config


def test_a_workdir_with_special_characters_is_continued_and_evaluated(directory, tmp_path):
    workdir = tmp_path / "runs" / "lr[1e-3]"
    train(runs.config(directory, train__epochs=1), workdir)
    train(runs.config(directory), workdir)
    metrics = modes.evaluate(config_of(workdir), workdir)
    assert metrics["step"] == 18 and loading.load(workdir).sample(2).shape == (2, 8, 8, 1)


def test_a_run_with_files_of_a_file_manager_is_continued(directory, copied, capsys):
    for step in (copied / "checkpoints").glob("*/*"):
        (step / ".DS_Store").write_bytes(b"\0\0\0\1Bud1")
    train(runs.config(directory), copied)
    assert "refused" not in capsys.readouterr().out
    assert not (copied / "checkpoints" / "refused").exists()
    loading.load(copied)


def test_a_finished_run_keeps_the_record_of_what_was_trained(directory, copied, capsys):
    before = (copied / "config.json").read_text()
    for changes in ({"train__epochs": 1}, {"train__steps_per_call": 2, "eval__seeds": (3,)}):
        train(runs.config(directory, **changes), copied)
        assert (copied / "config.json").read_text() == before
    assert "already trained" in capsys.readouterr().out


def test_a_run_that_was_not_tested_records_how_it_is_tested(directory, copied):
    lines = (copied / "metrics.jsonl").read_text().splitlines(keepends=True)
    (copied / "metrics.jsonl").write_text("".join(lines[:-1]))
    train(runs.config(directory, train__epochs=1, eval__seeds=(3,)), copied)
    saved = json.loads((copied / "config.json").read_text())
    assert saved["train"]["epochs"] == runs.EPOCHS and saved["eval"]["seeds"] == [3]


def test_an_extended_run_says_what_its_learning_rate_does(directory, copied, capsys):
    train(runs.config(directory, train__epochs=4), copied)
    said = capsys.readouterr().out
    assert "from step 18 of 24 instead of 18: the learning rate is 5.05e-04" in said.replace(
        "\n", " "
    )
    assert "and was to be 1.00e-05" in said
    assert config_of(copied).train.epochs == 4
    assert [start["total_steps"] for start in read_starts(copied)] == [18, 24]


def test_another_config_that_replaced_the_own_one_is_refused(directory, copied):
    config = config_of(copied)
    config.likelihood.sigma = 0.3071
    (copied / "config.json").write_text(saved_config.to_text(config.to_dict()))
    with pytest.raises(CheckpointError, match=r"another run \(config.likelihood.sigma: 0.7071"):
        loading.load(copied)
    (copied / "config.json").unlink()
    with pytest.raises(CheckpointError, match="another run"):
        train(runs.config(directory, likelihood__sigma=0.3071), copied)
    assert not (copied / "checkpoints" / "refused").exists()
    train(runs.config(directory), copied)
    loading.load(copied)


def test_a_damaged_config_is_one_line_that_names_a_copy(directory, copied):
    text = (copied / "config.json").read_text()
    for damaged in ("{}", '{"model": 5}', text.replace("0.7071", "0.3071"), text[:99]):
        (copied / "config.json").write_text(damaged)
        for action in (loading.load, lambda w: train(runs.config(directory), w)):
            with pytest.raises(ConfigError, match="damaged.*latest/18/config.json") as caught:
                action(copied)
    copy = str(caught.value).split("the copy in ")[1].split(",")[0]
    shutil.copy(copy, copied / "config.json")
    assert loading.load(copied).step == 18


@pytest.mark.parametrize("damage", ["flip", "deleted", "directory", "another run's"])
def test_a_damaged_mixture_is_fitted_again(directory, copied, damage, tmp_path, capsys):
    path = copied / "mixture.npz"
    expected, content = loading.load(copied).sample_latents(5), path.read_bytes()
    path.unlink()
    if damage == "flip":
        path.write_bytes(content[:300] + bytes([content[300] ^ 1]) + content[301:])
    elif damage == "directory":
        path.mkdir()
    elif damage == "another run's":
        arrays = dict(np.load(directory / "run" / "mixture.npz"))
        np.savez(path, **arrays | {"weights": "0", "means_MZ": 0 * arrays["means_MZ"]})
    run = loading.load(copied)
    with pytest.raises(CheckpointError, match="this run has no mixture"):
        run.sample_latents(5)
    modes.sample(config_of(copied), copied)
    assert "fitting a mixture" in capsys.readouterr().out
    if damage == "directory":
        path.rmdir()
    train(runs.config(directory), copied)
    np.testing.assert_array_equal(loading.load(copied).sample_latents(5), expected)


def test_numbers_are_enough_where_the_workdir_is_read_only(copied, tmp_path, capsys):
    path = copied / "evaluation.json"
    path.mkdir()  # nothing can be written there, even by root
    (path / "x").touch()
    result = modes.evaluate(config_of(copied), copied)
    said = capsys.readouterr().out
    assert "test (6 images" in said and "were not saved in" in said and "--out FILE" in said
    modes.evaluate(config_of(copied), copied, out=tmp_path / "elsewhere.json")
    saved = json.loads((tmp_path / "elsewhere.json").read_text())
    assert saved["test/mse"] == result["test/mse"]
    with pytest.raises(OSError):
        modes.evaluate(config_of(copied), copied, out=tmp_path / "none" / "elsewhere.json")


def test_figures_that_cannot_be_drawn_do_not_stop_the_training(directory, tmp_path, capsys):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "pictures").touch()
    with pytest.raises(CheckpointError, match="cannot write figures .*pictures"):
        train(runs.config(directory, train__epochs=1), tmp_path / "run")
    assert "no figures of step 6" in capsys.readouterr().out
    assert read_metrics(tmp_path / "run")[-1]["test/mse"] > 0


def test_a_workdir_that_is_deleted_during_training_stops_the_run(directory, tmp_path, monkeypatch):
    read, workdir = loop.ThroughputMeter.read, tmp_path / "run"

    def deleting(self, at, metrics):
        reading = read(self, at, metrics)
        if at >= 10:
            shutil.rmtree(workdir, ignore_errors=True)
        return reading

    monkeypatch.setattr(loop.ThroughputMeter, "read", deleting)
    with pytest.raises(FileNotFoundError, match="deleted or moved while it trained"):
        train(runs.config(directory), workdir)
    assert not workdir.exists()


@pytest.mark.parametrize(
    "number", [pytest.param(signal.SIGHUP, marks=pytest.mark.exhaustive), signal.SIGUSR1]
)
def test_other_signals_save_the_state_too(directory, tmp_path, monkeypatch, number):
    read = loop.ThroughputMeter.read

    def stopping(self, at, metrics):
        reading = read(self, at, metrics)
        if at == 4:
            os.kill(os.getpid(), number)
        return reading

    with monkeypatch.context() as patch:
        patch.setattr(loop.ThroughputMeter, "read", stopping)
        with pytest.raises(Stopped) as stopped:
            train(runs.config(directory), tmp_path / "run")
    assert stopped.value.exit_code == 128 + number
    train(runs.config(directory), tmp_path / "run")
    config = runs.config(directory)
    unbroken = runs.outcome(directory / "run", config)
    runs.assert_same(runs.outcome(tmp_path / "run", config), unbroken)


@pytest.mark.parametrize(
    "part",
    [0, *(pytest.param(part, marks=pytest.mark.exhaustive) for part in range(1, 72))],
)
def test_every_damage_is_right_or_refused(tmp_path, part):
    """About seventy inputs, nearly all opened to continue, to evaluate and to sample."""
    counts, wrong = damage.matrix(tmp_path, part=(part, 72))
    assert not wrong
    assert counts["right"] > 20 and counts["refused"] > 2

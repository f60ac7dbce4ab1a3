"""A run that is stopped anywhere resumes bit for bit: its result equals that of an unbroken run."""

import os
import random
import signal
import time

import pytest

from rnnae.errors import CheckpointError, ConfigError, NonFiniteError, Stopped
from rnnae.evaluation import figures
from rnnae.evaluation.evaluate import Evaluator
from rnnae.records.writer import read_metrics, read_starts
from rnnae.training import loop
from rnnae.training.train import train
from tests import runs


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    return tmp_path_factory.mktemp("run")


@pytest.fixture(scope="module")
def unbroken(directory):
    config, workdir = runs.config(directory), directory / "unbroken"
    train(config, workdir)
    return runs.outcome(workdir, config)


@pytest.fixture(scope="module")
def unbroken_step_by_step(directory):
    workdir = directory / "unbroken_step_by_step"
    config = runs.config(directory, train__steps_per_call=1)
    train(config, workdir)
    return runs.outcome(workdir, config)


def test_a_run_writes_all_its_files(directory, unbroken):
    workdir = directory / "unbroken"
    for name in ("config.json", "summary.txt", "timing.jsonl", "mixture.npz"):
        assert (workdir / name).stat().st_size > 0, name
    (start,) = read_starts(workdir)
    assert start["step"] == 0 and start["parameters"] > 1000 and not start["tested"]
    assert start["training_flop_per_image"] > 6 * start["parameters"]  # weights used many times
    assert "\x1b" not in (workdir / "summary.txt").read_text()  # colours of a terminal
    pictures = {p.name for p in (workdir / "pictures").iterdir()}
    names = ("generated", "reconstructions", "interpolation", "curves")
    assert pictures == {f"{name}.png" for name in names}
    assert list((workdir / "tensorboard").iterdir())
    records = read_metrics(workdir)
    assert [r["step"] for r in records if "train/loss" in r] == [4, 6, 10, 12, 16, 18]
    assert [r["step"] for r in records if "valid/mse" in r] == [6, 12, 18]
    assert records[-1]["step"] == 18 and records[-1]["test/mse"] > 0


def stop_in_training(monkeypatch, step, number):
    read = loop.ThroughputMeter.read

    def read_and_stop(self, at, metrics):
        reading = read(self, at, metrics)
        if at >= step:
            os.kill(os.getpid(), number)
        return reading

    monkeypatch.setattr(loop.ThroughputMeter, "read", read_and_stop)


@pytest.mark.parametrize(
    "steps_per_call, stops",
    [
        pytest.param(1, [(1, signal.SIGTERM), (7, signal.SIGINT)], marks=pytest.mark.exhaustive),
        pytest.param(4, [(4, signal.SIGINT), (6, signal.SIGTERM)], marks=pytest.mark.slow),
    ],
    ids=["first step, second epoch", "mid-epoch, epoch end"],
)
def test_a_run_stopped_by_signals_resumes_bit_for_bit(
    directory, tmp_path, monkeypatch, request, steps_per_call, stops
):
    config = runs.config(directory, train__steps_per_call=steps_per_call)
    whole = "unbroken" if steps_per_call == 4 else "unbroken_step_by_step"
    whole = request.getfixturevalue(whole)
    for step, number in stops:
        with monkeypatch.context() as patch:
            stop_in_training(patch, step, number)
            with pytest.raises(Stopped) as stopped:
                train(config, tmp_path)
        assert stopped.value.exit_code == 128 + number
        assert "test/mse" not in (tmp_path / "metrics.jsonl").read_text()
    train(config, tmp_path)
    runs.assert_same(runs.outcome(tmp_path, config), whole)


def assert_resumes(config, directory, monkeypatch, step):
    """Checks that a run stopped after `step` steps resumes bit for bit. Returns the outcome of the
    unbroken run."""
    train(config, directory / "unbroken")
    with monkeypatch.context() as patch:
        stop_in_training(patch, step, signal.SIGTERM)
        with pytest.raises(Stopped):
            train(config, directory / "stopped")
    train(config, directory / "stopped")
    stopped, whole = (runs.outcome(directory / name, config) for name in ("stopped", "unbroken"))
    runs.assert_same(stopped, whole)
    return whole


@pytest.mark.slow
def test_a_run_on_two_devices_resumes_bit_for_bit(directory, tmp_path, monkeypatch):
    assert_resumes(runs.config(directory, devices=2), tmp_path, monkeypatch, 6)


@pytest.mark.slow
def test_a_run_with_random_numbers_resumes_bit_for_bit(directory, tmp_path, monkeypatch):
    """They are latents, pixels and importance samples. The KL weight depends on the step."""
    config = runs.config(
        directory,
        data__binarise="dynamic",
        eval__importance_samples=2,
        eval__mutual_information_images=5,
        latent__name="gaussian",
        likelihood__name="bernoulli",
        objective__anneal_steps=9,
        objective__free_bits=0.1,
    )
    whole = assert_resumes(config, tmp_path, monkeypatch, 7)
    assert "test/nll_dynamic_is2" in whole[1]


@pytest.mark.slow
def test_a_run_stopped_during_evaluations_resumes_bit_for_bit(
    directory, tmp_path, monkeypatch, unbroken
):
    config = runs.config(directory)
    scores = Evaluator.scores
    for nth, number, recorded in ((1, signal.SIGTERM, []), (2, signal.SIGINT, [6])):
        starts = iter(range(1, 9))

        def stopping(self, *args, nth=nth, number=number, starts=starts, **kwargs):
            if next(starts) == nth:
                os.kill(os.getpid(), number)
            return scores(self, *args, **kwargs)

        with monkeypatch.context() as patch:
            patch.setattr(Evaluator, "scores", stopping)
            with pytest.raises(Stopped, match="during an evaluation"):
                train(config, tmp_path)
        assert [r["step"] for r in read_metrics(tmp_path) if "valid/mse" in r] == recorded
    train(config, tmp_path)
    runs.assert_same(runs.outcome(tmp_path, config), unbroken)


@pytest.mark.slow
def test_a_run_stopped_while_its_last_figures_are_drawn_is_not_measured_again(
    directory, tmp_path, monkeypatch, unbroken
):
    config = runs.config(directory)

    def drawing(run, images, records, directory, where):
        if "test/loss" in records[-1]:
            raise Stopped("while drawing", 143)

    measured, evaluate = [], Evaluator.__call__

    def evaluating(self, *arguments, **kwargs):
        measured.append(kwargs.get("full", False))
        return evaluate(self, *arguments, **kwargs)

    monkeypatch.setattr(Evaluator, "__call__", evaluating)
    with monkeypatch.context() as patch:
        patch.setattr(figures, "write_figures", drawing)
        with pytest.raises(Stopped, match="while drawing"):
            train(config, tmp_path)
    assert measured.count(True) == 1 and not (tmp_path / "pictures").exists()
    train(config, tmp_path)
    assert measured.count(True) == 1
    assert (tmp_path / "pictures" / "generated.png").exists()
    runs.assert_same(runs.outcome(tmp_path, config), unbroken)


@pytest.mark.slow
def test_a_crash_between_checkpoints_leaves_no_gap_and_no_repeated_record(
    directory, tmp_path, monkeypatch, unbroken
):
    config = runs.config(directory)
    read = loop.ThroughputMeter.read

    def crashing(self, at, metrics):
        reading = read(self, at, metrics)
        if at >= 10:
            raise RuntimeError("power cut")
        return reading

    with monkeypatch.context() as patch:
        patch.setattr(loop.ThroughputMeter, "read", crashing)
        with pytest.raises(RuntimeError, match="power cut"):
            train(config, tmp_path)
    assert read_metrics(tmp_path)[-1]["step"] == 10  # recorded, and not in a checkpoint
    train(config, tmp_path)
    runs.assert_same(runs.outcome(tmp_path, config), unbroken)


def test_a_finished_run_is_not_changed(directory, unbroken, capsys):
    result = train(runs.config(directory), directory / "unbroken")
    assert result["test/mse"] > 0
    assert "already trained" in capsys.readouterr().out
    ours = runs.outcome(directory / "unbroken", runs.config(directory))
    runs.assert_same(ours, unbroken)


def test_another_architecture_or_batch_size_is_refused_with_the_key(directory, unbroken):
    workdir = directory / "unbroken"
    with pytest.raises(ConfigError, match="config.model.width: 6 there, 7 here"):
        train(runs.config(directory, model__width=7), workdir)
    with pytest.raises(ConfigError, match="config.data.batch_size"):
        train(runs.config(directory, data__batch_size=4), workdir)


@pytest.mark.parametrize(
    "changes, words",
    [
        ({}, r"at step \d+, learning rate 1e\+38"),
        # The loss that would show it belongs to the next step.
        ({"optim.weight_decay": 1e3, "data.batch_size": 48}, "parameters .* step 1, which was"),
    ],
)
def test_only_finite_parameters_reach_a_checkpoint(directory, tmp_path, changes, words):
    config = runs.config(
        directory,
        optim__learning_rate=1e38,
        optim__schedule="constant",
        optim__clip_norm=0.0,
        train__steps_per_call=1,
    )
    config.update_from_flattened_dict(changes)
    with pytest.raises(NonFiniteError, match=words):
        train(config, tmp_path)
    latest = tmp_path / "checkpoints" / "latest"
    assert not latest.exists() or not list(latest.iterdir())


def test_a_run_does_not_continue_on_other_images(directory, tmp_path):
    config = runs.config(tmp_path, train__epochs=1)
    train(config, tmp_path / "run")
    (tmp_path / "images" / "00.png").unlink()
    config.train.epochs = 2
    with pytest.raises(ConfigError, match="was trained on other images"):
        train(config, tmp_path / "run")


def test_damaged_checkpoints_never_lead_to_a_fresh_start(directory, tmp_path):
    config = runs.config(directory, train__epochs=1)
    train(config, tmp_path)
    for kind in ("latest", "best"):
        for file in (tmp_path / "checkpoints" / kind).rglob("*"):
            if file.is_file():
                file.write_bytes(b"\0" + file.read_bytes()[1:])
    with pytest.raises(CheckpointError, match="can be trusted"):
        train(config, tmp_path)


def kill_and_continue(directory, workdir, delays):
    for delay in delays:
        process = runs.start(directory, workdir, start_new_session=True)
        time.sleep(delay)
        process.send_signal(signal.SIGKILL)
        process.communicate()
    process = runs.start(directory, workdir)
    out, err = process.communicate()
    assert process.returncode == 0, err
    return out


@pytest.mark.slow
def test_a_run_killed_at_random_moments_resumes_bit_for_bit(directory, tmp_path, unbroken):
    generator = random.Random(0)
    kill_and_continue(directory, tmp_path, [generator.uniform(4, 14) for _ in range(3)])
    runs.assert_same(runs.outcome(tmp_path, runs.config(directory)), unbroken)


@pytest.mark.slow
def test_a_command_stopped_by_sigterm_exits_with_143_and_resumes_bit_for_bit(
    directory, tmp_path, unbroken
):
    process = runs.start(directory, tmp_path)
    for line in process.stdout:
        if "  valid (" in line:
            break
    begin = time.monotonic()
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate()
    assert time.monotonic() - begin < 10
    if process.returncode:
        assert process.returncode == 143, err
        assert "the same command continues" in err
    else:  # it had finished before the signal came
        assert "test/mse" in (tmp_path / "metrics.jsonl").read_text()
    out = kill_and_continue(directory, tmp_path, [])
    assert "continuing" in out
    runs.assert_same(runs.outcome(tmp_path, runs.config(directory)), unbroken)

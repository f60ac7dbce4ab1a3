"""Searches: the best go on, nothing is trained twice, a killed search continues, and its report."""

import ast
import functools
import inspect
import math
import os
import shutil
import signal
import sys

import numpy as np
import pytest

from experiments import search, spaces
from experiments import study as study_lib
from rnnae import build, files
from rnnae import config as config_lib
from rnnae.evaluation import evaluate
from rnnae.records.writer import read_metrics, read_starts
from tests import fake_trials, runs
from tests.fake_tables import execute, sentences
from tests.fake_trials import HIGH, LOW, FakeTrial


@pytest.fixture
def plant(monkeypatch, tmp_path):
    """plant(**changes) installs the space of `fake_trials` and returns its command arguments."""
    return functools.partial(fake_trials.install, monkeypatch, tmp_path)


def epochs_of(root) -> dict[int, list[float]]:
    """Number of each trial -> the epochs in its records."""
    return {
        int(path.name[5:]): [record["epoch"] for record in read_metrics(path)]
        for path in sorted((root / "rates").glob("trial*"))
    }


def assert_searched(root, trials) -> None:
    """All trials reached the first rung, the best third the second, and so on; no epoch was
    trained twice."""
    epochs = epochs_of(root)
    assert [*epochs] == [*range(trials)]
    assert all(each == [*range(1, len(each) + 1)] for each in epochs.values())
    values = {
        number: {r["epoch"]: r["valid/mse"] for r in read_metrics(root / f"rates/trial{number:03}")}
        for number in epochs
    }
    numbers = [*epochs]
    for before, after in ((1, 3), (3, 9)):
        count = max(1, len(numbers) * before // after)
        numbers = sorted(numbers, key=lambda number: values[number][before])[:count]
        assert {number for number in epochs if len(epochs[number]) >= after} >= {*numbers}
    assert sum(len(each) == 9 for each in epochs.values()) == len(numbers)


def test_the_best_of_each_rung_continue_to_the_next(plant, tmp_path, capsys):
    argv = plant()
    assert search.main([*argv, "--trials", "9"]) == 0
    assert_searched(tmp_path / "root", 9)
    assert FakeTrial.starts[:9] == [(number, 0) for number in range(9)]
    again = [epochs for _, epochs in FakeTrial.starts[9:]]
    assert len(again) == 4 and min(again) >= 1 and again[3] >= 3  # continued, not restarted
    assert FakeTrial.most == 1
    output = capsys.readouterr().out
    assert "3 of 9 trials go on to epoch 3\n" in output and "1 of 3 trials go on" in output
    assert search.main([*argv, "--trials", "9"]) == 0 and len(FakeTrial.starts) == 13


def test_a_search_with_more_trials_goes_on(plant, tmp_path):
    argv = plant()
    assert search.main([*argv, "--trials", "3"]) == 0
    before = epochs_of(tmp_path / "root")
    assert search.main([*argv, "--trials", "12", "--jobs", "2"]) == 0
    after = epochs_of(tmp_path / "root")
    assert all(after[number][: len(epochs)] == epochs for number, epochs in before.items())
    assert sum(len(epochs) >= 3 for epochs in after.values()) >= 4 and FakeTrial.most == 2
    rates = [trial.params["optim.learning_rate"] for trial in trials_of(tmp_path / "root")]
    assert len({*rates}) == 12  # the second search did not draw the first one's numbers again


def trials_of(root) -> list:
    return study_lib.open_study(spaces.load("rates"), root / "rates" / "journal.jsonl").trials


@pytest.mark.parametrize("workers", [1, 2])
def test_a_killed_search_continues(plant, tmp_path, workers):
    """Each copy of the directory is what a kill at that moment would leave."""
    argv, copies = plant(), []

    def copy(process):
        copies.append(tmp_path / f"copy{len(copies)}")
        shutil.copytree(tmp_path / "root", copies[-1])

    FakeTrial.on_epoch = copy
    assert search.main([*argv, "--trials", "6", "--jobs", str(workers)]) == 0
    FakeTrial.on_epoch = None
    assert len(copies) > 12
    for root in copies[:: 1 + len(copies) // 8]:
        with (root / "rates" / "journal.jsonl").open("a") as file:
            file.write('{"op_code": 5, "wor')  # a line cut short
        assert search.main(["rates", "--root", str(root), "--trials", "6"]) == 0
        assert_searched(root, 6)
        assert all(trial.value is not None for trial in trials_of(root))


def test_a_signal_stops_the_trials_and_the_search(plant, tmp_path, capsys):
    argv = plant()

    def interrupt(process):
        if len(FakeTrial.starts) == 4:
            os.kill(os.getpid(), signal.SIGTERM)

    FakeTrial.on_epoch = interrupt
    before = signal.getsignal(signal.SIGTERM)
    assert execute(search, [*argv, "--trials", "6", "--jobs", "2"]) == 143
    assert signal.getsignal(signal.SIGTERM) is before and FakeTrial.training == 0
    assert "experiments.search: stopped; the same command continues" in capsys.readouterr().err
    FakeTrial.on_epoch = None
    assert search.main([*argv, "--trials", "6"]) == 0
    assert_searched(tmp_path / "root", 6)


def test_a_trial_that_cannot_be_trained_is_the_worst(plant, tmp_path, capsys):
    argv = plant()

    def diverge(process):
        if process.rate > 1e-2:
            process.status = 4

    FakeTrial.on_epoch = diverge
    assert search.main([*argv, "--trials", "9"]) == 0
    values = [trial.value for trial in trials_of(tmp_path / "root")]
    assert math.inf in values and min(values) < math.inf
    for number, epochs in epochs_of(tmp_path / "root").items():
        assert len(epochs) == 1 or math.isfinite(values[number])
    assert "inf at epoch 1" in capsys.readouterr().out


@pytest.mark.parametrize("code", [2, 5, -9])
def test_a_trial_that_fails_stops_the_search(plant, tmp_path, capsys, code):
    """The same command tries it again, unless its config was refused."""
    argv = plant()

    def fail(process):
        if len(FakeTrial.starts) == 4:
            (process.workdir / "metrics.jsonl").unlink()
            process.status = code

    FakeTrial.on_epoch = fail
    assert execute(search, [*argv, "--trials", "6", "--jobs", "2"]) == 1
    error = capsys.readouterr().err
    assert f"FAILED, exit code {code}: the last line (" in error and FakeTrial.training == 0
    FakeTrial.on_epoch = None
    assert search.main([*argv, "--trials", "6"]) == 0
    given_up = [trial.number for trial in trials_of(tmp_path / "root") if trial.value is None]
    assert len(given_up) == (code == 2)


@pytest.mark.parametrize(
    "changes, words",
    [
        ({"METRIC": "test/mse"}, "choose by a metric of the validation images"),
        ({"RUNGS": (3, 1)}, "RUNGS of rates must be ascending"),
        ({"OVERRIDES": {"data.train_on_all": True}}, "set data.train_on_all=False"),
        ({"OVERRIDES": {"train.max_steps": 9}}, "train.max_steps=0"),
        ({"OVERRIDES": {"train.eval_every_epochs": 2}}, "train.eval_every_epochs=1"),
        ({"OVERRIDES": {"model.width": -1}}, "config.model.width"),
    ],
)
def test_a_space_that_cannot_be_searched_is_refused(plant, tmp_path, capsys, changes, words):
    argv = plant(**changes)
    assert execute(search, argv) == 2
    error = capsys.readouterr().err
    assert words in error and error.count("\n") == 1 and not (tmp_path / "root").exists()


def test_what_else_is_refused(plant, tmp_path, monkeypatch, capsys):
    argv = plant()
    assert execute(search, [*argv, "--report", "--out", str(tmp_path)]) == 2
    assert "there is no search in" in capsys.readouterr().err
    with files.exclusive_lock(tmp_path / "root" / "rates"):
        assert execute(search, argv) == 2
    assert "another search, or a trial of one" in capsys.readouterr().err
    assert search.main([*argv, "--trials", "1"]) == 0
    plant(RUNGS=(1, 2))
    assert execute(search, argv) == 2
    assert "of another version of the space rates" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        search.main([*argv, "--", "--config.train.epochs=1"])
    argv = plant(METRIC="valid/mmse")
    assert execute(search, [*argv[:2], str(tmp_path / "other")]) == 2 and FakeTrial.training == 0
    assert "METRIC must be one of valid/loss, valid/mse (did you mean" in capsys.readouterr().err
    monkeypatch.setitem(sys.modules, "optuna", None)
    assert execute(search, argv) == 2
    assert 'pip install "rnnae[search]"' in capsys.readouterr().err


def test_the_report_is_made_from_the_journal_alone(plant, tmp_path):
    argv, out = plant(), tmp_path / "out"

    def diverge(process):
        if process.rate > 5e-2:
            process.status = 4

    FakeTrial.on_epoch = diverge
    assert search.main([*argv, "--trials", "12"]) == 0
    report_argv = [*argv, "--report", "--out", str(out)]
    assert search.main(report_argv) == 0
    first = {path.name: path.read_bytes() for path in out.iterdir()}
    assert first.keys() == {"rates.md", "rates.png", "rates.jsonl"}
    shutil.rmtree(tmp_path / "root")
    assert search.main(report_argv) == 0
    assert first == {path.name: path.read_bytes() for path in out.iterdir()}

    text = first["rates.md"].decode()
    table = [line for line in text.splitlines() if line.startswith("| ")]
    assert len(table) == 2 + 10 and "inf" not in text
    trials = study_lib.open_study(spaces.load("rates"), out / "rates.jsonl").trials
    best = trials[int(table[2].split()[1])]
    assert best.value == min(trial.value for trial in trials)
    (command,) = (line for line in text.splitlines() if line.startswith("The best trial: "))
    for name, value in {**best.params, "train.epochs": 9, "train.eval_every_epochs": 1}.items():
        assert f" --config.{name}={value}" in command
    assert "optim.learning_rate 0.9" in text  # the fake loss depends on nothing else
    assert "4 reached epoch 3, 1 reached epoch 9" in text
    assert sys.executable not in text and str(tmp_path) not in text


@pytest.mark.parametrize("name", spaces.SPACES)
def test_a_space_is_legal_and_its_metric_is_measured(name):
    space = spaces.load(name)
    tree = ast.parse(inspect.getsource(spaces.SPACES[name]))
    assert all(isinstance(node, ast.Assign | ast.Expr) for node in tree.body), "only data"
    assert space.title and len(space.caption) > 80 and sentences(space.caption) <= 2
    for end in (0, -1):
        values = {
            key: (v["choices"] if "choices" in v else (v["low"], v["high"]))[end]
            for key, v in space.parameters.items()
        }
        config = space.trial(0, values).config()
        config_lib.check(config)
        model = build.build_model(config_lib.resolved(config, (28, 28, 1)))
        evaluate.check_protocol(model, np.full((1, 28, 28, 1), 100, np.uint8), config.data.binarise)


@pytest.mark.slow
def test_a_promoted_trial_equals_an_unbroken_run(tmp_path, monkeypatch):
    """Real trials, and bit for bit."""
    space = fake_trials.planted(
        OVERRIDES={**runs.overrides(tmp_path), "train.tensorboard": False},
        PARAMETERS={"optim.learning_rate": {"low": LOW, "high": HIGH, "log": True}},
        RUNGS=(1, 2),
        METRIC="valid/mse",
    )
    monkeypatch.setattr(spaces, "SPACES", {"rates": space})
    assert search.main(["rates", "--root", str(tmp_path / "root"), "--trials", "2"]) == 0
    trials = [*(tmp_path / "root" / "rates").glob("trial*")]
    best, other = sorted(trials, key=lambda path: -read_metrics(path)[-1]["epoch"])
    assert len(read_starts(best)) == 2 and read_metrics(other)[-1]["epoch"] < 2
    rate = trials_of(tmp_path / "root")[int(best.name[5:])].params["optim.learning_rate"]
    flags = [f"--config.optim.learning_rate={rate}", "--config.train.epochs=2"]
    flags += ["--config.train.tensorboard=False"]
    process = runs.start(tmp_path, tmp_path / "whole", *flags)
    output = process.communicate()
    assert process.returncode == 0, output
    config = spaces.load("rates").trial(0, {"optim.learning_rate": rate}).config()
    whole, parts = (runs.outcome(path, config) for path in (tmp_path / "whole", best))
    runs.assert_same(whole, parts)

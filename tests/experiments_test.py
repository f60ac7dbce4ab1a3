"""experiments.run: the runs of a table are started, skipped, continued and refused."""

import json
import os
import shutil
import signal
import sys
import threading

import pytest

from experiments import jobs, report, run, tables
from tests import fake_tables, runs
from tests.fake_tables import execute


def test_a_run_has_the_command_that_a_person_would_type(tmp_path, plant):
    plant(ROWS={"a": {}, "b": {"weights_from": "a", "eval.importance_samples": 8}})
    first, second, *_, last = jobs.plan(tables.load("widths", "cpu"), tmp_path)
    words = jobs.command([first], ["--x=1"])
    assert "--config=configs/mnist.py" in words and "--config.train.epochs=1" in words
    # Later flags win: the config file, then the overrides of the row, then flags of the machine.
    order = ("--config=configs/mnist.py", "--config.train.epochs=1", "--x=1")
    assert sorted(order, key=words.index) == [*order]
    assert "--config.seed=0" in words
    assert f"--workdir={tmp_path / 'widths-cpu' / 'a' / 'seed0'}" in words
    words = jobs.command([first, second], [])
    assert f"--workdir={tmp_path / 'widths-cpu' / 'a'}" in words and "--seeds=0,1" in words
    assert last.workdir.parts[-3:] == ("widths-cpu", "b", "seed2")
    words = jobs.command([last], [])
    assert f"--workdir={tmp_path / 'widths-cpu' / 'a' / 'seed2'}" in words
    assert "--mode=evaluate" in words and "train.epochs" not in str(words)
    assert "data_dir" not in str(words)


def test_an_evaluation_finds_the_data_of_the_training(tmp_path, plant):
    """A saved run's own paths are not used, so the command has those of the row that trains."""
    plant(ROWS={"a": {"data.data_dir": "/scratch"}, "b": {"weights_from": "a"}})
    *_, last = jobs.plan(tables.load("widths", "cpu"), tmp_path)
    assert "--config.data.data_dir=/scratch" in jobs.command([last], [])


@pytest.mark.slow
def test_real_runs_are_continued_evaluated_and_reported(plant, tmp_path, monkeypatch, capsys):
    """In all other tests a script writes the records of the runs."""
    row = runs.overrides(tmp_path) | {"train.epochs": 1, "data.binarise": "dynamic"}
    row |= {"likelihood.name": "bernoulli", "latent.name": "gaussian", "eval.seeds": (0,)}
    evaluation = {"weights_from": "row", "eval.importance_samples": 2, "eval.seeds": (0,)}
    metrics = {"NLL": "test/nll_dynamic_is2", "bound": "test/bound_dynamic"}
    argv = plant(ROWS={"row": row, "of row": evaluation}, METRICS=metrics, SEEDS=(0,))
    monkeypatch.setattr(jobs, "command", fake_tables.COMMAND)
    assert run.main(argv) == 0, (tmp_path / "root/widths-full/row/seed0/log.txt").read_text()
    capsys.readouterr()
    assert run.main(argv) == 0
    assert capsys.readouterr().out.count("already finished") == 2
    assert report.main([*argv, "--out", str(tmp_path / "out")]) == 0
    lines = (tmp_path / "out" / "widths-full.csv").read_text().splitlines()
    names, trained, evaluated = (line.split(",") for line in lines)
    bound, estimate = names.index("test/bound_dynamic"), names.index("test/nll_dynamic_is2")
    assert trained[0] == "row" and float(trained[bound]) > 0 and not trained[estimate]
    assert evaluated[0] == "of row" and float(evaluated[estimate]) > 0
    assert "1 x cpu" in (tmp_path / "out" / "widths-full.md").read_text()


def test_a_row_that_cannot_be_written_does_not_stop_the_others(plant, tmp_path, capsys):
    argv = plant(SEEDS=(0,))
    (tmp_path / "root" / "widths-full").mkdir(parents=True)
    (tmp_path / "root" / "widths-full" / "narrow").touch()
    assert run.main(argv) == 1
    output = capsys.readouterr().out
    assert "narrow, seed 0: FAILED, exit code 1: " in output and "1 of 2 runs failed" in output
    assert (tmp_path / "root" / "widths-full" / "wide-very" / "seed0" / "metrics.jsonl").exists()


def test_finished_rows_are_skipped_and_failed_ones_tried_again(plant, tmp_path, capsys):
    rows = {"bad": {"model.width": -1}, "good": {"model.width": 3}}
    argv = plant(ROWS=rows)
    assert run.main(argv) == 1
    output = capsys.readouterr().out
    failed = "bad, seeds 0, 1, 2: FAILED, exit code 1: a width cannot be negative (seed 0)"
    assert f"{failed} ({tmp_path / 'root' / 'widths-full' / 'bad' / 'log.txt'})" in output
    assert "bad, seed 1: FAILED, exit code 1: a width cannot be negative (seed 1)" in output
    assert "bad, seed 2: FAILED" not in output and "good, seeds 0, 1, 2: FAILED" not in output
    assert "2 of 6 runs failed" in output
    shutil.rmtree(tmp_path / "root" / "widths-full" / "bad")
    plant(ROWS=rows | {"bad": {"model.width": 5}})
    assert run.main([*argv, "--seeds", "2"]) == 0 and run.main(argv) == 0
    output = capsys.readouterr().out
    assert "bad, seeds 0, 1:" in output and "good: already finished" in output
    assert run.main([*argv, "--row", "good"]) == 0
    for flags, words in [
        (["--row", "god"], "its rows: 'bad', 'good'"),
        (["--config.devices=1"], "flags that go to every run come last, after --"),
        (["--seeds", "4294967296"], "is not a list of seeds up to 2,147,483,647, such as 0,1,2"),
    ]:
        with pytest.raises(SystemExit):
            run.main([*argv, *flags])
        assert words in capsys.readouterr().err


def test_a_run_of_another_version_of_the_table_is_refused(plant, tmp_path, capsys):
    rows = {"a": {"model.width": 3, "eval.seeds": (0,)}}
    argv = plant(ROWS=rows)
    report_argv = [*argv, "--out", str(tmp_path / "out")]
    assert run.main(argv) == 0 and run.main(argv) == 0 and report.main(report_argv) == 0
    plant(ROWS={"a": {"model.width": 4, "eval.seeds": (0, 1)}})
    capsys.readouterr()
    assert execute(run, argv) == 2 and execute(report, report_argv) == 2
    error = capsys.readouterr().err
    assert error.count("[0, 1] in the table, config.model.width: 3 there, 4 in the table)") == 2
    assert "experiments.run: " in error and "move it away" in error
    plant(ROWS={"a": {"eval.seeds": (0,)}})  # without the override
    assert execute(run, argv) == 2
    assert "config.model.width: 3 there, 96 in the table" in capsys.readouterr().err
    plant(ROWS=rows)
    assert run.main([*argv, "--", "--config.devices=1"]) == 0
    with pytest.raises(SystemExit):
        run.main([*argv, "--", "--config.train.epochs=1"])
    assert "--config.train.epochs=1 would make another row" in capsys.readouterr().err
    for word in ("-config.devices=1", "--config=configs/mnist_mlp.py", "--seeds=7", "data"):
        with pytest.raises(SystemExit):
            run.main([*argv, "--", word])
    row = tmp_path / "root" / "widths-full" / "a"
    shutil.copytree(row / "seed0", row / "seed0.old")
    assert report.main(report_argv) == 0


def test_an_unfinished_run_of_another_version_is_not_continued(plant, tmp_path, capsys):
    argv = plant()
    assert run.main(argv) == 0
    records = tmp_path / "root" / "widths-full" / "narrow" / "seed1" / "metrics.jsonl"
    records.write_text(records.read_text().partition('{"step": 5')[0])
    plant(ROWS={"narrow": {"model.width": 2, "train.epochs": 7}})
    capsys.readouterr()
    assert execute(run, [*argv, "--seeds", "1"]) == 2
    assert "config.train.epochs: 50 there, 7 in the table" in capsys.readouterr().err


def test_a_setting_that_is_newer_than_a_run_has_its_default(plant, tmp_path):
    argv = plant()
    assert run.main(argv) == 0
    for path in (tmp_path / "root").rglob("config.json"):
        config = json.loads(path.read_text())
        del config["optim"]["matmul_precision"]
        path.write_text(json.dumps(config))
    assert run.main(argv) == 0


def test_a_run_without_its_last_figure_is_not_finished(plant, tmp_path, capsys):
    argv = plant()
    assert run.main(argv) == 0
    (tmp_path / "root/widths-full/narrow/seed1/pictures/curves.png").unlink()
    capsys.readouterr()
    assert run.main(argv) == 0
    assert "narrow, seed 1: " in capsys.readouterr().out


def test_seeds_that_the_table_does_not_have_are_run_and_reported(plant, tmp_path, capsys):
    argv = plant(CPU_SEEDS=(0,)) + ["--size", "cpu"]
    assert run.main(argv) == 0 and run.main([*argv, "--seeds", "2,0"]) == 0
    assert "seed 2:" in capsys.readouterr().out
    assert report.main([*argv, "--out", str(tmp_path / "out")]) == 0
    text = (tmp_path / "out" / "widths.md").read_text()
    assert "--size cpu --seeds 0,2`" in text and "88.01 ± 0.01" in text
    with pytest.raises(SystemExit):
        run.main([*argv, "--seeds", "all"])
    assert "'all' is not a list of seeds" in capsys.readouterr().err


@pytest.mark.parametrize(
    "number, code",
    [(signal.SIGTERM, 143), (signal.SIGINT, 130), (signal.SIGHUP, 129), (signal.SIGUSR1, 138)],
)
def test_a_signal_stops_the_row_and_all_later_rows(plant, monkeypatch, capsys, number, code):
    """Even if the process has no signal handler yet, and is killed by the signal."""
    argv = plant()
    sleeping = [sys.executable, "-c", "import time; print('up', flush=True); time.sleep(60)"]
    monkeypatch.setattr(jobs, "command", lambda job, extra: sleeping)
    # Where the tests run under nohup, SIGHUP would be ignored.
    before = signal.signal(number, signal.default_int_handler)
    thread = threading.Timer(1, os.kill, (os.getpid(), number))
    thread.start()
    try:
        assert run.main(argv) == code
        assert signal.getsignal(number) is signal.default_int_handler
    finally:
        thread.join()
        signal.signal(number, before)
    output = capsys.readouterr().out
    assert "narrow, seeds 0, 1, 2: stopped; the same command continues" in output
    assert "Wide" not in output


@pytest.mark.slow
def test_a_closed_terminal_does_not_stop_a_run_under_nohup(plant, monkeypatch, capsys):
    argv = plant(SEEDS=(0,))
    waiting = "import time; print('up', flush=True); time.sleep(2)"
    monkeypatch.setattr(jobs, "command", lambda job, extra: [sys.executable, "-c", waiting])
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    thread = threading.Timer(1, os.kill, (os.getpid(), signal.SIGHUP))
    thread.start()
    try:
        assert run.main(argv) == 0 and "stopped" not in capsys.readouterr().out
    finally:
        thread.join()
        signal.signal(signal.SIGHUP, before)


def test_a_row_can_evaluate_the_weights_of_another(plant, tmp_path, capsys, monkeypatch):
    rows = {f"K = {k}": {"weights_from": "a", "eval.importance_samples": k} for k in (1, 8)}
    argv = plant(ROWS={"a": {"model.width": 2}, **rows}, SEEDS=(0, 1))
    assert run.main(argv) == 0
    report.main([*argv, "--out", str(tmp_path)])
    output = capsys.readouterr().out
    assert "| K = 8 | 1,234 | 5.0 |  | 0.00 | 2 | **72.00 ± 0.00** |" in output
    evaluation = tmp_path / "root" / "widths-full" / "k-1" / "seed1" / "evaluation.json"
    content = json.loads(evaluation.read_text())
    assert content["metrics"]["test/nll_dynamic"] == 79 and content["weights"]["test/kl"] == 4
    records = tmp_path / "root" / "widths-full" / "a" / "seed1" / "metrics.jsonl"
    whole = records.read_text()
    records.write_text(whole.replace('"test/kl": 4', '"test/kl": 5'))  # trained again
    assert execute(run, argv) == 2
    assert "it evaluated weights that no longer exist" in capsys.readouterr().err
    records.write_text(whole)
    evaluation.unlink()
    plant(ROWS={"a": {"model.width": 3}, **rows}, SEEDS=(0, 1))  # another row than was trained
    assert execute(run, [*argv, "--row", "K = 1"]) == 2
    plant(ROWS={"a": {"model.width": 2}, **rows}, SEEDS=(0, 1))
    evaluation.write_text("")
    assert execute(run, [*argv, "--row", "K = 1"]) == 2
    assert "evaluation.json is damaged: restore it" in capsys.readouterr().err
    evaluation.unlink()
    records.write_text(whole[: whole.index('{"step": 5')])
    assert run.main([*argv, "--row", "K = 1"]) == 1
    assert "seed1 is not finished; run the row 'a' first" in capsys.readouterr().out


def test_all_tables_are_run_and_reported_by_one_command(plant, tmp_path, monkeypatch, capsys):
    """Two tables whose rows have the same labels, and a third without runs."""
    _, *rest = plant(SEEDS=(0,))
    planted = tables.TABLES["widths"]
    monkeypatch.setattr(tables, "TABLES", {"widths": planted, "other": planted})
    assert run.main(["all", *rest]) == 0
    assert "[4/4]" in capsys.readouterr().out
    workdirs = {path.relative_to(tmp_path).parts[1] for path in tmp_path.glob("root/*/*/seed0")}
    assert workdirs == {"widths-full", "other-full"}
    monkeypatch.setattr(tables, "TABLES", tables.TABLES | {"third": planted})
    assert report.main(["all", *rest, "--out", str(tmp_path)]) == 0
    assert {path.name for path in tmp_path.glob("*-full.md")} == {"widths-full.md", "other-full.md"}
    for wrong in (["widths", "other", "--row", "narrow"], ["nothing"]):
        with pytest.raises(SystemExit, match="2"):
            run.main([*wrong, *rest])
    with pytest.raises(SystemExit, match="2"):
        report.main(["all", *rest, "--forget", "narrow"])
    assert "one table" in capsys.readouterr().err

"""Several workers on one table: every row is trained once, and that of a dead worker continued."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from experiments import jobs, queue, run
from experiments.tables import Row
from rnnae import files
from rnnae.errors import ConfigError
from tests import fake_tables
from tests.fake_tables import execute

COST = queue.cost  # `fake_tables` replaces it
ROWS = {name: {"model.width": width} for width, name in enumerate("abcd")}
STEPS = 20
# A training that a kill interrupts between two steps, and that continues from there.
SLOW = f"""
import os, pathlib, sys, time
directory = pathlib.Path(next(w for w in sys.argv if w.startswith("--workdir="))[10:])
directory.mkdir(parents=True, exist_ok=True)
steps = directory / "steps.txt"
for step in range(len(steps.read_text().splitlines()) if steps.exists() else 0, {STEPS}):
    with steps.open("a") as file:
        file.write(f"{{step}} {{os.getpid()}}\\n")
    time.sleep(0.1)
{fake_tables.SCRIPT}"""
WORKER = """
import pathlib, sys
import pytest
from experiments import queue, run
from tests import fake_tables, queue_test
own, root = map(pathlib.Path, sys.argv[1:])
own.mkdir()
fake_tables.install(pytest.MonkeyPatch(), own, queue_test.SLOW, ROWS=queue_test.ROWS, SEEDS=(0, 1))
queue.WAIT_SECONDS = 0.1
sys.exit(run.main(["widths", "--root", str(root)]))
"""


@contextlib.contextmanager
def held(monkeypatch, directory) -> Iterator[list[float]]:
    """Another process holds the row in this directory until the worker has waited twice."""
    lock, waits = contextlib.ExitStack(), []
    lock.enter_context(files.exclusive_lock(directory))

    def wait(seconds):
        waits.append(seconds)
        if len(waits) == 2:
            lock.close()

    with lock, monkeypatch.context() as patch:
        patch.setattr(queue.time, "sleep", wait)
        yield waits


def test_a_row_that_another_process_holds_is_left_for_later(plant, tmp_path, monkeypatch, capsys):
    argv = plant(SEEDS=(0,))
    with held(monkeypatch, tmp_path / "root" / "widths-full" / "narrow") as waits:
        assert run.main(argv) == 0 and waits == [10.0, 10.0]
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("[1/2] Wide, very, seed 0: ")
    assert lines[1] == "waiting for narrow: other processes hold them"
    assert lines[2].startswith("[2/2] narrow, seed 0: ") and len(lines) == 3


def test_an_evaluation_waits_for_the_training_of_its_weights(plant, tmp_path, monkeypatch, capsys):
    rows = {"a": {}, "K = 1": {"weights_from": "a", "eval.importance_samples": 1}}
    argv = plant(SEEDS=(0,), ROWS=rows)
    with held(monkeypatch, tmp_path / "root" / "widths-full" / "a"):
        assert run.main(argv) == 0
    waiting, training, evaluation = capsys.readouterr().out.splitlines()
    assert waiting.startswith("waiting for a, K = 1:") and "K = 1, seed 0: " in evaluation
    (tmp_path / "root" / "widths-full" / "k-1" / "seed0" / "evaluation.json").unlink()
    # Two evaluations of the same weights would write to the same place.
    with held(monkeypatch, tmp_path / "root" / "widths-full" / "a") as waits:
        assert run.main([*argv, "--row", "K = 1"]) == 0 and len(waits) == 2


def test_a_job_shares_the_lock_of_its_worker(tmp_path):
    """So a job that outlives its worker holds the row."""
    sleeping = [sys.executable, "-c", "import time; print('up', flush=True); time.sleep(60)"]
    with jobs.Processes() as processes, files.exclusive_lock(tmp_path) as lock:
        process = processes.start(sleeping, tmp_path / "log.txt", lock)
    try:
        with pytest.raises(ConfigError, match="another process"), files.exclusive_lock(tmp_path):
            pass
    finally:
        process.kill()
        process.wait()
    with files.exclusive_lock(tmp_path):
        pass


def test_the_longest_row_comes_first(plant, monkeypatch, capsys):
    argv = plant(SEEDS=(0,), ROWS=ROWS | {"K = 1": {"weights_from": "a"}})
    assert run.main([*argv, "--row", "b"]) == 0
    monkeypatch.setattr(queue, "cost", lambda row: row.overrides["model.width"])
    monkeypatch.setattr(jobs, "execute", lambda job, extra, lock: (0, ""))
    capsys.readouterr()
    run.main(argv)
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[1].strip(",:") for line in lines] == ["b", "d", "c", "a", "K"]


def test_the_cost_of_a_row_is_about_its_arithmetic():
    def of(**overrides):
        settings = {key.replace("__", "."): value for key, value in overrides.items()}
        return COST(Row("row", "configs/mnist_mlp.py", settings))

    usual = of(train__epochs=2)
    assert of(train__epochs=4) == pytest.approx(2 * usual)
    assert of(train__max_steps=7, data__batch_size=50) == pytest.approx(usual * 7 * 50 / 100_000)
    assert of(train__epochs=2, model__widths=(1024, 256)) > 1.5 * usual
    # The run itself says what is wrong.
    assert of(latent__size=-1) == of(data__name="folder") == 0


@pytest.mark.slow
@pytest.mark.parametrize("job_dies", [True, False])
def test_rows_of_three_workers_of_which_one_is_killed(tmp_path, job_dies):
    """The jobs of a row train once. If a job dies with its worker, another worker continues it;
    if it outlives its worker, the others wait for it."""
    root = tmp_path / "root"
    workers = [
        subprocess.Popen(
            [sys.executable, "-c", WORKER, str(tmp_path / f"worker{index}"), str(root)],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for index in range(3)
    ]
    first, line = workers[0], workers[0].stdout.readline()
    row = line.split()[1].strip(",:")
    records = root / "widths-full" / row / "steps.txt"
    while not records.exists() or len(records.read_text().splitlines()) < 3:
        assert first.poll() is None
        time.sleep(0.02)
    first.kill()
    if job_dies:
        os.kill(int(records.read_text().split()[1]), signal.SIGKILL)
    outputs = [line + first.communicate()[0]]
    outputs += [worker.communicate(timeout=120)[0] for worker in workers[1:]]
    assert [worker.returncode for worker in workers] == [-signal.SIGKILL, 0, 0], outputs
    assert "FAILED" not in str(outputs)
    for label in ROWS:
        starts = sum(output.count(f"{label}, seeds 0, 1: ") for output in outputs)
        assert starts == (2 if label == row and job_dies else 1)
        lines = (root / "widths-full" / label / "steps.txt").read_text().splitlines()
        steps, processes = zip(*(map(int, line.split()) for line in lines), strict=True)
        assert steps == (*range(STEPS),) and len({*processes}) == starts
        assert (root / "widths-full" / label / "seed1" / "metrics.jsonl").exists()


def test_workers_are_submitted_with_the_same_command(plant, tmp_path, monkeypatch, capsys):
    argv = [*plant(), "--row", "narrow", "--seeds", "2,0"]
    submitted = []
    monkeypatch.setattr(queue, "submit", lambda *words, **options: submitted.append(words))
    submission = ["--submit", "--jobs", "8", "--partition", "gpu"]
    assert run.main([*argv, *submission, "--", "--config.devices=1"]) == 0
    ((words, workers, logs),) = submitted
    assert workers == 8 and logs == tmp_path / "root" / "submitit" and "--submit" not in words
    assert run.main(words) == 0
    assert "[1/1] narrow, seeds 0, 2: " in capsys.readouterr().out
    monkeypatch.undo()
    argv = plant()
    monkeypatch.setitem(sys.modules, "submitit", None)
    assert execute(run, [*argv, "--submit"]) == 2
    assert 'pip install "rnnae[slurm]"' in capsys.readouterr().err
    for flags in (["--jobs", "2"], ["--submit", "--jobs", "0"]):
        with pytest.raises(SystemExit):
            run.main([*argv, *flags])


@pytest.mark.slow
def test_submitit_starts_workers_on_a_machine_without_slurm(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("SUBMITIT_LOG_LEVEL", "NOCONFIG")  # else it keeps pytest's standard output
    submitted = queue.submit(["--help"], 2, tmp_path / "logs", timeout_min=5, name="test")
    lines = capsys.readouterr().out.splitlines()
    assert lines == [f"job {job.job_id}: {job.paths.stdout}" for job in submitted]
    for job in submitted:
        job._process.wait()  # before any assertion: a process that is left fails a later test too
    for job in submitted:
        assert "Trains every row of ablation tables" in job.result()
        assert "Trains every row of ablation tables" in job.paths.stdout.read_text()

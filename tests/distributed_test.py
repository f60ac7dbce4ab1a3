"""Several processes train one model: real ones, on this machine."""

import os
import signal
import socket
import subprocess
import sys
import time
import types

import jax
import pytest

from rnnae.config import saved_config
from rnnae.devices import distributed
from rnnae.devices.signals import Interrupt
from rnnae.errors import ConfigError, ProcessError, Stopped
from rnnae.records.writer import read_metrics
from rnnae.training.loop import Pause
from tests import runs


def free_address():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{probe.getsockname()[1]}"


def start_two(directory, workdir, first=(), second=()):
    """Both processes of a run, with flags of their own."""
    address = free_address()
    return [
        runs.start(
            directory,
            workdir,
            f"--coordinator={address}",
            "--processes=2",
            f"--process_id={index}",
            *flags,
        )
        for index, flags in enumerate((first, second))
    ]


def wait_for(process, word):
    for line in process.stdout:
        if word in line:
            return
    raise AssertionError(process.communicate()[1])


def ends(pair):
    """(exit codes, what each wrote to stderr); all within 60 s, or where each of them hangs."""
    begin, errors = time.monotonic(), []
    for process in pair:
        try:
            left = begin + 60 - time.monotonic()
            errors.append(process.communicate(timeout=max(left, 1))[1])
        except subprocess.TimeoutExpired:
            for other in pair:
                other.send_signal(signal.SIGBUS)  # to which faulthandler answers
            pytest.fail("\n\n".join(other.communicate()[1] for other in pair))
    assert time.monotonic() - begin < 60
    return [process.returncode for process in pair], errors


@pytest.mark.slow
def test_two_processes_stopped_and_killed_are_one_that_was_not(tmp_path):
    """By SIGTERM to one of them, by SIGKILL of one and of the other; bit for bit what two unbroken
    processes give, and close to two devices of a process."""
    one, unbroken, two = tmp_path / "one", tmp_path / "unbroken", tmp_path / "two"
    codes, errors = ends([runs.start(tmp_path, one, "--config.devices=2")])
    assert codes == [0], errors
    codes, errors = ends(start_two(tmp_path, unbroken))
    assert codes == [0, 0], errors

    pair = start_two(tmp_path, two)
    wait_for(pair[0], "valid")
    pair[1].send_signal(signal.SIGTERM)
    codes, errors = ends(pair)
    assert codes == [143, 143], errors
    assert all("the same command continues" in error for error in errors)

    for killed in (1, 0):
        pair = start_two(tmp_path, two)
        wait_for(pair[0], "valid")
        pair[killed].send_signal(signal.SIGKILL)
        codes, errors = ends(pair)
        assert (codes[killed], codes[1 - killed]) == (-signal.SIGKILL, 6), errors
        # By the exchange that failed, or by jax, which noticed first.
        said = errors[1 - killed]
        assert "lost contact with another" in said or "coordination service" in said

    pair = start_two(tmp_path, two)
    codes, errors = ends(pair)
    assert codes == [0, 0], errors
    assert not (two / "metrics.jsonl.old").exists()
    made = saved_config.get_config(str(two / saved_config.NAME))
    runs.assert_same(runs.outcome(two, made), runs.outcome(unbroken, made))
    runs.assert_close(read_metrics(two), read_metrics(one))


@pytest.mark.slow
def test_a_coordinator_that_is_gone_is_told_to_whoever_exchanges_nothing():
    """jax would abort it: 134."""
    address = free_address()
    program = (
        "import sys, time; from rnnae.devices import distributed as processes; "
        f"processes.connect({address!r}, 2, int(sys.argv[1]), False); "
        "print('together', flush=True); time.sleep(50)"
    )
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    pair = [subprocess.Popen([sys.executable, "-c", program, str(i)], **streams) for i in (0, 1)]
    for process in pair:
        wait_for(process, "together")
    pair[0].kill()
    codes, errors = ends(pair)
    assert codes == [-signal.SIGKILL, 6] and "coordination service" in errors[1], errors


@pytest.mark.slow
def test_different_configs_are_refused(tmp_path):
    pair = start_two(tmp_path, tmp_path / "run", second=["--config.optim.learning_rate=0.5"])
    codes, errors = ends(pair)
    assert codes == [6, 6], errors
    assert all("the config of process 1 differs from that of process 0" in e for e in errors)
    assert not (tmp_path / "run" / "config.json").exists()


@pytest.mark.slow
def test_what_fails_in_process_0_ends_all(tmp_path):
    pair = start_two(tmp_path, tmp_path / "run", *[["--config.data.source_dir=/nowhere"]] * 2)
    codes, errors = ends(pair)
    assert codes == [5, 6], errors
    assert "process 0 stopped: " in errors[1] and "/nowhere" in errors[1]


@pytest.mark.slow
def test_directories_that_are_not_shared_are_refused(tmp_path):
    other = f"--workdir={tmp_path / 'other'}"
    codes, errors = ends(start_two(tmp_path, tmp_path / "run", second=[other]))
    assert codes == [6, 6], errors
    assert all("is not the same directory for all processes" in error for error in errors)


@pytest.fixture
def one_of_several(monkeypatch):
    """As far as this process is asked; there are no others."""
    monkeypatch.setattr(distributed, "several", lambda: True)


def test_only_what_is_of_the_connection_is_a_lost_process(one_of_several):
    lost = jax.errors.JaxRuntimeError("UNAVAILABLE: Connection reset by peer")
    with pytest.raises(ProcessError, match="lost contact with another"), distributed.in_contact():
        raise lost
    full = jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory")
    with pytest.raises(jax.errors.JaxRuntimeError, match="Out of memory"), distributed.in_contact():
        raise full


def test_a_signal_to_one_of_several_waits_until_all_ask(one_of_several, monkeypatch):
    monkeypatch.setattr(distributed, "greatest", lambda value: value)
    with Interrupt() as interrupt:  # before there are steps to save
        os.kill(os.getpid(), signal.SIGTERM)
        interrupt.check_alone("here")
        with pytest.raises(Stopped, match="stopped by SIGTERM in the evaluation"):
            interrupt.check("in the evaluation")


def test_at_a_pause_no_exchange_is_under_way(one_of_several, monkeypatch):
    started, awaited = [], []

    def soon(value):
        started.append(index := len(started))
        return lambda: awaited.append(index) or 0

    monkeypatch.setattr(distributed, "greatest_soon", soon)
    timetable = types.SimpleNamespace(total=9, validation_due=lambda step: step == 3)
    pause = Pause(timetable, types.SimpleNamespace(requested=False), 1e9)
    assert [pause.due(step) for step in (1, 2, 3)] == [False, False, True]
    assert {*started} == {*awaited} == {0, 1, 2}


@pytest.mark.parametrize(
    "environment, expected",
    [
        ({}, False),
        ({"SLURM_JOB_ID": "7", "SLURM_NTASKS": "4"}, False),  # a shell of the job, not a step
        ({"SLURM_STEP_NUM_TASKS": "4"}, True),
        ({"OMPI_COMM_WORLD_SIZE": "1"}, False),
        ({"OMPI_COMM_WORLD_SIZE": "2"}, True),
        ({"TPU_WORKER_HOSTNAMES": "localhost"}, False),
        ({"TPU_WORKER_HOSTNAMES": "a,b"}, True),
    ],
)
def test_who_starts_several_processes(environment, expected):
    assert distributed.started_together(environment) is expected


def test_a_process_alone_asks_nobody(monkeypatch):
    assert not distributed.several() and distributed.is_primary()
    assert distributed.part(8) == slice(0, 8)
    assert distributed.greatest(3) == 3
    assert distributed.on_primary(lambda: (1, "a")) == (1, "a")
    distributed.check_same("anything", "text")
    with pytest.raises(ConfigError, match="go together"):
        distributed.connect("127.0.0.1:1", None, 0, detect=False)
    monkeypatch.setenv("SLURM_STEP_NUM_TASKS", "8")
    assert distributed.connect(None, 1, None, detect=False) == 1
    with distributed.in_contact(), pytest.raises(ValueError, match="Gloo"):
        raise ValueError("Gloo")

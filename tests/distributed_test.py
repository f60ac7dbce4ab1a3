"""Several real processes on this machine train one model."""

import os
import signal
import socket
import subprocess
import sys
import time

import jax
import pytest

from rnnae import files
from rnnae.config import saved_config
from rnnae.devices import distributed, signals
from rnnae.errors import ConfigError, ProcessError, Stopped
from rnnae.records.writer import read_metrics
from rnnae.training.loop import SyncPolicy
from rnnae.training.schedule import Schedule
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


def wait_for_exit(pair):
    """(exit codes, stderr of each process). If one does not exit within 60 s, the test fails and
    shows where each of them hangs."""
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
def test_two_processes_resume_bit_for_bit(tmp_path):
    """They are stopped by SIGTERM to one process, then killed by SIGKILL to either. They end with
    the result of two unbroken processes, which is close to that of one process with two devices."""
    one, unbroken, two = tmp_path / "one", tmp_path / "unbroken", tmp_path / "two"
    codes, errors = wait_for_exit([runs.start(tmp_path, one, "--config.devices=2")])
    assert codes == [0], errors
    codes, errors = wait_for_exit(start_two(tmp_path, unbroken))
    assert codes == [0, 0], errors

    pair = start_two(tmp_path, two)
    wait_for(pair[0], "  valid (")
    pair[1].send_signal(signal.SIGTERM)
    codes, errors = wait_for_exit(pair)
    assert codes == [143, 143], errors
    assert all("the same command continues" in error for error in errors)

    for killed in (1, 0):
        pair = start_two(tmp_path, two)
        wait_for(pair[0], "  valid (")
        pair[killed].send_signal(signal.SIGKILL)
        codes, errors = wait_for_exit(pair)
        assert (codes[killed], codes[1 - killed]) == (-signal.SIGKILL, 6), errors
        # The message is that of the failed collective, or of jax if it noticed first.
        error = errors[1 - killed]
        assert "lost contact with another" in error or "coordination service" in error

    pair = start_two(tmp_path, two)
    codes, errors = wait_for_exit(pair)
    assert codes == [0, 0], errors
    assert not (two / "metrics.jsonl.old").exists()
    config = saved_config.get_config(str(two / files.CONFIG))
    runs.assert_same(runs.outcome(two, config), runs.outcome(unbroken, config))
    runs.assert_close(read_metrics(two), read_metrics(one))


@pytest.mark.slow
def test_a_dead_coordinator_ends_a_process_that_is_in_no_collective():
    """By default jax would abort it with exit code 134."""
    address = free_address()
    program = (
        "import sys, time; from rnnae.devices import distributed; "
        f"distributed.connect({address!r}, 2, int(sys.argv[1]), False); "
        "print('together', flush=True); time.sleep(50)"
    )
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    pair = [subprocess.Popen([sys.executable, "-c", program, str(i)], **streams) for i in (0, 1)]
    for process in pair:
        wait_for(process, "together")
    pair[0].kill()
    codes, errors = wait_for_exit(pair)
    assert codes == [-signal.SIGKILL, 6] and "coordination service" in errors[1], errors


@pytest.mark.slow
def test_different_configs_are_refused(tmp_path):
    pair = start_two(tmp_path, tmp_path / "run", second=["--config.optim.learning_rate=0.5"])
    codes, errors = wait_for_exit(pair)
    assert codes == [6, 6], errors
    assert all("the config of process 1 differs from that of process 0" in e for e in errors)
    assert not (tmp_path / "run" / "config.json").exists()


@pytest.mark.slow
def test_a_failure_in_process_0_ends_all_processes(tmp_path):
    pair = start_two(tmp_path, tmp_path / "run", *[["--config.data.source_dir=/nowhere"]] * 2)
    codes, errors = wait_for_exit(pair)
    assert codes == [5, 6], errors
    assert "process 0 stopped: " in errors[1] and "/nowhere" in errors[1]


@pytest.mark.slow
def test_directories_that_are_not_shared_are_refused(tmp_path):
    other = f"--workdir={tmp_path / 'other'}"
    codes, errors = wait_for_exit(start_two(tmp_path, tmp_path / "run", second=[other]))
    assert codes == [6, 6], errors
    assert all("is not the same directory for all processes" in error for error in errors)


@pytest.fixture
def one_of_several(monkeypatch):
    """Pretends that this process is one of several."""
    monkeypatch.setattr(distributed, "several", lambda: True)


def test_only_connection_errors_become_process_errors(one_of_several):
    lost = jax.errors.JaxRuntimeError("UNAVAILABLE: Connection reset by peer")
    with (
        pytest.raises(ProcessError, match="lost contact with another"),
        distributed.report_lost_contact(),
    ):
        raise lost
    full = jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory")
    with (
        pytest.raises(jax.errors.JaxRuntimeError, match="Out of memory"),
        distributed.report_lost_contact(),
    ):
        raise full


def test_a_signal_to_one_of_several_processes_waits_for_all_to_check(one_of_several, monkeypatch):
    monkeypatch.setattr(distributed, "maximum", lambda value: value)
    with signals.handled():  # in immediate mode, if there were no other processes
        os.kill(os.getpid(), signal.SIGTERM)
        signals.check_single_process("here")
        with pytest.raises(Stopped, match="stopped by SIGTERM during an evaluation"):
            signals.check("during an evaluation")


def test_no_collective_is_in_flight_when_the_loop_stops(one_of_several, monkeypatch):
    started, awaited = [], []

    def fake_async_max(value):
        started.append(index := len(started))
        return lambda: awaited.append(index) or 0

    monkeypatch.setattr(distributed, "async_max", fake_async_max)
    schedule = Schedule(images=3, batch_size=1, total=9, steps_per_call=1, eval_every_epochs=1)
    policy = SyncPolicy(schedule, 1e9)
    assert [policy.pause_after(step) for step in (1, 2, 3)] == [False, False, True]
    assert {*started} == {*awaited} == {0, 1, 2}


@pytest.mark.parametrize(
    "environment, expected",
    [
        ({}, 1),
        ({"SLURM_JOB_ID": "7", "SLURM_NTASKS": "4"}, 1),  # a shell of the job, not a step
        ({"SLURM_STEP_NUM_TASKS": "4"}, 4),
        ({"OMPI_COMM_WORLD_SIZE": "1"}, 1),
        ({"OMPI_COMM_WORLD_SIZE": "2"}, 2),
        ({"TPU_WORKER_HOSTNAMES": "localhost"}, 1),
        ({"TPU_WORKER_HOSTNAMES": "a,b"}, 2),
    ],
)
def test_the_environment_tells_how_many_processes_were_started(environment, expected):
    assert distributed.count_in(environment) == expected


def test_a_single_process_needs_no_collective(monkeypatch):
    assert not distributed.several() and distributed.is_primary()
    assert distributed.local_slice(8) == slice(0, 8)
    assert distributed.maximum(3) == 3
    assert distributed.primary_first(lambda: [1]) == [1]
    assert distributed.on_primary(lambda: (1, "a")) == (1, "a")
    distributed.check_same("anything", "text")
    with pytest.raises(ConfigError, match="go together"):
        distributed.connect("127.0.0.1:1", None, 0, detect=False)
    monkeypatch.setenv("SLURM_STEP_NUM_TASKS", "8")
    assert distributed.connect(None, 1, None, detect=False) == 1
    with distributed.report_lost_contact(), pytest.raises(ValueError, match="Gloo"):
        raise ValueError("Gloo")


@pytest.mark.parametrize("code, shut_down", [(143, b""), (3, b"shut down\n")])
def test_after_a_signal_the_shutdown_is_left_out(code, shut_down):
    """Native threads of jax that still compile would crash it, and so change the exit code."""
    program = (
        "import atexit; from rnnae.devices import distributed\n"
        f"atexit.register(print, 'shut down'); distributed.leave({code})"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True)
    assert (done.returncode, done.stdout) == (code, shut_down)

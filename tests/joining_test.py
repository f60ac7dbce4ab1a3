"""Processes that wait for others: what for is said, and the wait ends with exit code 6."""

import os
import socket
import subprocess
import sys

import pytest

from rnnae.devices import joining
from rnnae.errors import ConfigError, ProcessError


def wait(seconds: float, silent: float, sleep: float) -> subprocess.CompletedProcess:
    """A process that waits for `sleep` seconds, of at most `seconds`."""
    program = (
        "import time; from rnnae.devices import joining; "
        f"joining._SILENT_SECONDS = {silent}\n"
        f"with joining.waiting('host:1', 2, 0, {seconds}): time.sleep({sleep})\n"
        "print('together')"
    )
    return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)


def test_a_wait_is_said_and_ends_with_exit_6():
    done = wait(seconds=0.4, silent=0.1, sleep=30)
    assert done.returncode == 6
    assert done.stdout == (
        "process 0 waits at host:1 for the others of 2, at most 0.4 s (--join_seconds)\n"
    )
    assert done.stderr.startswith("rnnae: process 0 waited 0.4 s") and done.stderr.count("\n") == 1


def test_a_short_wait_says_nothing():
    done = wait(seconds=60, silent=30, sleep=0)
    assert (done.returncode, done.stdout, done.stderr) == (0, "together\n", "")


def test_an_address_that_cannot_be_is_refused():
    for address in ("host", "host:", ":1", "host:x", "host:0", "host:65536"):
        with pytest.raises(ConfigError, match="must be HOST:PORT of process 0"):
            joining.check_address(address, 2, 1)
    for index in (-1, 2):
        with pytest.raises(ConfigError, match=f"--process_id={index} must be from 0 to 1"):
            joining.check_address("host:1", 2, index)
    joining.check_address("[::1]:1234", 2, 1)


def test_a_port_that_another_program_has_is_refused():
    with socket.create_server(("", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(ProcessError, match="cannot listen at .* take another port"):
            joining.check_address(address, 2, 0)
        joining.check_address(address, 2, 1)
    joining.check_address(address, 2, 0)


@pytest.mark.slow
def test_a_process_whose_others_never_come_exits_6(tmp_path):
    with socket.create_server(("", 0)) as probe:
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    command = [sys.executable, "-m", "rnnae.main", "--config=configs/mnist.py"]
    flags = [f"--coordinator={address}", "--processes=2", "--join_seconds=3"]
    for index in (0, 1):
        done = subprocess.run(
            [*command, *flags, f"--process_id={index}", f"--workdir={tmp_path}"],
            env=os.environ | {"JAX_PLATFORMS": "cpu"},
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.returncode == 6 and f"process {index} waited 3 s" in done.stderr
        assert done.stderr.count("\n") == 1

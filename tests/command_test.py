"""A command on an unusual machine: its streams, signals, memory and home directory."""

import errno
import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from rnnae import command, files
from rnnae.console import Console
from rnnae.errors import BROKEN_PIPE, ConfigError, OutOfMemory

ROOT = Path(__file__).parents[1]


def start(program: str, **environment) -> subprocess.Popen:
    """A process that calls `main`, which `program` defines, as a command does."""
    text = f"import sys, time\nfrom rnnae import command\n{program}\n"
    text += "with command.answered_signals():\n    code = command.execute(main)\nsys.exit(code)"
    return subprocess.Popen(
        [sys.executable, "-c", text],
        cwd=ROOT,
        env=os.environ | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_a_stream_replaces_what_its_encoding_does_not_have(encoding):
    program = "def main():\n    print('l\\u00e4ufe \\u65e5\\u672c \\udcff')\n    return 0"
    out, err = start(program, PYTHONIOENCODING=encoding).communicate(timeout=60)
    assert err == b"" and out.startswith(b"l") and out.count(b"\n") == 1


@pytest.mark.parametrize("closed", ["2>&-", ">&- 2>&-", "<&- >&- 2>&-"])
def test_no_file_takes_the_place_of_a_closed_stream(closed, tmp_path):
    program = (
        "import os, sys; from rnnae import command\n"
        "def main():\n"
        f"    file = open({str(tmp_path / 'file')!r}, 'w'); os.write(2, b'of a library')\n"
        "    print(1); print(2, file=sys.stderr); return 0\n"
        "with command.answered_signals(): code = command.execute(main)\n"
        "sys.exit(code)"
    )
    line = f"exec {shlex.join([sys.executable, '-c', program])} {closed}"
    assert subprocess.run(["bash", "-c", line], cwd=ROOT).returncode == 0
    assert (tmp_path / "file").read_text() == ""


def test_a_broken_pipe_is_exit_code_141_with_nothing_said():
    program = "def main():\n    while True:\n        print('a line')"
    with start(program) as process:
        process.stdout.readline()
        process.stdout.close()
        assert process.wait(timeout=60) == BROKEN_PIPE == 141
        assert process.stderr.read() == b""


def test_the_console_reports_a_broken_pipe_as_an_error():
    class Broken:
        encoding = "utf-8"

        def write(self, text):
            raise BrokenPipeError

        def flush(self):
            pass

    with pytest.raises(BrokenPipeError):
        Console(file=Broken()).print("a line")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_full_output_is_one_line_and_exit_7(unbuffered):
    text = "import sys; from rnnae import command; sys.exit(command.execute(lambda: print(1) or 0))"
    environment = os.environ | {"PYTHONUNBUFFERED": unbuffered}
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-c", text],
            cwd=ROOT,
            env=environment,
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
        )
    assert done.returncode == 7 and done.stderr.count("\n") == 1
    assert "No space left on device: standard output" in done.stderr


CODES = {signal.SIGTERM: 143, signal.SIGINT: 130, signal.SIGHUP: 129, signal.SIGUSR1: 138}


def check_stopped(process: subprocess.Popen, number: signal.Signals) -> None:
    """A signal ends the process, which has printed a line, with one line and its exit code."""
    process.stdout.readline()
    process.send_signal(number)
    _, err = process.communicate(timeout=10)
    assert err.decode() == f"rnnae: stopped by {number.name}\n"
    assert process.returncode == CODES[number]


@pytest.mark.parametrize("number", CODES)
def test_a_signal_before_the_run_is_one_line(number):
    check_stopped(start("def main():\n    print('ready', flush=True)\n    time.sleep(60)"), number)


@pytest.mark.parametrize("handler", ["command.answered_signals()", "signals.handled()"])
def test_a_signal_during_an_import_ends_the_process(handler, tmp_path):
    """A library in C makes an ImportError of every exception of its imports."""
    (tmp_path / "slow.py").write_text("import time\nprint('ready', flush=True)\ntime.sleep(60)")
    program = (
        f"from rnnae.devices import signals\nsys.path.append({str(tmp_path)!r})\n"
        f"def main():\n    with {handler}:\n        try:\n            import slow\n"
        "        except BaseException as error:\n            raise ImportError('none') from error"
    )
    check_stopped(start(program), signal.SIGINT)


def test_a_signal_whose_exception_is_lost_ends_the_process():
    program = """
def main():
    import hashlib
    command._SECONDS_TO_CLEAN_UP = 0.5
    for _ in range(50):
        try:
            print("ready", flush=True)
            hashlib.pbkdf2_hmac("sha256", b"", b"", 10**6)  # tenths of a second in C
        except BaseException:
            pass
"""
    process = start(program)
    process.stdout.readline()
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=10)
    assert process.returncode == 143 and err == b"rnnae: stopped by SIGTERM at once\n"


@pytest.mark.parametrize("number", CODES)
def test_a_signal_during_the_first_imports_is_one_line(number, tmp_path):
    (tmp_path / "absl").mkdir()
    slow = tmp_path / "absl" / "__init__.py"  # which main imports first
    slow.write_text("import time\nprint('ready', flush=True)\ntime.sleep(60)")
    process = subprocess.Popen(
        [sys.executable, "-m", "rnnae.main"],
        env=os.environ | {"PYTHONPATH": f"{tmp_path}:{ROOT}"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    check_stopped(process, number)


@pytest.mark.skipif(sys.platform != "linux", reason="locks a mutex of the C library")
def test_a_signal_in_native_code_ends_the_process_within_seconds():
    program = """
def main():
    import ctypes
    libc, mutex = ctypes.CDLL(None), ctypes.create_string_buffer(64)
    print("ready", flush=True)
    libc.pthread_mutex_lock(mutex)
    libc.pthread_mutex_lock(mutex)  # never returns, and no signal interrupts it
"""
    process = start(program)
    process.stdout.readline()
    time.sleep(0.5)
    begin = time.monotonic()
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=30)
    assert process.returncode == 143 and err == b"rnnae: stopped by SIGTERM at once\n"
    assert time.monotonic() - begin < 10


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        OSError(errno.ENOMEM, "Cannot allocate memory"),
        ImportError("libx.so: failed to map segment from shared object"),
        RuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 9 bytes"),
        RuntimeError("can't start new thread"),
        OutOfMemory("not enough"),
    ],
    ids=str,
)
def test_no_memory_is_one_line_and_exit_8(error, capsys):
    assert command.exit_code(error) == OutOfMemory.exit_code == 8
    line = capsys.readouterr().err
    assert line.startswith("rnnae: ") and line.count("\n") == 1


@pytest.mark.parametrize("error", [ImportError("no module x"), RuntimeError("a bug")], ids=str)
def test_other_errors_remain_bugs(error):
    assert command.exit_code(error) is None


@pytest.mark.skipif(sys.platform != "linux", reason="RLIMIT_AS limits nothing elsewhere")
def test_too_little_virtual_memory_is_one_line(tmp_path):
    command = [sys.executable, "-m", "rnnae.main", "--config=configs/mnist.py"]
    command = shlex.join([*command, f"--workdir={tmp_path}"])
    done = subprocess.run(
        ["bash", "-c", f"ulimit -v 1171875; exec {command}"],  # in units of 1,024 bytes
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 8 and done.stderr.count("\n") == 1
    assert "(ulimit -v) is 1.2 GB, and the libraries need 2 GB" in done.stderr


def test_a_home_directory_is_expanded_or_its_absence_is_one_line(monkeypatch):
    monkeypatch.setenv("HOME", "/home/somebody")
    assert files.expand("~/x") == Path("/home/somebody/x")
    assert files.expand("a/~") == Path("a/~")
    with pytest.raises(ConfigError, match="home directory of ~nobody-of-this-name/x is not known"):
        files.expand("~nobody-of-this-name/x")

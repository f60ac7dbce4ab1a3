"""A disk that is really full, as small file systems in memory; needs root and `unshare`."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests import runs

_CAN_MOUNT = bool(shutil.which("unshare")) and (
    subprocess.run(
        ["unshare", "-m", "mount", "-t", "tmpfs", "none", "/mnt"], capture_output=True
    ).returncode
    == 0
)
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not _CAN_MOUNT, reason="cannot mount a file system"),
]


def run(tmp_path: Path, small: str, sizes: list[str], *flags: str) -> list[tuple[int, str, str]]:
    """(exit code, stdout, stderr) of the tiny run with directory `small` of each size in turn."""
    settings = [f"--config.{key}={value}" for key, value in runs.overrides(tmp_path).items()]
    command = [sys.executable, "-m", "rnnae.main", "--config=configs/mnist.py", *settings, *flags]
    command += [f"--workdir={tmp_path / 'workdir' / 'run'}"]
    program = (
        "import json, os, subprocess, sys\n"
        "small, sizes, command = json.loads(sys.argv[1])\n"
        "os.makedirs(small)\n"
        "for i, size in enumerate(sizes):\n"
        "    options = ('remount,' if i else '') + 'size=' + size\n"
        "    subprocess.run(['mount', '-t', 'tmpfs', '-o', options, 'none', small], check=True)\n"
        "    done = subprocess.run(command, capture_output=True, text=True, timeout=300)\n"
        "    print(json.dumps([done.returncode, done.stdout, done.stderr]))\n"
    )
    argument = json.dumps([str(tmp_path / small), sizes, command])
    done = subprocess.run(
        ["unshare", "-m", sys.executable, "-c", program, argument],
        cwd=Path(__file__).parents[1],
        env=os.environ | {"JAX_PLATFORMS": "cpu"},
        capture_output=True,
        text=True,
        check=True,
    )
    return [tuple(json.loads(line)) for line in done.stdout.splitlines()]


@pytest.mark.parametrize(
    "size", ["64k", *(pytest.param(size, marks=pytest.mark.exhaustive) for size in ("4k", "300k"))]
)
def test_a_full_workdir_is_one_line_and_the_run_continues(tmp_path, size):
    full, continued = run(tmp_path, "workdir", [size, "50m"])
    code, _, error = full
    assert code == 3 and error.count("\n") == 1, error
    assert f"{tmp_path}/workdir/run/" in error and "free some space there" in error
    assert continued[0] == 0, continued


def test_full_tensorboard_does_not_stop_the_run(tmp_path):
    ((code, said, error),) = run(
        tmp_path, "workdir/run/tensorboard", ["4k"], "--config.train.steps_per_call=1"
    )
    assert code == 0, error
    assert said.count("TensorBoard is switched off: No space left on device in") == 1


def test_a_full_data_directory_is_one_line(tmp_path):
    ((code, _, error),) = run(tmp_path, "data", ["8k"])
    assert code == 7 and error.count("\n") == 1 and f"{tmp_path}/data" in error, error

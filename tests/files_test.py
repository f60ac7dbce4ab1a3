"""Files are replaced atomically, and a directory has one owner."""

import errno
import os
import shutil
import subprocess
import sys

import pytest

from rnnae import files
from rnnae.errors import ConfigError


def test_replacing_a_file_leaves_only_the_new_one(tmp_path):
    for text in ("old", "new \u00b1"):
        files.replace_text(tmp_path / "a.txt", text)
    assert (tmp_path / "a.txt").read_text(encoding="utf-8") == "new \u00b1"
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]


def test_a_failure_keeps_the_old_file_and_leaves_nothing_else(tmp_path):
    files.replace_text(tmp_path / "a.txt", "old")

    def write(path):
        path.write_text("half")
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        files.replace_file(tmp_path / "a.txt", write)
    assert [path.read_text() for path in tmp_path.iterdir()] == ["old"]


def test_a_free_path_is_new(tmp_path):
    (tmp_path / "a").touch()
    (tmp_path / "ax").touch()
    assert files.free_path(tmp_path / "a").name == "axx"
    assert files.free_path(tmp_path / "b").name == "b"


def test_a_directory_is_locked_once_at_a_time(tmp_path):
    for _ in range(2):  # the lock is free again afterwards
        with files.exclusive_lock(tmp_path), pytest.raises(ConfigError, match="another process"):
            files.exclusive_lock(tmp_path).__enter__()


FLOCK_FAILS = """
#include <errno.h>
#include <stdlib.h>
int flock(int file, int operation) { errno = atoi(getenv("FLOCK_ERRNO")); return -1; }
"""


@pytest.mark.skipif(
    sys.platform != "linux" or not shutil.which("gcc"), reason="replaces flock, with gcc"
)
@pytest.mark.parametrize("name", ["ENOLCK", "EOPNOTSUPP", "ENOSYS", "EINVAL", "EIO", "EWOULDBLOCK"])
def test_a_directory_that_cannot_be_locked_is_used_and_said(name, tmp_path):
    library = tmp_path / "flock.so"
    (tmp_path / "flock.c").write_text(FLOCK_FAILS, encoding="utf-8")
    compile = ["gcc", "-shared", "-fPIC", "-o", str(library), str(tmp_path / "flock.c")]
    subprocess.run(compile, check=True)
    program = (
        "import sys, pathlib; from rnnae import files\n"
        "with files.exclusive_lock(pathlib.Path(sys.argv[1])): print('inside')"
    )
    number = getattr(errno, name)
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "run")],
        env=os.environ | {"LD_PRELOAD": str(library), "FLOCK_ERRNO": str(number)},
        capture_output=True,
        text=True,
    )
    if name == "EWOULDBLOCK":
        assert done.returncode and "another process trains" in done.stderr
        return
    said, inside = done.stdout.splitlines()
    assert f"run cannot be locked ({os.strerror(number)})" in said and inside == "inside"

"""Files are replaced atomically, and a directory has one owner."""

import errno
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from rnnae import files
from rnnae.errors import CheckpointError, ConfigError


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


def test_a_new_directory_is_there_when_it_is_whole(tmp_path, monkeypatch):
    path = tmp_path / "new"
    for error in (KeyboardInterrupt(), OSError("elsewhere")):
        with pytest.raises(type(error)), files.new_directory(path) as directory:
            (directory / "half").touch()
            raise error
    assert not list(tmp_path.iterdir())
    with files.new_directory(path) as directory:
        (directory / "file").touch()
        assert not path.exists()
    assert [p.name for p in path.iterdir()] == ["file"] and list(tmp_path.iterdir()) == [path]
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path / "empty")
    for name, words in (
        (".", "not the name"),
        ("..", "there already"),
        ("../new", "there already"),
    ):
        with pytest.raises(ConfigError, match=words):
            files.new_directory(Path(name)).__enter__()


def test_only_a_file_is_replaced_by_output(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to("file")
    files.check_output(tmp_path / "file")
    (tmp_path / "file").touch()
    files.check_output(tmp_path / "file")
    for name in ("pipe", "link", "."):
        with pytest.raises(ConfigError, match="a directory, a link or a device"):
            files.check_output(tmp_path / name)
    with pytest.raises(FileNotFoundError, match="There is no such directory"):
        files.check_output(tmp_path / "none" / "file")


def test_a_pipe_is_not_read(tmp_path):
    os.mkfifo(tmp_path / "config.json")
    with pytest.raises(OSError, match="a pipe or a device, not a file"):
        files.read_json(tmp_path / "config.json")


def test_an_error_names_the_file_and_not_the_temporary_one(tmp_path):
    for path in (tmp_path, tmp_path / "none" / "a.txt"):
        with pytest.raises(OSError) as error:
            files.replace_text(path, "text")
        assert error.value.filename == str(path)


def test_a_free_path_is_new(tmp_path):
    (tmp_path / "a").touch()
    (tmp_path / "ax").touch()
    assert files.free_path(tmp_path / "a").name == "axx"
    assert files.free_path(tmp_path / "b").name == "b"


@pytest.mark.parametrize("kind", ["empty", "directory", "file", "link", "broken link", "loop"])
def test_what_a_killed_run_left_is_removed_after_a_day_whatever_it_is(kind, tmp_path):
    kept = tmp_path / "kept"
    (kept / "inside").mkdir(parents=True)
    path = tmp_path / ".preparing-x"
    if kind in ("empty", "directory"):
        path.mkdir()
        if kind == "directory":
            (path / "mnist").mkdir()
            (path / "mnist" / "shard").touch()
    elif kind == "file":
        path.touch()
    else:
        path.symlink_to({"link": kept, "broken link": "gone", "loop": path.name}[kind])
    files.remove_stale(tmp_path, ".preparing-*")
    assert path.name in os.listdir(tmp_path)  # it is new
    three_days_ago = time.time() - 3 * 86_400
    os.utime(path, (three_days_ago, three_days_ago), follow_symlinks=False)
    files.remove_stale(tmp_path, ".preparing-*")
    assert os.listdir(tmp_path) == ["kept"] and os.listdir(kept) == ["inside"]


def test_a_directory_is_locked_once_at_a_time(tmp_path):
    for _ in range(2):  # the lock is free again afterwards
        with files.exclusive_lock(tmp_path), pytest.raises(ConfigError, match="another process"):
            files.exclusive_lock(tmp_path).__enter__()


def test_an_error_of_a_replaced_file_names_it(tmp_path):
    def write(path):
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(OSError, match="No space left on device: '.*a.txt'"):
        files.replace_file(tmp_path / "a.txt", write)


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "full"),
        OSError(errno.EDQUOT, "quota"),
        ValueError("RESOURCE_EXHAUSTED: write failed: No space left on device"),
        RuntimeError("write() failed: No space left on device; writing x"),
    ],
)
def test_a_full_disk_says_which_file_and_what_to_do(error, tmp_path):
    words = "no space left on its disk .*MiB are free.; free some space there, or enlarge"
    with pytest.raises(OSError, match=words) as caught, files.report_full_disk(tmp_path):
        raise error
    assert caught.value.filename == str(tmp_path)
    line = str(files.cannot_write("record", tmp_path / "none" / "a", error))
    assert "\n" not in line and f"cannot write record {tmp_path}/none/a: no space" in line


def test_other_errors_stay_what_they_are(tmp_path):
    with pytest.raises(ValueError, match="other"), files.report_full_disk(tmp_path):
        raise ValueError("other")
    writing = files.writing("record", tmp_path / "a")
    with pytest.raises(CheckpointError, match="a: Permission denied; mend that"), writing:
        raise OSError(errno.EACCES, os.strerror(errno.EACCES))


def test_a_path_that_libraries_misread_gets_a_plain_one(tmp_path):
    for name in ("a", "a b=1e-3,(x)"):
        with files.plain_path(tmp_path / name) as plain:
            assert plain == tmp_path / name
    for name in ("a[1]", "\udcff", "b\\c"):
        (tmp_path / name).mkdir()
        with files.plain_path(tmp_path / name) as plain:
            assert plain.samefile(tmp_path / name) and "[" not in str(plain)
            (plain / "file").touch()
        assert not plain.exists() and (tmp_path / name / "file").exists()


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

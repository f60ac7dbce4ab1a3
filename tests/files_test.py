"""Files are replaced atomically, and a directory has one owner."""

import os
import time

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

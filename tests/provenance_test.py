"""The recorded commit, versions and machine of a run."""

import json
import os
import platform
import subprocess
from pathlib import Path

import jax
import pytest

from rnnae.records import provenance


def git(directory, *words):
    identity = ["-c", "user.name=a", "-c", "user.email=a@b.c"]
    command = ["git", *identity, *words]
    return subprocess.run(
        command, cwd=directory, check=True, capture_output=True, text=True
    ).stdout.strip()


def test_the_commit_is_marked_dirty_if_files_differ_from_it(tmp_path, monkeypatch):
    monkeypatch.setattr(provenance, "__file__", str(tmp_path / "provenance.py"))
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert provenance.commit() == ""
    git(tmp_path, "init", "-q")
    (tmp_path / "another").write_text("one")
    git(tmp_path, "add", "another")
    git(tmp_path, "commit", "-qm", "one")
    (tmp_path / "provenance.py").write_text("one")
    assert provenance.commit() == ""  # installed into the checkout of another project
    git(tmp_path, "add", "provenance.py")
    git(tmp_path, "commit", "-qm", "two")
    commit = git(tmp_path, "rev-parse", "HEAD")[:12]
    assert provenance.commit() == commit
    (tmp_path / "another").write_text("two")
    assert provenance.commit() == f"{commit}-dirty"
    assert provenance.commit(str(tmp_path / "another")) == f"{commit}-dirty"
    assert provenance.commit(str(tmp_path / "not_there")) == ""


def test_without_git_the_commit_is_empty(monkeypatch):
    monkeypatch.setenv("PATH", "")
    assert provenance.commit() == ""


def test_a_description_names_versions_and_devices():
    found = json.loads(json.dumps(provenance.describe(jax.devices())))
    assert found["versions"]["jax"] == jax.__version__
    assert found["devices"] == f"{len(jax.devices())} x cpu"
    assert found["machine"] and found["date"].endswith("+00:00")


def test_cores_are_counted_also_where_there_is_no_affinity(monkeypatch):
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)  # as on macOS
    for count, expected in ((3, 3), (None, 1)):
        monkeypatch.setattr(os, "cpu_count", lambda count=count: count)
        assert provenance.describe(jax.devices())["cores"] == expected


@pytest.mark.parametrize(
    "text, expected",
    [
        ("model name\t: A: B\nflags\t\t: fpu avx2 avx512f\nmodel name\t: C\n", "A: B, AVX-512"),
        ("processor : 0\nFeatures : fp asimd\n", platform.machine()),
    ],
)
def test_the_processor_has_its_name_and_its_widest_vector_instructions(monkeypatch, text, expected):
    monkeypatch.setattr(Path, "read_text", lambda path, **_: text)
    assert provenance.processor() == expected

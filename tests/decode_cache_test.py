import os

import fake_published
import numpy as np
import pytest
from fake_published import load

from rnnae.data.images import Images


def test_images_are_decoded_once(tmp_path, monkeypatch):
    fake_published.install(monkeypatch, "mnist", tmp_path)
    first = load(tmp_path)
    decoded = []
    decode = Images.__getitem__

    def counted(images, indices):
        decoded.append(len(images))
        return decode(images, indices)

    monkeypatch.setattr(Images, "__getitem__", counted)
    for again in (load(tmp_path), load(tmp_path, train_images=10)):
        np.testing.assert_array_equal(again.train, first.train[: len(again.train)])
        np.testing.assert_array_equal(again.test, first.test)
    assert decoded == [10]  # a part of a split has a cached file of its own

    (directory,) = (tmp_path / "data").rglob("decoded")
    for path in directory.iterdir():
        path.write_bytes(path.read_bytes()[:-100])
    load(tmp_path)
    load(tmp_path)
    assert len(decoded) == 1 + 3  # a damaged file is written again, once

    temporary = directory / ".a.pixels.1.tmp"
    temporary.write_text("left by a run that was killed")
    os.utime(temporary, (0, 0))
    records = next(directory.parent.glob("*train*"))
    os.utime(records, (0, 0))
    load(tmp_path)
    assert len(decoded) == 1 + 3 + 3  # the records have another modification time
    assert not list(directory.glob(".*.tmp"))

    for path in directory.iterdir():
        path.unlink()
    directory.rmdir()
    directory.write_text("nothing can be written here")
    np.testing.assert_array_equal(load(tmp_path).valid, first.valid)


def test_one_bit_of_a_cached_file_is_enough_to_decode_again(tmp_path, monkeypatch):
    fake_published.install(monkeypatch, "mnist", tmp_path)
    first = load(tmp_path).images
    paths = sorted((tmp_path / "data").rglob("*.pixels"))
    assert len(paths) == 3
    for path in paths:
        content = path.read_bytes()
        for position in (0, 31, 32, len(content) // 2, len(content) - 1):
            changed = bytearray(content)
            changed[position] ^= 1
            path.write_bytes(changed)
            again = load(tmp_path).images
            assert path.read_bytes() == content
            assert all((x == y).all() for x, y in zip(first, again, strict=True))


@pytest.mark.parametrize("change", ["other split", "more", "empty", "directory"])
def test_a_cached_file_with_other_content_is_not_used(change, tmp_path, monkeypatch):
    fake_published.install(monkeypatch, "mnist", tmp_path)
    first = load(tmp_path).images
    paths = sorted((tmp_path / "data").rglob("*.pixels"), key=lambda path: path.stat().st_size)
    content = paths[0].read_bytes()
    if change == "directory":
        paths[0].unlink()
        paths[0].mkdir()
    else:
        other = {"other split": paths[1].read_bytes(), "more": content + b"x", "empty": b""}
        paths[0].write_bytes(other[change])
    again = load(tmp_path).images
    assert all((x == y).all() for x, y in zip(first, again, strict=True))
    assert change == "directory" or paths[0].read_bytes() == content


def test_the_cache_of_an_earlier_version_is_removed(tmp_path, monkeypatch):
    fake_published.install(monkeypatch, "mnist", tmp_path)
    load(tmp_path)
    (directory,) = (tmp_path / "data").rglob("decoded")
    (directory / "0123456789abcdef.npz").write_bytes(b"old")
    for path in directory.glob("*.pixels"):
        path.unlink()
    load(tmp_path)
    assert {path.suffix for path in directory.iterdir()} == {".pixels"}

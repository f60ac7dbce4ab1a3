"""What is kept of decoded images is what they are, and no longer than they are."""

import os

import fake_published
import numpy as np
from fake_published import load

from rnnae.data import folder


def test_images_are_decoded_once(tmp_path, monkeypatch):
    fake_published.install(monkeypatch, "mnist", tmp_path)
    first = load(tmp_path)
    decoded = []
    decode = folder.Images.__getitem__

    def counted(images, indices):
        decoded.append(len(images))
        return decode(images, indices)

    monkeypatch.setattr(folder.Images, "__getitem__", counted)
    for again in (load(tmp_path), load(tmp_path, train_images=10)):
        np.testing.assert_array_equal(again.train, first.train[: len(again.train)])
        np.testing.assert_array_equal(again.test, first.test)
    assert decoded == [10]  # another part of a split is decoded for itself

    (directory,) = (tmp_path / "data").rglob("decoded")
    for kept in directory.iterdir():
        kept.write_bytes(kept.read_bytes()[:-100])
    load(tmp_path)
    load(tmp_path)
    assert len(decoded) == 1 + 3  # what is damaged is made again, once

    left = directory / ".decoding-1.npz"
    left.write_text("of a run that was killed")
    os.utime(left, (0, 0))
    records = next(directory.parent.glob("*train*"))
    os.utime(records, (0, 0))
    load(tmp_path)
    assert len(decoded) == 1 + 3 + 3  # records that have changed are read
    assert not list(directory.glob(".decoding-*"))

    for path in directory.iterdir():
        path.unlink()
    directory.rmdir()
    directory.write_text("nothing can be written here")
    np.testing.assert_array_equal(load(tmp_path).valid, first.valid)

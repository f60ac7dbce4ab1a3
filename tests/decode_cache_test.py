import os

import fake_published
import numpy as np
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

    temporary = directory / ".a.npz.1.tmp"
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

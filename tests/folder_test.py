import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from rnnae.data import folder
from rnnae.errors import DataError

SHAPE = (16, 16, 3)


def test_images_are_found_in_subfolders_and_sorted(tmp_path):
    for name in ("b.png", "a/z.JPG", "a/c/d.webp", ".hidden.png", "notes.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    found = [p.relative_to(tmp_path).as_posix() for p in folder.find_images(str(tmp_path))]
    assert found == ["a/c/d.webp", "a/z.JPG", "b.png"]


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("", "needs --config.data.source_dir"),
        ("nowhere", "nowhere is not a folder"),
        (".", "no image in ."),
    ],
)
def test_a_folder_without_images_is_refused(source, words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match=words):
        folder.find_images(source)


@pytest.mark.parametrize(("n", "sizes"), [(10, [8, 1, 1]), (19, [17, 1, 1]), (100, [80, 10, 10])])
def test_a_split_is_seeded_and_has_every_image_once(n, sizes):
    paths = [Path(f"{i}.png") for i in range(n)]
    splits = folder.split(paths, 0)
    assert [len(part) for part in splits.values()] == sizes
    assert sorted(sum(splits.values(), [])) == sorted(paths)
    assert splits == folder.split(paths, 0)
    assert splits != folder.split(paths, 1)


def test_nine_images_are_too_few():
    with pytest.raises(DataError, match="only 9 images, but at least 10"):
        folder.split([Path(str(i)) for i in range(9)], 0)


def test_a_broken_link_is_named(tmp_path):
    (tmp_path / "a.png").symlink_to(tmp_path / "gone.png")
    with pytest.raises(DataError, match="a.png cannot be read .No such file.*: remove it"):
        folder.fingerprint(folder.find_images(str(tmp_path)), SHAPE, 0)


def test_fingerprint_changes_with_everything_that_matters(tmp_path):
    paths = [tmp_path / f"{i}.png" for i in range(3)]
    for path in paths:
        Image.fromarray(np.zeros(SHAPE, np.uint8)).save(path)
    prints = [
        folder.fingerprint(paths, SHAPE, 0),
        folder.fingerprint(paths, SHAPE, 1),
        folder.fingerprint(paths, (8, 8, 3), 0),
        folder.fingerprint(paths[:2], SHAPE, 0),
    ]
    assert prints[0] == folder.fingerprint(paths, SHAPE, 0)
    os.utime(paths[0], (1, 1))
    prints.append(folder.fingerprint(paths, SHAPE, 0))
    assert len(set(prints)) == len(prints)

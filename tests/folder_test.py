"""Splits of a user's folder, its fingerprint, and what is said about it."""

import os
import shutil
from pathlib import Path

import pytest
from PIL import Image

from rnnae.data import folder
from rnnae.data.images import ReadOptions
from rnnae.errors import DataError

SHAPE = (16, 16, 3)


def make(root, *names):
    """An image of its own colour for each name."""
    for i, name in enumerate(names):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8), (i, i // 256, 7)).save(root / name)
    return str(root)


def numbered(folder_name, n):
    return [f"{folder_name}/{i:02d}.png" for i in range(n)]


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("", "needs --config.data.source_dir"),
        ("nowhere", "nowhere is not a folder"),
        (".", "no image in .*left out: hidden folders: .cache"),
    ],
)
def test_a_folder_without_images_is_refused(source, words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".cache").mkdir()
    with pytest.raises(DataError, match=words):
        folder.find(source)


@pytest.mark.parametrize(("n", "sizes"), [(10, [8, 1, 1]), (19, [17, 1, 1]), (100, [80, 10, 10])])
def test_a_split_is_seeded_and_has_every_image_once(n, sizes):
    paths = [Path(f"{i}.png") for i in range(n)]
    splits = folder.split_at_random(paths, 0)
    assert [len(part) for part in splits.values()] == sizes
    assert sorted(sum(splits.values(), [])) == sorted(paths)
    assert splits == folder.split_at_random(paths, 0)
    assert splits != folder.split_at_random(paths, 1)


def test_the_split_of_seed_0_is_that_of_earlier_versions():
    splits = folder.split_at_random([Path(f"{i:02d}.png") for i in range(20)], 0)
    held_out = [[path.stem for path in splits[name]] for name in ("validation", "test")]
    assert held_out == [["12", "16"], ["10", "17"]]


def test_nine_images_are_too_few():
    with pytest.raises(DataError, match="only 9 images, but at least 10"):
        folder.split_at_random([Path(str(i)) for i in range(9)], 0)


@pytest.mark.parametrize("val", ["val", "valid", "Validation"])
def test_subfolders_called_train_val_and_test_are_the_splits(val, tmp_path):
    names = [*numbered("train/cats", 5), *numbered("train/dogs", 2), *numbered("test", 3)]
    names += [*numbered(val, 4), "stray.png"]
    found = folder.find(make(tmp_path, *names), seed=3)
    sizes = {name: len(paths) for name, paths in found.splits.items()}
    assert sizes == {"train": 7, "validation": 4, "test": 3}
    for split, paths in found.splits.items():
        words = {"train"} if split == "train" else {"test"} if split == "test" else {val}
        assert {path.relative_to(tmp_path).parts[0] for path in paths} == words
    first, no_classes, second = folder.describe(found, 3)
    assert no_classes.startswith("no classes: 7 of 14 images are in no subfolder of their split")
    assert f"validation from {val} (4); test from test (3)" in first
    assert "14 images in" in first and "train from train (7)" in first
    assert "images outside of the split folders: stray.png" in second


def test_a_set_without_a_validation_folder_cuts_it_off_the_training_images(tmp_path):
    source = make(tmp_path, *numbered("Training", 12), *numbered("Testing", 3))
    sizes = {name: len(paths) for name, paths in folder.find(source).splits.items()}
    assert sizes == {"train": 12, "test": 3}
    for path in sorted((tmp_path / "Training").iterdir())[1:]:
        path.unlink()
    with pytest.raises(DataError, match="only one training image"):
        folder.find(source)


def test_split_folders_are_found_below_other_folders(tmp_path):
    names = [*numbered("faces/train", 3), *numbered("faces/test", 1), *numbered("cars/train", 2)]
    found = folder.find(make(tmp_path, *names, *numbered("cars/test", 2)))
    assert {name: len(paths) for name, paths in found.splits.items()} == {"train": 5, "test": 3}
    line = folder.describe(found, 0)[0]
    assert "train from cars/train (2), faces/train (3); test from cars/test (2)" in line


def test_a_folder_called_train_alone_is_like_any_other(tmp_path):
    found = folder.find(make(tmp_path, *numbered("train", 6), *numbered("plane", 6), "a.png"))
    assert found.at_random and sum(map(len, found.splits.values())) == 13
    line, no_classes = folder.describe(found, 5)
    assert no_classes.startswith("no classes: 1 of 13 images")
    words = "split at random by config.data.split_seed=5: from . (1), plane (6), train (6)"
    assert line.endswith(words) and line.startswith("13 images in ")


def fingerprint(root, shape=SHAPE, seed=0, options=ReadOptions(), memory=None):  # noqa: B008
    found = folder.find(str(root), seed)
    content = folder.content(found, memory or root / ".memory")
    return folder.fingerprint(found, content, shape, options)


def test_fingerprint_changes_with_everything_that_matters(tmp_path):
    make(tmp_path, *(f"{i:02d}.png" for i in range(20)))
    prints = [
        fingerprint(tmp_path),
        fingerprint(tmp_path, seed=1),
        fingerprint(tmp_path, shape=(8, 8, 3)),
        fingerprint(tmp_path, options=ReadOptions("white")),
    ]
    Image.new("RGB", (8, 8), (99, 99, 99)).save(tmp_path / "00.png")
    prints.append(fingerprint(tmp_path))
    (tmp_path / "01.png").unlink()
    prints.append(fingerprint(tmp_path))
    assert len(set(prints)) == len(prints)


def test_dates_and_the_place_of_the_folder_do_not_matter(tmp_path):
    here, there = tmp_path / "here", tmp_path / "there"
    make(here, *numbered(".", 20))
    first = fingerprint(here)
    os.utime(here / "03.png", (1, 1))
    assert fingerprint(here) == first
    shutil.move(here, there)
    assert fingerprint(there) == first
    shutil.copytree(there, here)
    assert fingerprint(here) == first


def test_bad_images_are_named_at_once_or_left_out(tmp_path):
    make(tmp_path, *(f"{i:02d}.png" for i in range(20)))
    (tmp_path / "00.png").write_bytes(b"")
    (tmp_path / "01.png").write_bytes(b"hello, I am text")
    Image.new("RGBA", (8, 8)).save(tmp_path / "02.png")
    Image.new("I;16", (8, 8)).save(tmp_path / "03.png")
    (tmp_path / "04.png").unlink()
    (tmp_path / "04.png").symlink_to("gone.png")
    found = folder.find(str(tmp_path))
    content = folder.content(found, tmp_path / ".memory")

    def read(skip_bad):
        examples, bad = folder.read_splits(found, content, SHAPE, ReadOptions(), skip_bad)
        return sum(len(list(part)) for part in examples.values()), bad

    with pytest.raises(DataError, match="^5 images cannot be used") as error:
        read(skip_bad=False)
    text = str(error.value)
    assert all(f"0{i}.png" in text for i in range(5)) and "\n" not in text
    assert "04.png cannot be read (No such file or directory)" in text
    assert "skip_bad_images=True" in text
    n, bad = read(skip_bad=True)
    assert n == 15 and len(bad) == 5

    for i in range(5, 20):
        (tmp_path / f"{i:02d}.png").write_bytes(b"bad")
    found = folder.find(str(tmp_path))
    content = folder.content(found, tmp_path / ".memory")
    with pytest.raises(DataError, match="^at least 10 images cannot be used"):
        read(skip_bad=False)
    with pytest.raises(DataError, match="no image of the train split can be used"):
        read(skip_bad=True)


def test_a_file_that_changes_during_the_preparation_is_refused(tmp_path):
    make(tmp_path, "a.png")
    with pytest.raises(DataError, match="a.png has changed since the start"):
        folder.read_file(tmp_path / "a.png", "0" * 64, SHAPE, ReadOptions())


def test_digests_are_remembered_and_a_damaged_memory_is_not_used(tmp_path, monkeypatch):
    make(tmp_path, *numbered(".", 12))
    memory, read = tmp_path / ".memory", []
    of_file = folder.digests.of_file
    monkeypatch.setattr(folder.digests, "of_file", lambda p: read.append(p) or of_file(p))
    first = fingerprint(tmp_path, memory=memory)
    assert len(read) == 12 and fingerprint(tmp_path, memory=memory) == first and len(read) == 12
    digest = next(iter(folder.content(folder.find(str(tmp_path)), memory).values()))
    memory.write_text(memory.read_text().replace(digest, digest[::-1]))
    assert fingerprint(tmp_path, memory=memory) == first and len(read) == 24
    memory.write_text("[]")
    assert fingerprint(tmp_path, memory=memory) == first and len(read) == 36
    os.utime(tmp_path / "00.png", (1, 1))
    assert fingerprint(tmp_path, memory=memory) == first and len(read) == 37
    assert fingerprint(tmp_path, memory=Path("/proc/no/memory")) == first  # cannot be written

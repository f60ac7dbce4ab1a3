"""Subfolders of a user's folder as classes."""

import fake_published
import numpy as np
import pytest
from PIL import Image

from rnnae.data import class_folders, folder
from rnnae.data.images import ReadOptions


def make(root, counts):
    """Images of different colours: `counts` of them in each folder."""
    number = 0
    for name, count in counts.items():
        (root / name).mkdir(parents=True, exist_ok=True)
        for _ in range(count):
            Image.new("RGB", (8, 8), (number, number // 256, 7)).save(root / name / f"{number}.png")
            number += 1
    return str(root)


@pytest.mark.parametrize(
    "counts",
    [
        {"dog": 12, "cat": 10},
        {"train/dog": 5, "train/cat/small": 2, "train/cat/large": 1, "test/dog": 3},
        {"Training/dog": 3, "Training/cat": 3, "val/cat": 2, "test/cat": 2, "test/dog": 2},
        {"a/train/dog": 4, "a/test/cat": 1, "b/train/cat": 3, "b/val/dog": 2, "stray": 2},
    ],
)
def test_the_first_folder_below_the_split_is_the_class(counts, tmp_path):
    found = folder.find(make(tmp_path, counts))
    assert found.classes.names == ("cat", "dog") and found.classes.why_none == ""
    used = sum(found.splits.values(), [])
    assert set(found.classes.label_of) == set(used)
    for path in used:
        assert found.classes.names[found.classes.label_of[path]] in path.parts
    numbers = [sum("cat" in path.parts for path in used), sum("dog" in path.parts for path in used)]
    line = f"classes: cat ({numbers[0]}), dog ({numbers[1]})"
    assert line in folder.describe(found, 0)


@pytest.mark.parametrize(
    ("counts", "why"),
    [
        ({".": 12}, ""),
        ({"cat": 12}, ""),
        ({"cat": 12, ".": 1}, ""),  # one folder would be no class anyhow
        (
            {"cat": 5, "dog": 6, ".": 2},
            "2 of 13 images are in no subfolder of their split, such as",
        ),
        ({"train/cat": 5, "train/dog": 2, "test": 3}, "3 of 10 images are in no subfolder"),
        (
            {"train/cat": 5, "train/dog": 2, "test/bird": 3},
            "the training split has no image of bird",
        ),
        ({"train": 5, "test": 2}, ""),
        ({"a b": 6, "a  b": 6}, "the names of two subfolders print alike"),
    ],
)
def test_other_folders_have_no_classes_and_it_is_said_why(counts, why, tmp_path):
    found = folder.find(make(tmp_path, counts))
    assert found.classes.names == () and found.classes.label_of == {}
    lines = [line for line in folder.describe(found, 0) if "classes" in line]
    assert len(lines) == bool(why) and all(line.startswith(f"no classes: {why}") for line in lines)


def test_a_line_names_only_the_first_classes(tmp_path):
    names = tuple(f"{i:02d}" for i in range(11))
    label_of = {tmp_path / f"{i}": i % 11 for i in range(12)}
    (line,) = class_folders.describe(class_folders.Classes(names, label_of))
    assert line.startswith("classes: 00 (2), 01 (1), ") and line.endswith(
        "07 (1) and 3 more classes"
    )


def fingerprint(root):
    found = folder.find(str(root))
    content = folder.content(found, root.parent / f".memory-{root.name}")
    return folder.fingerprint(found, content, (16, 16, 3), ReadOptions())


def test_a_folder_without_classes_has_the_fingerprint_of_earlier_versions(tmp_path):
    for i in range(12):
        (tmp_path / f"{i:02d}.png").write_bytes(b"image %d" % i)
    assert fingerprint(tmp_path) == "f9643f5885818b44"


def test_a_fingerprint_changes_with_the_classes(tmp_path):
    root = tmp_path / "images"
    make(root, {"train/cat": 3, "train/dog": 3, "test/dog": 2})
    prints = [fingerprint(root)]
    (root / "train" / "cat").rename(root / "train" / "bird")  # the same order and labels
    prints.append(fingerprint(root))
    (root / "train" / "dog" / "3.png").rename(root / "train" / "bird" / "3.png")  # the same order
    prints.append(fingerprint(root))
    (root / "train" / "dog" / "4.png").rename(root / "train" / "dog" / "40.png")
    prints.append(fingerprint(root))
    assert len(set(prints)) == 3 and prints[2] == prints[3]


@pytest.mark.parametrize("below", ["", "train"])
def test_a_prepared_folder_has_its_classes_and_its_images_as_before(below, tmp_path, monkeypatch):
    counts = {f"{below}/dog".strip("/"): 15, f"{below}/a cat".strip("/"): 12}
    counts |= {"test/dog": 3} if below else {}
    source = make(tmp_path / "images", counts)

    def load(**kwargs):
        return fake_published.load(
            tmp_path, name="folder", source_dir=source, shape=(8, 8, 3), **kwargs
        )

    splits = load(train_on_all=True)
    assert splits.class_names == ("a cat", "dog")
    for images, label_N in zip(splits.images, splits.labels, strict=True):
        # The first 15 images that `make` wrote are dogs, and so are those from number 27 on.
        numbers = images[:, 0, 0, 0]
        np.testing.assert_array_equal(label_N, (numbers < 15) | (numbers >= 27))
    assert set(splits.labels.train) == {0, 1}
    monkeypatch.setattr(class_folders, "find", lambda *args: class_folders.Classes())
    without = load(train_on_all=True)
    assert without.class_names == () and set(without.labels.train) == {-1}
    for x, y in zip(splits.images, without.images, strict=True):
        np.testing.assert_array_equal(x, y)
    assert len(list((tmp_path / "data").glob("folder_*"))) == 2

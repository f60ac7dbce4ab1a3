"""Labels from the TFDS directory to the batch."""

import fake_published
import numpy as np
import pytest
import tensorflow_datasets as tfds
from fake_published import load

from rnnae.data import labels, manifest, pipeline, tfds_directory
from rnnae.data.splits import Labels, Splits
from rnnae.errors import DataError


@pytest.fixture
def mnist(tmp_path, monkeypatch):
    """Fake files of MNIST in tmp_path: all pixels of an image are ten times its label."""
    files = fake_published.make("mnist")
    for split in ("train", "t10k"):
        label_N = files[f"{split}-labels-idx1-ubyte"][8:]
        images = np.repeat(10 * np.frombuffer(label_N, np.uint8), 28 * 28).reshape(-1, 28, 28)
        files[f"{split}-images-idx3-ubyte"] = fake_published.idx(images)
    monkeypatch.setattr(fake_published, "make", lambda name: files)
    fake_published.install(monkeypatch, "mnist", tmp_path)
    return tmp_path


def assert_belong(splits: Splits) -> None:
    """Each label is that of its image, and the splits have labels of several classes."""
    for images, label_N in zip(splits.images, splits.labels, strict=True):
        assert label_N.dtype == np.int32 and len(np.unique(label_N)) > 2
        np.testing.assert_array_equal(
            images[:], np.full(images.shape, 10 * label_N.reshape(-1, 1, 1, 1))
        )


@pytest.mark.parametrize("gib", [1.0, 0.0])
def test_every_label_is_that_of_its_image(gib, mnist):
    splits = load(mnist, in_memory_gib=gib)
    assert_belong(splits)
    assert splits.class_names == tuple("0123456789")
    assert_belong(load(mnist, in_memory_gib=gib, train_images=7))
    everything = load(mnist, in_memory_gib=gib, train_on_all=True)
    assert_belong(everything)
    assert [len(x) for x in everything.labels] == [30, 5, 12]


def test_labels_are_read_when_they_are_asked_for_and_once(mnist, monkeypatch):
    splits, opened = load(mnist), []
    assert not list(mnist.rglob("*.labels"))
    open_records = tfds_directory.open_records
    monkeypatch.setattr(
        labels.tfds_directory, "open_records", lambda *a: opened.append(a) or open_records(*a)
    )
    assert splits.labels is splits.labels and len(opened) == 3
    again = load(mnist)
    for x, y in zip(splits.labels, again.labels, strict=True):
        np.testing.assert_array_equal(x, y)
    assert len(opened) == 3


@pytest.mark.parametrize("damage", ["flip", "cut", "more", "other split", "empty"])
def test_damaged_cached_labels_are_read_again(damage, mnist):
    load(mnist).labels  # noqa: B018
    first, second, third = sorted(mnist.rglob("*.labels"), key=lambda path: path.stat().st_size)
    content = second.read_bytes()
    assert third.stat().st_size == 32 + 4 * 25  # a digest and int32 labels
    flipped = bytearray(content)
    flipped[36] ^= 1
    second.write_bytes(
        {
            "flip": bytes(flipped),
            "cut": content[:-4],
            "more": content + b"x",
            "other split": first.read_bytes(),
            "empty": b"",
        }[damage]
    )
    assert_belong(load(mnist))
    assert second.read_bytes() == content


def test_names_of_classes_are_those_of_the_data_set(tmp_path, monkeypatch):
    fake_published.install(monkeypatch, "cifar10", tmp_path)
    splits = load(tmp_path, name="cifar10")
    assert splits.class_names[:2] == ("airplane", "automobile") and len(splits.class_names) == 10
    # The fake file i has 30 images of class i; the last 25 are for validation, 5 for testing.
    counts = np.bincount(np.concatenate([splits.labels.train, splits.labels.valid]))
    assert counts.tolist() == [30] * 5 and (splits.labels.test == 5).all()


def test_a_data_set_without_labels_has_no_classes(tmp_path, monkeypatch):
    fake_published.install(monkeypatch, "binarized_mnist", tmp_path)
    for splits in (
        load(tmp_path, name="binarized_mnist"),
        Splits(*np.zeros((3, 4, 1, 1, 1))),
    ):
        assert splits.class_names == ()
        for images, label_N in zip(splits.images, splits.labels, strict=True):
            assert label_N.dtype == np.int32 and label_N.tolist() == [-1] * len(images)
    assert not list(tmp_path.rglob("*.labels"))


def write(data_dir, feature, values) -> None:
    """The data set `other` of another program, with images that are filled with their number."""
    image = tfds.features.Image(shape=(2, 2, 1))
    images = [np.full((2, 2, 1), i, np.uint8) for i in range(len(values))]
    examples = [{"image": i, "label": v} for i, v in zip(images, values, strict=True)]
    final = data_dir / "other" / "1.0.0"
    parts = {"train": examples, "test": examples[:3]}
    tfds_directory.write(final, {"image": image, "label": feature}, parts)
    (final / manifest.NAME).unlink()


@pytest.mark.parametrize(
    ("feature", "values", "names"),
    [
        (tfds.features.Scalar(np.int64), [3, 0, 1, -1, 3, 1, 2, 0], ("0", "1", "2", "3")),
        (tfds.features.Scalar(np.uint8), [0, 0, 1, 1, 0, 1, 0, 0], ("0", "1")),
        (tfds.features.ClassLabel(num_classes=4), [1, 0, -1, -1, 0, 1, 0, 0], tuple("0123")),
        # Identifiers and other numbers are no classes.
        (tfds.features.Scalar(np.int64), [2**40, 0, 1, 2, 3, 4, 5, 6], ()),
        (tfds.features.Scalar(np.int64), [-7, 0, 1, 2, 3, 4, 5, 6], ()),
        (tfds.features.Scalar(np.int64), [-1] * 8, ()),
        (tfds.features.Scalar(np.float32), [1, 0, 1, 0, 1, 0, 1, 0], ()),
        (tfds.features.Text(), list("abcdefgh"), ()),
        (tfds.features.Tensor(shape=(2,), dtype=np.int64), [[0, 1]] * 8, ()),
    ],
)
def test_a_label_of_another_program_is_a_class_or_an_integer(feature, values, names, tmp_path):
    write(tmp_path / "data", feature, values)
    splits = load(tmp_path, name="other", train_images=5)
    assert splits.class_names == names
    for images, label_N in zip(splits.images, splits.labels, strict=True):
        expected = [values[i] if names else -1 for i in images[:, 0, 0, 0]]
        assert label_N.tolist() == expected


def test_damaged_labels_are_one_line(tmp_path):
    write(tmp_path / "data", tfds.features.ClassLabel(num_classes=10), [7, 0, 1, 2, 3, 4, 5, 6])
    directory = tmp_path / "data" / "other" / "1.0.0"
    info = directory / "features.json"
    text = info.read_text()
    assert '"10"' in text
    info.write_text(text.replace('"10"', '"5"'))
    with pytest.raises(DataError, match="train.* has a label that is none of its 5 classes"):
        load(tmp_path, name="other").labels  # noqa: B018
    info.write_text(text)
    splits = load(tmp_path, name="other")
    records = next(directory.glob("*train.array_record*"))
    records.write_bytes(records.read_bytes()[: records.stat().st_size // 2])
    with pytest.raises(DataError, match="is damaged .*: remove this folder") as error:
        splits.labels  # noqa: B018
    assert "\n" not in str(error.value)


def test_a_batch_has_the_labels_of_its_images_as_a_function_of_seed_and_step():
    images = np.broadcast_to(np.arange(30, dtype=np.uint8)[:, None, None, None], (30, 2, 3, 1))
    label_N = np.arange(30, dtype=np.int32) % 7
    calls = [(0, 3), (3, 1), (100, 2)]
    sizes = {"seed": 3, "batch_size": 8}
    whole = list(pipeline.stream(images, label_N, calls, **sizes))
    left = pipeline.stream(images, label_N, calls, **sizes, local_slice=slice(0, 4))
    right = pipeline.stream(images, label_N, calls, **sizes, local_slice=slice(4, 8))
    for (first, count), batches, a, b in zip(calls, whole, left, right, strict=True):
        assert batches.label_B.shape == (count, 8) and batches.label_B.dtype == np.int32
        np.testing.assert_array_equal(batches.label_B, batches.image_BHWC[..., 0, 0, 0] % 7)
        np.testing.assert_array_equal(batches.label_B, np.concatenate([a[1], b[1]], axis=1))
        for i in range(count):
            alone = pipeline.batch(images, label_N, step=first + i, **sizes)
            np.testing.assert_array_equal(batches.label_B[i], alone.label_B)
            np.testing.assert_array_equal(batches.image_BHWC[i], alone.image_BHWC)
    unknown = next(pipeline.stream(images, None, calls, **sizes))
    assert unknown.label_B.dtype == np.int32 and unknown.label_B.tolist() == [[-1] * 8] * 3
    np.testing.assert_array_equal(unknown.image_BHWC, whole[0].image_BHWC)


def test_a_fingerprint_with_labels_changes_with_every_label_and_name():
    images = np.zeros((4, 2, 2, 1), np.uint8)
    parts = images, images[:2], images[2:]
    label_N = np.array([0, 1, 1, 0], np.int32)
    other_N = np.array([0, 1, 1, -1], np.int32)
    given = Labels(label_N, label_N[:2], label_N[2:])
    sets = [
        Splits(*parts),
        Splits(*parts, given, ("a", "b")),
        Splits(*parts, given, ("a", "c")),
        Splits(*parts, given._replace(train=other_N), ("a", "b")),
        Splits(*parts, given._replace(test=other_N[2:]), ("a", "b")),
    ]
    assert len({splits.fingerprint() for splits in sets}) == 1
    assert len({splits.fingerprint(with_labels=True) for splits in sets}) == len(sets)

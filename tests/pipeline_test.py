import itertools
import threading
import time

import fake_published
import numpy as np
import pytest
from fake_published import load
from PIL import Image

from rnnae import build
from rnnae.data import pipeline
from rnnae.data.splits import Splits
from rnnae.errors import ConfigError, DataError
from rnnae.training.train import load_data
from tests import tiny


def numbered(n: int) -> np.ndarray:
    """n images, each filled with its own number."""
    return np.broadcast_to(np.arange(n, dtype=np.uint8)[:, None, None, None], (n, 2, 3, 1))


def batch(images, step, seed=0, batch_size=8) -> np.ndarray:
    """uint8 image_BHWC of `step`."""
    sizes = {"seed": seed, "step": step, "batch_size": batch_size}
    return pipeline.batch(images, None, **sizes).image_BHWC


def as_set(images) -> set[bytes]:
    return set(map(bytes, images[:]))


def test_a_data_set_without_validation_holds_out_the_end_of_train(tmp_path, monkeypatch):
    fake_published.install(monkeypatch, "mnist", tmp_path)
    train, valid, test = load(tmp_path).images
    assert [x.shape for x in (train, valid, test)] == [
        (25, 28, 28, 1),
        (5, 28, 28, 1),  # a sixth
        (12, 28, 28, 1),
    ]
    assert len(as_set(train) | as_set(valid) | as_set(test)) == 42
    everything = load(tmp_path, train_on_all=True)
    assert as_set(everything.train) == as_set(train) | as_set(valid)
    np.testing.assert_array_equal(everything.valid, valid)
    np.testing.assert_array_equal(everything.test, test)


def test_a_data_set_with_validation_keeps_its_splits(tmp_path, monkeypatch):
    fake_published.install(monkeypatch, "binarized_mnist", tmp_path)
    train, valid, test = load(tmp_path, name="binarized_mnist").images
    assert [len(x) for x in (train, valid, test)] == [30, 12, 12]
    assert set(np.unique(train)) == {0, 255}
    everything = load(tmp_path, name="binarized_mnist", train_on_all=True)
    assert as_set(everything.train) == as_set(train) | as_set(valid)
    np.testing.assert_array_equal(everything.valid, valid)


@pytest.mark.parametrize(
    ("sizes", "names"),
    [
        ({"train": 60_000, "test": 10_000}, ("train[:50000]", "train[50000:]", "test")),
        ({"train": 10_000, "test": 5}, ("train[:8333]", "train[8333:]", "test")),
        ({"train": 9, "validation": 3, "test": 5}, ("train", "validation", "test")),
        ({"train": 12, "validation": 3}, ("train[:10]", "train[10:]", "validation")),
    ],
)
def test_every_data_set_gets_three_splits(sizes, names):
    assert pipeline._split_names("x", sizes) == names


def test_a_data_set_without_train_or_test_is_refused():
    with pytest.raises(DataError, match="x has the splits all, but needs a split called train"):
        pipeline._split_names("x", {"all": 10})


def test_train_images_keeps_the_first_ones(tmp_path, monkeypatch):
    fake_published.install(monkeypatch, "mnist", tmp_path)
    whole = load(tmp_path)
    for gib in (1.0, 0.0):
        cut = load(tmp_path, train_images=7, in_memory_gib=gib)
        np.testing.assert_array_equal(cut.train[:], whole.train[:7])
        np.testing.assert_array_equal(cut.valid[:], whole.valid)
    for wrong in (26, -1):
        with pytest.raises(ConfigError, match="train_images=.* mnist has 25 training images"):
            load(tmp_path, train_images=wrong)


def test_images_on_disk_give_the_same_batches_as_in_memory(tmp_path, monkeypatch):
    fake_published.install(monkeypatch, "cifar10", tmp_path)
    memory = load(tmp_path, name="cifar10")
    disk = load(tmp_path, name="cifar10", in_memory_gib=0.0)
    assert isinstance(memory.train, np.ndarray) and not isinstance(disk.train, np.ndarray)
    assert memory.train.shape == disk.train.shape == (125, 32, 32, 3)
    assert memory.fingerprint() == disk.fingerprint()
    for step in (0, 3, 50):
        np.testing.assert_array_equal(
            pipeline.batch(memory.train, None, seed=1, step=step, batch_size=16).image_BHWC,
            pipeline.batch(disk.train, None, seed=1, step=step, batch_size=16).image_BHWC,
        )


def test_load_splits_a_folder(tmp_path):
    for i in range(10):
        Image.new("L", (9, 9), color=i).save(tmp_path / f"{i}.png")
    splits = load(tmp_path, name="folder", shape=(4, 4, 1))
    assert [len(s) for s in splits.images] == [8, 1, 1]
    assert {int(i) for s in splits.images for i in s[:, 0, 0, 0]} == set(range(10))


def folder_config(tmp_path):
    config = tiny.config("mlp", (8, 8, 3), data__name="folder")
    config.data.source_dir = fake_published.make_images(tmp_path / "images", n=40)
    config.data.data_dir = str(tmp_path / "data")
    return config


def test_all_seeds_of_a_folder_have_the_same_splits(tmp_path):
    config = folder_config(tmp_path)
    prints = []
    for seed, split_seed in ((0, 0), (1, 0), (2, 0), (0, 1)):
        config.seed, config.data.split_seed = seed, split_seed
        prints.append(build.load_splits(config).fingerprint())
    assert prints[0] == prints[1] == prints[2] != prints[3]


def test_every_start_of_a_training_prints_the_numbers_of_images(tmp_path, capsys):
    config = folder_config(tmp_path)
    (tmp_path / "images" / ".hidden").mkdir()
    for _ in range(2):
        load_data(config, tmp_path / "run")
        lines = capsys.readouterr().out.splitlines()
        assert f"left out of {tmp_path}/images: hidden folders: .hidden" in lines
        assert lines[-1] == "folder: 32 images for training, 4 for validation, 4 for testing"


def test_what_is_loaded_is_said(tmp_path, monkeypatch):
    fake_published.install(monkeypatch, "mnist", tmp_path)
    lines = []
    load(tmp_path, log=lines.append)
    load(tmp_path, log=lines.append, train_on_all=True)
    ends = "5 for validation, 12 for testing"
    assert lines == [
        f"mnist: 25 images for training, {ends}",
        f"mnist: 30 images for training, those of validation included, {ends}",
    ]


@pytest.mark.parametrize(("n", "size"), [(20, 5), (23, 5), (7, 7), (3, 8)])
def test_every_epoch_visits_every_image_once(n, size):
    images, epochs = numbered(n), 4
    steps = pipeline.epoch_end(epochs, n, size)
    batches = [batch(images, s, batch_size=size) for s in range(steps)]
    seen = np.concatenate(batches)
    seen = seen[: epochs * n, 0, 0, 0].reshape(epochs, n)
    np.testing.assert_array_equal(np.sort(seen, axis=1), np.tile(np.arange(n), (epochs, 1)))
    assert n < 7 or len({tuple(epoch) for epoch in seen}) == epochs


def test_a_batch_is_a_pure_function_of_seed_and_step():
    images = numbered(50)
    forward = [batch(images, s, seed=3) for s in range(20)]
    pipeline._permutation.cache_clear()
    for step in (19, 0, 7, 6):
        np.testing.assert_array_equal(batch(images, step, seed=3), forward[step])
    assert not np.array_equal(batch(images, 0, seed=4), forward[0])
    assert forward[0].dtype == np.uint8 and forward[0].shape == (8, 2, 3, 1)


def test_a_committed_batch_is_reproduced():
    """A change of the order of the images would break the resumption of every saved run."""
    image_BHWC = batch(numbered(50), step=6)
    assert image_BHWC[:, 0, 0, 0].tolist() == [36, 27, 41, 34, 9, 28, 40, 1]


@pytest.mark.parametrize(
    ("epoch", "n", "size", "step"), [(1, 50_000, 256, 196), (2, 50_000, 256, 391), (0, 5, 2, 0)]
)
def test_epoch_end_is_the_number_of_steps_of_the_epochs(epoch, n, size, step):
    assert pipeline.epoch_end(epoch, n, size) == step


def stream(images, calls, **kwargs):
    """The images (K, B, H, W, C) of each call."""
    batches = pipeline.stream(images, None, calls, seed=0, batch_size=8, **kwargs)
    return (batch.image_BHWC for batch in batches)


def test_stream_equals_batches():
    images = numbered(30)
    calls = [(0, 3), (3, 1), (4, 2), (100, 2)]
    streamed = list(stream(images, calls))
    assert [part.shape for part in streamed] == [(k, 8, 2, 3, 1) for _, k in calls]
    for (first, count), part in zip(calls, streamed, strict=True):
        for i in range(count):
            np.testing.assert_array_equal(part[i], batch(images, first + i))
    assert list(stream(images, [])) == []
    own = stream(images, calls, local_slice=slice(2, 5))
    for part, whole in zip(own, streamed, strict=True):
        np.testing.assert_array_equal(part, whole[:, 2:5])


class Watched:
    """Images that record which thread reads them, and that fail when they are read a third time."""

    shape = (30, 2, 3, 1)

    def __init__(self):
        self.readers = []

    def __len__(self):
        return 30

    def __getitem__(self, indices):
        self.readers.append(threading.current_thread())
        if len(self.readers) == 3:
            raise DataError("a damaged record")
        return numbered(30)[indices]


def test_stream_loads_one_call_ahead_in_another_thread():
    images = Watched()
    calls = ((step, 1) for step in itertools.count())
    stream = pipeline.stream(images, None, calls, seed=0, batch_size=8)
    next(stream)
    deadline = time.monotonic() + 5
    while len(images.readers) < 2 and time.monotonic() < deadline:
        time.sleep(0.01)
    time.sleep(0.05)
    assert len(images.readers) == 2  # the batch of this call and the one ahead
    assert threading.main_thread() not in images.readers
    next(stream)
    with pytest.raises(DataError, match="a damaged record"):
        next(stream)


def test_closing_a_stream_ends_its_thread():
    calls = ((step, 1) for step in itertools.count())
    stream = pipeline.stream(numbered(30), None, calls, seed=0, batch_size=8)
    next(stream)
    stream.close()
    assert not [t for t in threading.enumerate() if t.name.startswith("data")]


@pytest.mark.parametrize("size", [1, 4, 5, 10, 64])
def test_padded_batches_cover_every_image_once_in_order(size):
    images = numbered(10) + 1
    batches = list(pipeline.padded_batches(images, size))
    assert {(b.shape, p.shape) for b, p in batches} == {((size, 2, 3, 1), (size,))}
    np.testing.assert_array_equal(np.concatenate([b[p < 10] for b, p in batches]), images)
    assert all((b[p >= 10] == 0).all() for b, p in batches)
    positions = np.concatenate([p for _, p in batches])
    np.testing.assert_array_equal(positions, np.arange(len(positions)))


def test_a_fingerprint_changes_with_every_pixel_and_split():
    images = np.arange(4 * 64, dtype=np.uint8).reshape(4, 8, 8, 1)
    other = images.copy()
    other[3, 7, 7, 0] ^= 1
    parts = [
        (images, images[:2], images[2:]),
        (other, images[:2], images[2:]),
        (images, images[:1], images[2:]),
        (images, images[:3], images[3:]),
    ]
    prints = {Splits(*images).fingerprint() for images in parts}
    # The value of earlier versions: runs that they have saved can be continued.
    assert len(prints) == 4 and "217ebb54ca368e66" in prints

import subprocess
import sys

import fake_published
import numpy as np
import pytest
from fake_published import make_images

from rnnae.data import manifest, parsers, sources, tfds_directory
from rnnae.data.datasets import DATASETS
from rnnae.data.prepare import prepare
from rnnae.errors import ConfigError, DataError


def read(path, split, **kwargs):
    return tfds_directory.open_split(path, split, **kwargs)[:]


@pytest.fixture(scope="module")
def mnist(tmp_path_factory):
    """All of MNIST, from the packaged files."""
    return prepare("mnist", data_dir=tmp_path_factory.mktemp("data"))


def test_a_prepared_mnist_has_every_image_once(mnist):
    files = sources.fetch_files("mnist", DATASETS["mnist"].source)
    expected = parsers.parse_idx(files["t10k-images-idx3-ubyte"])
    images = read(mnist, "test")
    assert tfds_directory.split_sizes(mnist) == {"train": 60_000, "test": 10_000}
    assert sorted(map(bytes, images)) == sorted(map(bytes, expected))


def test_the_tfds_builder_opens_a_prepared_mnist_without_tensorflow(mnist):
    code = f"""
import sys
import tensorflow_datasets as tfds
builder = tfds.builder("mnist", data_dir={str(mnist.parent.parent)!r})
assert type(builder).__module__ == "tensorflow_datasets.image_classification.mnist", type(builder)
assert builder.is_prepared() and str(builder.version) == "3.0.1"
source = builder.as_data_source(split="train")
assert len(source) == 60_000
example = source[0]
assert example["image"].shape == (28, 28, 1) and 0 <= example["label"] <= 9
assert "tensorflow" not in sys.modules
print(example["image"].sum())
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    assert int(run.stdout) == tfds_directory.open_split(mnist, "train")[[0]].sum()


def test_labels_belong_to_their_images(mnist):
    import tensorflow_datasets as tfds

    files = sources.fetch_files("mnist", DATASETS["mnist"].source)
    images = parsers.parse_idx(files["t10k-images-idx3-ubyte"])
    labels = parsers.parse_idx(files["t10k-labels-idx1-ubyte"])
    label_of_image = {image.tobytes(): label for image, label in zip(images, labels, strict=True)}
    source = tfds.builder_from_directory(mnist).as_data_source(split="test")
    for example in source.__getitems__(range(50)):
        assert label_of_image[example["image"].tobytes()] == example["label"]


def test_a_data_set_is_prepared_once(tmp_path, monkeypatch):
    fake_published.install(monkeypatch, "mnist", tmp_path)
    path = prepare("mnist", data_dir=tmp_path / "data", source_dir=str(tmp_path))
    monkeypatch.setattr(sources, "fetch_files", None)
    assert prepare("mnist", data_dir=tmp_path / "data") == path


def test_two_runs_may_prepare_the_same_data_set(tmp_path, monkeypatch):
    fake_published.install(monkeypatch, "mnist", tmp_path)
    kwargs = {"data_dir": tmp_path / "data", "source_dir": str(tmp_path)}
    final, rename = tmp_path / "data" / "mnist" / "3.0.1", tfds_directory.os.rename

    def slow_rename(source, target):
        if target == final:  # another run finishes just before this one
            monkeypatch.setattr(tfds_directory.os, "rename", rename)
            assert prepare("mnist", **kwargs) == final
        rename(source, target)

    monkeypatch.setattr(tfds_directory.os, "rename", slow_rename)
    assert prepare("mnist", **kwargs) == final
    assert tfds_directory.os.rename is rename
    assert tfds_directory.split_sizes(final) == {"train": 30, "test": 12}
    assert [p.name for p in (tmp_path / "data").iterdir()] == ["mnist"]


class TestOtherDirectories:
    """TFDS directories that other programs have written."""

    @pytest.fixture
    def write(self, tmp_path):
        def write(name, shape, images, version="1.2.0"):
            final = tmp_path / name / version
            examples = {"train": [{"image": i} for i in images]}
            features = tfds_directory.image_features(shape)
            tfds_directory.write(final, features, examples)
            (final / manifest.NAME).unlink()  # other programs write none
            return final

        return write

    def test_the_newest_version_is_found_by_name(self, write, tmp_path):
        images = np.random.default_rng(0).integers(0, 256, (5, 4, 6, 3), np.uint8)
        write("shapes3d", (4, 6, 3), images, "1.9.0")
        newest = write("shapes3d", (4, 6, 3), images, "1.10.0")
        assert prepare("shapes3d", data_dir=tmp_path) == newest
        read_images = read(newest, "train")
        assert sorted(map(bytes, read_images)) == sorted(map(bytes, images))
        with pytest.raises(ConfigError, match="leave it at"):
            tfds_directory.open_split(newest, "train", shape=(8, 8, 3))

    def test_images_without_a_fixed_shape_are_resized(self, write):
        path = write("faces", (None, None, 3), [np.full((9, 5 + i, 3), 77) for i in range(4)])
        assert (read(path, "train", shape=(4, 4, 3)) == 77).all()
        with pytest.raises(ConfigError, match="--config.data.shape"):
            tfds_directory.open_split(path, "train")
        with pytest.raises(DataError, match="but --config.data.shape has 1"):
            read(path, "train", shape=(4, 4, 1))

    @pytest.mark.parametrize(
        "damage", [lambda b: b[: len(b) // 2], lambda b: b.replace(b"IDAT", b"IDAX", 1)]
    )
    def test_a_damaged_record_is_one_clear_line(self, damage, write):
        path = write("noise", (8, 8, 3), np.random.default_rng(0).integers(0, 256, (9, 8, 8, 3)))
        records = next(path.glob("*.array_record*"))
        content = records.read_bytes()
        assert damage(content) != content
        records.write_bytes(damage(content))
        with pytest.raises(DataError, match="is damaged .*: remove this folder"):
            read(path, "train")

    def test_another_format_is_refused(self, write, tmp_path):
        info = write("shapes3d", (4, 6, 3), np.zeros((2, 4, 6, 3), np.uint8)) / "dataset_info.json"
        info.write_text(info.read_text().replace("array_record", "tfrecord"))
        with pytest.raises(DataError, match="stored as tfrecord, which needs TensorFlow"):
            prepare("shapes3d", data_dir=tmp_path)
        info.write_text("{")
        with pytest.raises(DataError, match="is damaged"):
            prepare("shapes3d", data_dir=tmp_path)


@pytest.mark.parametrize(("name", "near"), [("mnits", "mnist"), ("cifar", "cifar10")])
def test_unknown_name_lists_the_choices_and_the_nearest(name, near, tmp_path):
    with pytest.raises(ConfigError, match=f"did you mean .?{near}") as error:
        prepare(name, data_dir=tmp_path)
    assert all(choice in str(error.value) for choice in [*DATASETS, "folder"])


@pytest.mark.parametrize("name", ["", "..", "/etc", "../data"])
def test_names_do_not_leave_the_data_dir(name, tmp_path):
    with pytest.raises(ConfigError, match="must be one of"):
        prepare(name, data_dir=tmp_path)


def test_import_is_light_and_tensorflow_never_loaded(tmp_path):
    source = make_images(tmp_path / "images")
    code = f"""
import sys
from rnnae.data import tfds_directory
from rnnae.data.prepare import prepare
heavy = {{"tensorflow", "torch", "jax", "tensorflow_datasets"}}
assert not heavy & set(sys.modules)
data_dir, source = {str(tmp_path)!r}, {source!r}
path = prepare("folder", data_dir=data_dir, source_dir=source, shape=(8, 8, 3))
assert len(tfds_directory.open_split(path, "train")[:]) == 16
assert not {{"tensorflow", "torch", "jax"}} & set(sys.modules)
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    assert run.stderr == "" and run.stdout.count("\n") == 1

import fake_published
import numpy as np
import pytest

from rnnae.data import parsers, tfds_directory
from rnnae.data.datasets import DATASETS
from rnnae.data.prepare import prepare

OTHER_SIZES = {  # of splits, besides 30 examples in train and 12 in test
    "cifar10": {"train": 150},
    "binarized_mnist": {"validation": 12},
    "omniglot_28": {"validation": 1345},
}


@pytest.mark.parametrize("name", DATASETS)
def test_every_data_set_is_prepared_like_its_tfds_builder(name, tmp_path, monkeypatch, capfd):
    import tensorflow_datasets as tfds

    fake_published.install(monkeypatch, name, tmp_path / "files")
    data_dir = tmp_path / "data"
    path = prepare(name, data_dir=data_dir, source_dir=str(tmp_path / "files"))
    out, err = capfd.readouterr()
    assert out == f"preparing {name} (once) in {path}\n" and err == ""
    dataset = DATASETS[name]
    assert path == data_dir / name / dataset.version
    assert [p.name for p in data_dir.iterdir()] == [name]
    builder = tfds.builder(name, data_dir=str(data_dir))
    assert builder.is_prepared() and type(builder).__module__.startswith("tensorflow_datasets")
    read_only = isinstance(builder, tfds.core.read_only_builder.ReadOnlyBuilder)
    assert read_only == (name not in tfds.list_builders(with_community_datasets=False))
    features = tfds.builder_from_directory(path).info.features
    if not read_only:
        assert repr(features) == repr(type(builder)(data_dir=str(tmp_path)).info.features)
    assert features["image"].shape == dataset.image_shape
    assert ("label" in features, "id" in features) == (bool(dataset.classes), dataset.has_id)
    sizes = tfds_directory.split_sizes(path)
    assert sizes == {"train": 30, "test": 12} | OTHER_SIZES.get(name, {})
    images = np.concatenate([tfds_directory.open_split(path, split)[:] for split in sizes])
    assert images.dtype == np.uint8 and len(images) == sum(sizes.values())
    assert images.max() > 250  # also of images that are stored as 0 and 1


@pytest.mark.parametrize("name", DATASETS)
def test_every_example_is_stored_once_with_its_label(name, tmp_path, monkeypatch):
    import tensorflow_datasets as tfds

    _, files = fake_published.install(monkeypatch, name, tmp_path)
    path = prepare(name, data_dir=tmp_path / "data", source_dir=str(tmp_path))
    builder = tfds.builder_from_directory(path)

    def as_bytes(example):
        text = example.get("id", "")
        text = text.decode() if isinstance(text, bytes) else text
        return example["image"].tobytes(), int(example.get("label", -1)), text

    for split, examples in DATASETS[name].examples(files).items():
        stored = builder.as_data_source(split=split)
        stored = stored.__getitems__(range(len(stored)))
        assert sorted(map(as_bytes, stored)) == sorted(map(as_bytes, examples))


def test_mnist_keeps_labels_with_their_images(monkeypatch, tmp_path):
    _, files = fake_published.install(monkeypatch, "mnist", tmp_path)
    images = parsers.parse_idx(files["t10k-images-idx3-ubyte"])
    labels = parsers.parse_idx(files["t10k-labels-idx1-ubyte"])
    examples = list(DATASETS["mnist"].examples(files)["test"])
    np.testing.assert_array_equal([example["image"] for example in examples], images)
    assert [example["label"] for example in examples] == labels.tolist()


def test_cifar10_keeps_the_order_of_its_files(monkeypatch, tmp_path):
    _, files = fake_published.install(monkeypatch, "cifar10", tmp_path)
    examples = list(DATASETS["cifar10"].examples(files)["train"])
    assert [example["label"] for example in examples] == [i // 30 for i in range(150)]
    assert [examples[i]["id"] for i in (0, 149)] == ["train_00000", "train_00149"]
    images, _ = parsers.parse_cifar(files["data_batch_2.bin"])
    np.testing.assert_array_equal(examples[30]["image"], images[0])


def test_omniglot_has_the_splits_of_its_authors(tmp_path, monkeypatch):
    _, files = fake_published.install(monkeypatch, "omniglot_28", tmp_path)
    images, test = parsers.parse_omniglot(files["chardata.mat"])
    path = prepare("omniglot_28", data_dir=tmp_path / "data", source_dir=str(tmp_path))
    shuffled = images[np.random.RandomState(123).permutation(len(images))]
    parts = {"train": shuffled[:30], "validation": shuffled[30:], "test": test}
    for split, expected in parts.items():
        stored = tfds_directory.open_split(path, split)[:]
        assert sorted(map(bytes, stored)) == sorted(map(bytes, expected))

"""DATASETS: the data sets with published files, one entry each.

An entry has everything about a data set: the address and checksums of its files, how they are
parsed into examples, and what an example looks like. `tfds_directory.prepare` writes the examples
as a TFDS directory. To add a data set, add its entry, its line in `DATASETS` and, for a new file
format, a function in `parsers`. Where TFDS has a builder of the same name, use its version, its
features and the order of its examples, so that it can open the directory.
"""

import dataclasses
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from rnnae.data import parsers, sources
from rnnae.data.sources import Source

# For the name of each split its examples, which are dicts of features; images are uint8 (H, W, C).
# Their order is part of the data set, because it decides the order of the records on disk.
Examples = dict[str, Iterable[dict[str, Any]]]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Dataset:
    """A data set: its published files and the examples in them.

    Attributes:
        source: the files, their address and their checksums.
        examples: makes the examples of each split from the content of the files, by file name.
        rights: who holds rights in the images, as far as it is known.
        version: that of the TFDS builder of the same name; 1.0.0 if there is none.
        image_shape: H, W, C.
        classes: of the feature `label` the number of classes or their names; None for no label.
        has_id: whether examples have a feature `id`, a text.
        white: the stored value of full intensity, 1 for images that are stored as 0 and 1.
    """

    source: Source
    examples: Callable[[dict[str, bytes]], Examples]
    rights: str
    version: str
    image_shape: tuple[int, int, int]
    classes: int | tuple[str, ...] | None = None
    has_id: bool = False
    white: int = 255

    @property
    def class_names(self) -> tuple[str, ...]:
        """The names of the classes, their numbers if they have no names, () if there are none."""
        return (
            tuple(map(str, range(self.classes)))
            if isinstance(self.classes, int)
            else (self.classes or ())
        )


def _idx_files(*sha256: str) -> dict[str, tuple[int, str]]:
    """The four files of MNIST and of data sets in its format, with these checksums."""
    files = (
        ("train-images-idx3-ubyte", 47_040_016),
        ("train-labels-idx1-ubyte", 60_008),
        ("t10k-images-idx3-ubyte", 7_840_016),
        ("t10k-labels-idx1-ubyte", 10_008),
    )
    return {
        name: (size, f"sha256:{digest}") for (name, size), digest in zip(files, sha256, strict=True)
    }


def _idx_examples(files: dict[str, bytes]) -> Examples:
    def examples(prefix):
        images = parsers.parse_idx(files[f"{prefix}-images-idx3-ubyte"])
        labels = parsers.parse_idx(files[f"{prefix}-labels-idx1-ubyte"])
        pairs = zip(images, labels, strict=True)
        return ({"image": image, "label": int(label)} for image, label in pairs)

    return {"train": examples("train"), "test": examples("t10k")}


_MNIST_RIGHTS = (
    "Copyright Yann LeCun and Corinna Cortes. Some sources cite CC BY-SA 3.0, others MIT; no "
    "original statement was found."
)

_MNIST = Dataset(
    source=Source(
        url="https://storage.googleapis.com/cvdf-datasets/mnist/",
        url_suffix=".gz",
        files=_idx_files(
            "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
            "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
            "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
            "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
        ),
        subfolders=("mnist", "MNIST/raw", "raw"),
    ),
    examples=_idx_examples,
    rights=_MNIST_RIGHTS,
    version="3.0.1",
    image_shape=(28, 28, 1),
    classes=10,
)

_FASHION_MNIST = Dataset(
    source=Source(
        url="http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
        url_suffix=".gz",
        files=_idx_files(
            "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
            "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
            "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
            "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
        ),
        subfolders=("fashion-mnist", "fashion_mnist", "FashionMNIST/raw"),
    ),
    examples=_idx_examples,
    rights="Copyright Zalando SE, licence MIT.",
    version="3.0.1",
    image_shape=(28, 28, 1),
    # fmt: off
    classes=(
        "T-shirt/top",
        "Trouser",
        "Pullover",
        "Dress",
        "Coat",
        "Sandal",
        "Shirt",
        "Sneaker",
        "Bag",
        "Ankle boot",
    ),
    # fmt: on
)


def _cifar10_examples(files: dict[str, bytes]) -> Examples:
    def examples(split, names):
        batches = [parsers.parse_cifar(files[name]) for name in names]
        images, labels = (np.concatenate(arrays) for arrays in zip(*batches, strict=True))
        for i, (image, label) in enumerate(zip(images, labels, strict=True)):
            yield {"id": f"{split}_{i:05d}", "image": image, "label": int(label)}

    train = [f"data_batch_{i}.bin" for i in range(1, 6)]
    return {"train": examples("train", train), "test": examples("test", ["test_batch.bin"])}


_CIFAR10 = Dataset(
    source=Source(
        url="https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz",
        files={
            "data_batch_1.bin": (30_730_000, "md5:5dd7e06a14cb22eb9f671a540d1b7c25"),
            "data_batch_2.bin": (30_730_000, "md5:5ea93a67294ea407fff1d09f752e9692"),
            "data_batch_3.bin": (30_730_000, "md5:942cd6a4bcdd0dd3c604fbe906cb4421"),
            "data_batch_4.bin": (30_730_000, "md5:ae636b3ba5c66a11e91e8cb52e771fcb"),
            "data_batch_5.bin": (30_730_000, "md5:53f37980c15c3d472c316c40844f3f0d"),
            "test_batch.bin": (30_730_000, "md5:803d5f7f4d78ea53de84dbe85f74fb6d"),
        },
        subfolders=("cifar-10-batches-bin", "cifar10", "cifar10/cifar-10-batches-bin"),
        archives={"cifar-10-binary.tar.gz": sources.read_tar_gz},
        # Copies that were rebuilt from images and labels have the test images in another order.
        other_versions=frozenset({"test_batch.bin"}),
    ),
    examples=_cifar10_examples,
    rights=(
        "A. Krizhevsky, Learning Multiple Layers of Features from Tiny Images, 2009; no licence "
        "stated."
    ),
    version="3.0.2",
    image_shape=(32, 32, 3),
    # fmt: off
    classes=(
        "airplane",
        "automobile",
        "bird",
        "cat",
        "deer",
        "dog",
        "frog",
        "horse",
        "ship",
        "truck",
    ),
    # fmt: on
    has_id=True,
)


def _binarized_mnist_examples(files: dict[str, bytes]) -> Examples:
    names = {"train": "train", "validation": "valid", "test": "test"}
    return {
        split: ({"image": i} for i in parsers.parse_amat(files[f"binarized_mnist_{name}.amat"]))
        for split, name in names.items()
    }


_AMAT_SHA256 = (
    "ad693b29f94c14277b095f5238ddefbbdaaae0939789dd2f4f0205278cee3e4d",
    "1de3d397c40fe8eeb33dafd4099a1f665ec01e96d9be234aaeeac8a34930e2e2",
    "e6687bfea3f820c174f33b7865140b2a2dd2930ef786f35d45795fc193b5ab2c",
)
# MNIST with the fixed binarisation of Larochelle and Murray (2011).
_BINARIZED_MNIST = Dataset(
    source=Source(
        url="http://www.cs.toronto.edu/~larocheh/public/datasets/binarized_mnist/",
        files={
            "binarized_mnist_train.amat": (78_400_000, f"sha256:{_AMAT_SHA256[0]}"),
            "binarized_mnist_valid.amat": (15_680_000, f"sha256:{_AMAT_SHA256[1]}"),
            "binarized_mnist_test.amat": (15_680_000, f"sha256:{_AMAT_SHA256[2]}"),
        },
        subfolders=("binarized_mnist", "BinarizedMNIST"),
        archives={"binarized_mnist.npz": parsers.amat_from_npz},
    ),
    examples=_binarized_mnist_examples,
    rights=f"Derived from MNIST. {_MNIST_RIGHTS}",
    version="1.0.0",
    image_shape=(28, 28, 1),
    white=1,
)


def _omniglot_examples(files: dict[str, bytes]) -> Examples:
    """The splits of Burda's code: shuffled with seed 123, the last 1,345 images for validation."""
    images, test = parsers.parse_omniglot(files["chardata.mat"])
    order = np.random.RandomState(123).permutation(len(images))
    splits = {"train": images[order[:-1345]], "validation": images[order[-1345:]], "test": test}
    return {split: ({"image": i} for i in images) for split, images in splits.items()}


# The images of Burda et al. (2016). The omniglot of TFDS has other images, sizes and splits.
_OMNIGLOT_28 = Dataset(
    source=Source(
        url="https://github.com/yburda/iwae/raw/master/datasets/OMNIGLOT/chardata.mat",
        # Its authors publish neither size nor checksum. This MD5 is the one that
        # github.com/chenwenxiao/DOI demands of its download. That repository's MD5s of
        # binarized_mnist agree with the files above.
        files={"chardata.mat": (0, "md5:21ecaf34373511aa7691cf2e0802aa3d")},
        subfolders=("omniglot_28", "OMNIGLOT", "omniglot"),
    ),
    examples=_omniglot_examples,
    rights="Derived from Omniglot (Lake et al. 2015); no licence stated with these files.",
    version="1.0.0",
    image_shape=(28, 28, 1),
)


DATASETS: dict[str, Dataset] = {
    "mnist": _MNIST,
    "fashion_mnist": _FASHION_MNIST,
    "cifar10": _CIFAR10,
    "binarized_mnist": _BINARIZED_MNIST,
    "omniglot_28": _OMNIGLOT_28,
}

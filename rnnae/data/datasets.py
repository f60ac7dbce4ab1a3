"""Data sets, prepared once into normal TFDS directories. The only tensorflow_datasets import.

`prepare` writes what the stock TFDS builder of the same name would (records, order, features), as
array_record and without TensorFlow; `open_split` reads it, or any other array_record directory.
omniglot_28 has no stock builder: that of `omniglot` has other images, sizes and splits.
To add a set of published files: its files in `published.PUBLISHED`, its entry in `DATASETS`.
"""

import contextlib
import difflib
import io
import json
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from rnnae.data import folder, parsers, sources
from rnnae.errors import ConfigError, DataError

STALE_SECONDS = 86_400.0
Examples = dict[str, Iterable[dict[str, Any]]]  # split name: examples, images as uint8 arrays


class Dataset(NamedTuple):
    """How the published files of a set become a TFDS directory."""

    version: str  # of the stock builder that this stands in for, if there is one
    features: Callable[[Any], dict[str, Any]]  # of the tfds module
    examples: Callable[[dict[str, bytes]], Examples]  # of published file name: bytes
    white: int = 255  # what is stored for full intensity


def prepare(
    name: str,
    *,
    data_dir: str | Path,
    source_dir: str = "",
    shape: tuple[int, int, int] = (0, 0, 0),
    seed: int = 0,
) -> Path:
    """The TFDS directory of `name`, written first where there is none.

    Raises:
        ConfigError: unknown name, or a folder of images without a shape.
        DataError: the files are missing or not what they should be.
    """
    data_dir = Path(data_dir).expanduser()
    if name == "folder":
        folder.check_shape(name, shape)
        paths = folder.find_images(source_dir)
        splits = folder.split(paths, seed)  # too few images fail here, before anything is written
        full_name, version = f"folder_{folder.fingerprint(paths, shape, seed)}", "1.0.0"
    elif name in DATASETS:
        full_name, version = name, DATASETS[name].version
    else:
        return _prepared_elsewhere(name, data_dir)
    final = data_dir / full_name / version
    if _is_prepared(final):
        return final
    if name == "folder":
        examples = {
            split: ({"image": image} for image in folder.images(files, shape))
            for split, files in splits.items()
        }
        _write(full_name, version, lambda tfds: _image(tfds, shape), examples, final)
    else:
        dataset = DATASETS[name]
        files = sources.payloads(name, source_dir=source_dir, work_dir=data_dir)
        _write(full_name, version, dataset.features, dataset.examples(files), final)
    return final


def open_split(
    path: str | Path, split: str, *, shape: tuple[int, int, int] = (0, 0, 0)
) -> folder.Images:
    """One split ("train", "train[:50000]", "train+validation") of a TFDS directory."""
    path = Path(path)
    tfds = _tfds()
    with _quiet():
        builder = tfds.builder_from_directory(path)
        feature = dict(builder.info.features).get("image")
        if not isinstance(feature, tfds.features.Image) or feature.np_dtype != np.uint8:
            names = ", ".join(builder.info.features)
            raise DataError(f"{path} has no uint8 images called image, only {names}")
        # Decoded below: TFDS would choose OpenCV where it is installed, and is slower.
        decoders = {"image": tfds.decode.SkipDecoding()}
        source = builder.as_data_source(split=split, decoders=decoders)
    stored = tuple(feature.shape)
    if None in stored:
        folder.check_shape(builder.name, shape)
    elif any(shape) and tuple(shape) != stored:
        raise ConfigError(
            f"--config.data.shape is {tuple(shape)}, but {builder.name} has images of {stored}: "
            f"leave it at (0,0,0)"
        )
    dataset = DATASETS.get(builder.name)
    scale = 255 // dataset.white if dataset else 1
    return folder.Images(path, source, stored, tuple(shape), scale)


def split_sizes(path: str | Path) -> dict[str, int]:
    """Number of examples of every split of a TFDS directory."""
    with _quiet():
        info = _tfds().builder_from_directory(path).info
    return {name: split.num_examples for name, split in info.splits.items()}


def _prepared_elsewhere(name: str, data_dir: Path) -> Path:
    """The newest version of a TFDS directory called `name` (or name/config) in `data_dir`."""
    inside = name and not Path(name).is_absolute() and ".." not in Path(name).parts
    deeper = ("*", "*/*") if inside else ()  # version, or config and version
    infos = [p for deep in deeper for p in (data_dir / name).glob(f"{deep}/dataset_info.json")]
    prepared = [info.parent for info in infos if _is_prepared(info.parent)]
    if prepared:
        return max(prepared, key=lambda p: [int(s) for s in p.name.split(".") if s.isdecimal()])
    choices = [*DATASETS, "folder"]
    near = difflib.get_close_matches(name, choices, n=1)
    guess = f" (did you mean {near[0]}?)" if near else ""
    raise ConfigError(
        f"--config.data.name={name} is not known{guess}: choose {', '.join(choices)}, "
        f"or a TFDS data set prepared as array_record in {data_dir}"
    )


def _is_prepared(path: Path) -> bool:
    """Whether TFDS finished `path`; a format that needs TensorFlow is an error."""
    try:
        info = json.loads((path / "dataset_info.json").read_text())
    except (FileNotFoundError, NotADirectoryError):
        return False
    except ValueError as error:
        raise DataError(f"{path / 'dataset_info.json'} is damaged: remove {path}") from error
    if info.get("fileFormat") != "array_record":
        raise DataError(
            f"{path} is stored as {info.get('fileFormat', 'tfrecord')}, which needs TensorFlow: "
            f"prepare it with file_format='array_record' or set another --config.data.data_dir"
        )
    return True


def _write(name: str, version: str, features, examples: Examples, final: Path) -> None:
    """Writes a TFDS directory beside `final` and renames it, so that no half of one is seen."""
    print(f"preparing {name} (once) in {final}", flush=True)
    tfds = _tfds()

    # Unregistered, so that tfds.builder("mnist") stays the stock one.
    class Builder(tfds.core.GeneratorBasedBuilder, skip_registration=True):
        VERSION = tfds.core.Version(version)

        def _info(self):
            features_dict = tfds.features.FeaturesDict(features(tfds))
            return tfds.core.DatasetInfo(builder=self, features=features_dict)

        def _split_generators(self, dl_manager):
            return {split: self._generate_examples(e) for split, e in examples.items()}

        def _generate_examples(self, examples):
            # The stock builders' keys, which decide the order of the records.
            for key, example in enumerate(examples):
                yield key, {**example, "image": folder.encode_png(example["image"])}

    Builder.name = name
    data_dir = final.parent.parent
    data_dir.mkdir(parents=True, exist_ok=True)
    for left in (*data_dir.glob(".preparing-*"), *data_dir.glob(".download-*")):
        if time.time() - left.stat().st_mtime > STALE_SECONDS:  # by a run that was killed
            shutil.rmtree(left, ignore_errors=True)
    with tempfile.TemporaryDirectory(prefix=".preparing-", dir=data_dir) as temporary:
        config = tfds.download.DownloadConfig(try_download_gcs=False)
        with _quiet():
            builder = Builder(data_dir=temporary, file_format="array_record")
            builder.download_and_prepare(download_dir=temporary, download_config=config)
        final.parent.mkdir(exist_ok=True)
        try:
            os.rename(builder.data_dir, final)
        except OSError:
            if not _is_prepared(final):  # else another run was faster, with the same result
                raise


def _tfds():
    """Imported on first use: it takes a second, and many commands need no data."""
    import tensorflow_datasets as tfds

    return tfds


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """TFDS without its progress bars, its banner and its logging."""
    from absl import logging

    verbosity = logging.get_verbosity()
    logging.set_verbosity(logging.ERROR)
    _tfds().disable_progress_bar()
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        logging.set_verbosity(verbosity)


def _image(tfds, shape: tuple[int, int, int]) -> dict[str, Any]:
    return {"image": tfds.features.Image(shape=shape)}


def _grey_28(tfds) -> dict[str, Any]:
    return _image(tfds, (28, 28, 1))


def _labelled(shape: tuple[int, int, int], **classes) -> Callable[[Any], dict[str, Any]]:
    return lambda tfds: _image(tfds, shape) | {"label": tfds.features.ClassLabel(**classes)}


def _idx_examples(files: dict[str, bytes]) -> Examples:
    def examples(prefix):
        images = parsers.parse_idx(files[f"{prefix}-images-idx3-ubyte"])
        labels = parsers.parse_idx(files[f"{prefix}-labels-idx1-ubyte"])
        pairs = zip(images, labels, strict=True)
        return ({"image": image, "label": int(label)} for image, label in pairs)

    return {"train": examples("train"), "test": examples("t10k")}


def _cifar10_features(tfds) -> dict[str, Any]:
    return {"id": tfds.features.Text()} | _labelled((32, 32, 3), names=_OBJECTS)(tfds)


def _cifar10_examples(files: dict[str, bytes]) -> Examples:
    def examples(split, names):
        batches = [parsers.parse_cifar(files[name]) for name in names]
        images, labels = (np.concatenate(part) for part in zip(*batches, strict=True))
        for i, (image, label) in enumerate(zip(images, labels, strict=True)):
            yield {"id": f"{split}_{i:05d}", "image": image, "label": int(label)}

    train = [f"data_batch_{i}.bin" for i in range(1, 6)]
    return {"train": examples("train", train), "test": examples("test", ["test_batch.bin"])}


def _binarized_examples(files: dict[str, bytes]) -> Examples:
    splits = {"train": "train", "validation": "valid", "test": "test"}
    return {
        split: ({"image": i} for i in parsers.parse_amat(files[f"binarized_mnist_{part}.amat"]))
        for split, part in splits.items()
    }


def _omniglot_examples(files: dict[str, bytes]) -> Examples:
    """The splits of Burda's own code: shuffled with seed 123, the last 1,345 for validation."""
    images, test = parsers.parse_omniglot(files["chardata.mat"])
    order = np.random.RandomState(123).permutation(len(images))
    splits = {"train": images[order[:-1345]], "validation": images[order[-1345:]], "test": test}
    return {split: ({"image": i} for i in images) for split, images in splits.items()}


# fmt: off
_OBJECTS = [
    "airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck",
]
_CLOTHES = [
    "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat",
    "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
]
# fmt: on

DATASETS = {
    "mnist": Dataset("3.0.1", _labelled((28, 28, 1), num_classes=10), _idx_examples),
    "fashion_mnist": Dataset("3.0.1", _labelled((28, 28, 1), names=_CLOTHES), _idx_examples),
    "cifar10": Dataset("3.0.2", _cifar10_features, _cifar10_examples),
    "binarized_mnist": Dataset("1.0.0", _grey_28, _binarized_examples, white=1),
    "omniglot_28": Dataset("1.0.0", _grey_28, _omniglot_examples),
}

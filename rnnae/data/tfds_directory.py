"""TFDS directories: how they are written and read, without TensorFlow.

`write` writes a data set once, in the array_record format, with the records, the order and the
features that the TFDS builder of the same name would give. `open_split` reads such a directory, or
any other TFDS directory in that format. This is the only file that imports tensorflow_datasets.
"""

import contextlib
import io
import os
import re
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from rnnae import files
from rnnae.data import manifest
from rnnae.data.datasets import DATASETS, Dataset, Examples
from rnnae.data.images import Images, ReadOptions, check_shape, encode_png
from rnnae.errors import ConfigError, DataError, one_line

TEMPORARY = (".preparing-*", ".download-*")  # in data_dir, removed when they are old


def open_split(
    path: str | Path,
    split: str,
    *,
    shape: tuple[int, int, int] = (0, 0, 0),
    options: ReadOptions = ReadOptions(),  # noqa: B008
) -> Images:
    """The images of one split of the TFDS directory `path`; they stay on disk.

    Args:
        path: a directory that `prepare` returned.
        split: in the notation of TFDS, such as train, train[:50000] or train+validation.
        shape: H, W, C to resize images to that have no fixed shape; else (0, 0, 0).
        options: how to read images that have no fixed shape.

    Raises:
        ConfigError: `shape` is needed and not valid, or is not that of the stored images.
        DataError: the examples have no uint8 images, or the directory is damaged.
    """
    path = Path(path)
    check_features(path)
    builder = _builder(path)
    image = dict(builder.info.features).get("image")
    if not isinstance(image, _tfds().features.Image) or image.np_dtype != np.uint8:
        names = ", ".join(builder.info.features)
        raise DataError(
            f"{path} cannot be used: its examples need a feature called image with uint8 "
            f"images, and their features are {names}"
        )
    records = _records(builder, split)
    stored_shape = tuple(image.shape)
    if None in stored_shape:
        check_shape(builder.name, shape)
    elif any(shape) and tuple(shape) != stored_shape:
        raise ConfigError(
            f"--config.data.shape is {tuple(shape)}, but all images of {builder.name} have the "
            f"shape {stored_shape}: leave it at (0,0,0)"
        )
    dataset = DATASETS.get(builder.name)
    scale = 255 // dataset.white if dataset else 1
    return Images(
        path,
        records,
        stored_shape=stored_shape,
        shape=tuple(shape),
        scale=scale,
        options=options,
    )


def feature(path: Path, name: str) -> Any | None:
    """The TFDS feature `name` of the examples in the TFDS directory `path`; None if there is none.

    Raises DataError if the directory is damaged.
    """
    check_features(path)
    return dict(_builder(path).info.features).get(name)


def open_records(path: Path, split: str) -> Sequence[dict[str, Any]]:
    """The examples of one split of a TFDS directory, whose `image` is not decoded."""
    return _records(_builder(path), split)


def _records(builder, split: str) -> Sequence[dict[str, Any]]:
    """Images are decoded in `Images`: TFDS is slower, and uses OpenCV if it is installed."""
    with _quiet():
        decoders = {"image": _tfds().decode.SkipDecoding()}
        return builder.as_data_source(split=split, decoders=decoders)


_FEATURES = "features.json"
_OF_TFDS = re.compile(r"tensorflow_datasets\.core\.features\.\w+\.\w+")


def check_features(path: Path) -> None:
    """DataError unless all features of the TFDS directory `path` are TFDS's own classes.

    TFDS imports the module of each class that features.json names. The directory may come from
    somebody else, and so could run their code.
    """
    classes = set()

    def collect(pairs: list[tuple[str, Any]]) -> None:
        """Also sees a key that is there twice, and JSON in a string, which TFDS reads too."""
        for key, value in pairs:
            if key in ("pythonClassName", "python_class_name", "type"):  # type: of old versions
                classes.add(value if isinstance(value, str) else "")
            if isinstance(value, str) and value.lstrip()[:1] in ("{", "["):
                with contextlib.suppress(ValueError):  # it only looks like JSON
                    files.parse_json(value, object_pairs_hook=collect)

    try:
        text = (path / _FEATURES).read_text(encoding="utf-8")
        files.parse_json(text, object_pairs_hook=collect)
    except FileNotFoundError:
        return  # TFDS says so itself
    except (OSError, ValueError) as error:
        raise damaged(path, f"{_FEATURES}: {one_line(error)}") from error
    for name in sorted(classes):
        # Without a dot it is no class that could be imported, and TFDS refuses it.
        if "." in name and not _OF_TFDS.fullmatch(name):
            raise DataError(
                f"{path / _FEATURES} names the class {name!r}, which is not of TFDS: its code "
                "would be run; remove the directory, or prepare the data set again"
            )


def split_sizes(path: str | Path) -> dict[str, int]:
    """The number of examples in each split of a TFDS directory."""
    check_features(Path(path))
    info = _builder(Path(path)).info
    return {name: split.num_examples for name, split in info.splits.items()}


def _builder(path: Path):
    """The TFDS builder of a directory. DataError if its description cannot be understood."""
    try:
        with _quiet():
            return _tfds().builder_from_directory(path)
    except Exception as error:  # TFDS raises errors of many types
        raise damaged(path, one_line(error)) from error


def damaged(path: Path, reason: str) -> DataError:
    """The error for a prepared directory that cannot be prepared again."""
    return DataError(f"{path} is damaged ({reason}): remove this folder and prepare it again")


def is_prepared(path: Path) -> bool:
    """Whether there is a TFDS directory `path` in a format that is read without TensorFlow.

    Raises DataError for a directory that is damaged or has another format.
    """
    info = _read_info(path)
    if info is None:
        return False
    file_format = info.get("fileFormat", "tfrecord")
    if file_format != "array_record":
        raise DataError(
            f"{path} is stored as {file_format}, which needs TensorFlow: "
            f"prepare it with file_format='array_record' or set another --config.data.data_dir"
        )
    return True


def problem(path: Path) -> str:
    """What is wrong with the TFDS directory `path`, which has a manifest; "" if nothing is."""
    found = manifest.damage(path)
    if not found and (name := (_read_info(path) or {}).get("name")) != path.parent.name:
        found = f"it is a copy of the data set {name}"
    return found


def _read_info(path: Path) -> dict[str, Any] | None:
    """The content of dataset_info.json; None if it is not there, DataError if it is damaged."""
    try:
        info = files.read_json(path / "dataset_info.json")
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError) as error:
        raise damaged(path, f"dataset_info.json: {one_line(error)}") from error
    if not isinstance(info, dict):
        raise damaged(path, "dataset_info.json: it holds no object")
    return info


def features_of(dataset: Dataset) -> dict[str, Any]:
    """The TFDS features of an example."""
    tfds = _tfds()
    features = {"image": tfds.features.Image(shape=dataset.image_shape)}
    if dataset.has_id:
        features["id"] = tfds.features.Text()
    if isinstance(dataset.classes, int):
        features["label"] = tfds.features.ClassLabel(num_classes=dataset.classes)
    elif dataset.classes:
        features["label"] = tfds.features.ClassLabel(names=dataset.classes)
    return features


def image_features(
    shape: tuple[int, int, int], class_names: tuple[str, ...] = ()
) -> dict[str, Any]:
    """The TFDS features of an example that is an image of this shape, with a label if there are
    classes."""
    tfds = _tfds()
    label = {"label": tfds.features.ClassLabel(names=class_names)} if class_names else {}
    return {"image": tfds.features.Image(shape=shape)} | label


def write(
    final: Path,
    features: dict[str, Any],
    examples: Examples,
    about: dict[str, Any] | None = None,
) -> None:
    """Writes the TFDS directory `final`, which is <data_dir>/<name>/<version>, with a manifest.

    It is written beside its place and then renamed, so that it is complete wherever it is seen. A
    directory that is there already is replaced if it has a manifest and is damaged. `about` goes
    into the manifest; it is read when all examples have been written.
    """
    data_dir, name, version = final.parent.parent, final.parent.name, final.name
    print(f"preparing {name} (once) in {final}", flush=True)
    tfds = _tfds()

    # Not registered, so that tfds.builder("mnist") remains TFDS's own builder.
    class Builder(tfds.core.GeneratorBasedBuilder, skip_registration=True):
        VERSION = tfds.core.Version(version)

        def _info(self):
            features_dict = tfds.features.FeaturesDict(features)
            return tfds.core.DatasetInfo(builder=self, features=features_dict)

        def _split_generators(self, dl_manager):
            return {split: self._generate_examples(e) for split, e in examples.items()}

        def _generate_examples(self, examples):
            # TFDS orders the records by a hash of their keys. Its own builders use the same keys.
            for key, example in enumerate(examples):
                if key % 1000 == 0:
                    os.utime(temporary)  # so that no other run takes it for one that was left
                yield key, {**example, "image": encode_png(example["image"])}

    Builder.name = name
    data_dir.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".preparing-", dir=data_dir) as temporary:
        config = tfds.download.DownloadConfig(try_download_gcs=False)
        with _quiet(), files.report_full_disk(data_dir):
            builder = Builder(data_dir=temporary, file_format="array_record")
            builder.download_and_prepare(download_dir=temporary, download_config=config)
        manifest.write(Path(builder.data_dir), about)
        final.parent.mkdir(exist_ok=True)
        if manifest.exists(final) and problem(final):
            with contextlib.suppress(FileNotFoundError):  # another run has been quicker
                os.rename(final, Path(temporary, "damaged"))
        try:
            os.rename(builder.data_dir, final)
        except OSError:
            # If another run has finished first, its directory has the same content.
            if not is_prepared(final):
                raise


def _tfds():
    """The tensorflow_datasets module. Its import takes a second, and many commands need no data."""
    import tensorflow_datasets as tfds

    return tfds


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Turns off the progress bars, the banner and the log messages of TFDS."""
    from absl import logging

    verbosity = logging.get_verbosity()
    logging.set_verbosity(logging.ERROR)
    _tfds().disable_progress_bar()
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        logging.set_verbosity(verbosity)

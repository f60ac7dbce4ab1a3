"""TFDS directories: how data sets are prepared and read, without TensorFlow.

`prepare` writes a data set once, in the array_record format, with the records, the order and the
features that the TFDS builder of the same name would give. `open_split` reads such a directory, or
any other TFDS directory in that format. This is the only file that imports tensorflow_datasets.
"""

import contextlib
import io
import json
import os
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from rnnae import files
from rnnae.data import folder, sources
from rnnae.data.datasets import DATASETS, Dataset, Examples
from rnnae.data.images import Images, check_shape, encode_png, read_image
from rnnae.errors import ConfigError, DataError, choose


def prepare(
    name: str,
    *,
    data_dir: str | Path,
    source_dir: str = "",
    shape: tuple[int, int, int] = (0, 0, 0),
    seed: int = 0,
) -> Path:
    """The TFDS directory of the data set `name`, which is written first if there is none.

    Args:
        name: a key of DATASETS; or `folder` for the image files in `source_dir`; or the name of a
            TFDS data set that another program prepared in `data_dir`.
        data_dir: the folder of all TFDS directories.
        source_dir: a folder with the published files, or with the images of `folder`.
        shape: H, W, C to resize the images of `folder` to; not used for other data sets.
        seed: of the random split of `folder`; not used for other data sets.

    Raises:
        ConfigError: `name` is unknown, or `folder` has no valid shape.
        DataError: files are missing, damaged or not what they should be.
    """
    data_dir = Path(data_dir).expanduser()
    if name == "folder":
        return _prepare_folder(data_dir, source_dir, tuple(shape), seed)
    if name not in DATASETS:
        return _find_prepared(name, data_dir)
    dataset = DATASETS[name]
    final = data_dir / name / dataset.version
    if not _is_prepared(final):
        files = sources.fetch_files(name, dataset.source, source_dir=source_dir, work_dir=data_dir)
        _write(final, _features(dataset), dataset.examples(files))
    return final


def open_split(path: str | Path, split: str, *, shape: tuple[int, int, int] = (0, 0, 0)) -> Images:
    """The images of one split of the TFDS directory `path`; they stay on disk.

    Args:
        path: a directory that `prepare` returned.
        split: in the notation of TFDS, such as train, train[:50000] or train+validation.
        shape: H, W, C to resize images to that have no fixed shape; else (0, 0, 0).

    Raises:
        ConfigError: `shape` is needed and not valid, or is not that of the stored images.
        DataError: the examples have no uint8 images.
    """
    path = Path(path)
    check_features(path)
    tfds = _tfds()
    with _quiet():
        builder = tfds.builder_from_directory(path)
        feature = dict(builder.info.features).get("image")
        if not isinstance(feature, tfds.features.Image) or feature.np_dtype != np.uint8:
            names = ", ".join(builder.info.features)
            raise DataError(
                f"{path} cannot be used: its examples need a feature called image with uint8 "
                f"images, and their features are {names}"
            )
        # Images are decoded in `Images`: TFDS is slower, and uses OpenCV if it is installed.
        decoders = {"image": tfds.decode.SkipDecoding()}
        records = builder.as_data_source(split=split, decoders=decoders)
    stored_shape = tuple(feature.shape)
    if None in stored_shape:
        check_shape(builder.name, shape)
    elif any(shape) and tuple(shape) != stored_shape:
        raise ConfigError(
            f"--config.data.shape is {tuple(shape)}, but all images of {builder.name} have the "
            f"shape {stored_shape}: leave it at (0,0,0)"
        )
    dataset = DATASETS.get(builder.name)
    scale = 255 // dataset.white if dataset else 1
    return Images(path, records, stored_shape=stored_shape, shape=tuple(shape), scale=scale)


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
                    json.loads(value, object_pairs_hook=collect)

    try:
        text = (path / _FEATURES).read_text(encoding="utf-8")
        json.loads(text, object_pairs_hook=collect)
    except FileNotFoundError:
        return  # TFDS says so itself
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path / _FEATURES} is damaged: remove {path}") from error
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
    with _quiet():
        info = _tfds().builder_from_directory(path).info
    return {name: split.num_examples for name, split in info.splits.items()}


def _prepare_folder(
    data_dir: Path, source_dir: str, shape: tuple[int, int, int], seed: int
) -> Path:
    check_shape("a folder", shape)
    paths = folder.find_images(source_dir)
    splits = folder.split(paths, seed)  # too few images raise before anything is written
    final = data_dir / f"folder_{folder.fingerprint(paths, shape, seed)}" / "1.0.0"
    if not _is_prepared(final):
        examples = {
            split: ({"image": read_image(file, shape)} for file in files)
            for split, files in splits.items()
        }
        _write(final, {"image": _tfds().features.Image(shape=shape)}, examples)
    return final


def _find_prepared(name: str, data_dir: Path) -> Path:
    """The newest version of a TFDS directory called `name` (or name/config) in `data_dir`."""
    infos = []
    if name and not Path(name).is_absolute() and ".." not in Path(name).parts:
        for pattern in ("*", "*/*"):  # version, or config and version
            infos += (data_dir / name).glob(f"{pattern}/dataset_info.json")
    prepared = [info.parent for info in infos if _is_prepared(info.parent)]
    if prepared:
        return max(prepared, key=lambda p: [int(s) for s in p.name.split(".") if s.isdecimal()])
    try:
        return choose(dict.fromkeys([*DATASETS, "folder"]), "--config.data.name", name)
    except ConfigError as error:
        raise ConfigError(
            f"{error}; a TFDS data set that is prepared as array_record in {data_dir} can also be "
            f"used by its name"
        ) from None


def _is_prepared(path: Path) -> bool:
    """Whether TFDS has completely written `path`.

    Raises DataError for a directory that is damaged or has a format that needs TensorFlow.
    """
    try:
        info = json.loads((path / "dataset_info.json").read_text(encoding="utf-8"))
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


def _features(dataset: Dataset) -> dict[str, Any]:
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


def _write(final: Path, features: dict[str, Any], examples: Examples) -> None:
    """Writes the TFDS directory `final`, which is <data_dir>/<name>/<version>.

    It is written beside its place and then renamed, so that it is complete wherever it is seen.
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
                yield key, {**example, "image": encode_png(example["image"])}

    Builder.name = name
    data_dir.mkdir(parents=True, exist_ok=True)
    files.remove_stale(data_dir, ".preparing-*", ".download-*")
    with tempfile.TemporaryDirectory(prefix=".preparing-", dir=data_dir) as temporary:
        config = tfds.download.DownloadConfig(try_download_gcs=False)
        with _quiet():
            builder = Builder(data_dir=temporary, file_format="array_record")
            builder.download_and_prepare(download_dir=temporary, download_config=config)
        final.parent.mkdir(exist_ok=True)
        try:
            os.rename(builder.data_dir, final)
        except OSError:
            # If another run has finished first, its directory has the same content.
            if not _is_prepared(final):
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

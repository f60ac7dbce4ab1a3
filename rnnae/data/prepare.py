"""`prepare`: published files, or a folder of images, become a TFDS directory at the first use."""

import contextlib
from collections.abc import Callable
from pathlib import Path

from rnnae import files
from rnnae.data import folder, manifest, sources, tfds_directory, walk
from rnnae.data.datasets import DATASETS
from rnnae.data.images import ReadOptions, check_background, check_shape
from rnnae.errors import ConfigError, choose

_COPIES = 5  # prepared folders that a line names, the largest first


def prepare(
    name: str,
    *,
    data_dir: str | Path,
    source_dir: str = "",
    shape: tuple[int, int, int] = (0, 0, 0),
    split_seed: int = 0,
    options: ReadOptions = ReadOptions(),  # noqa: B008
    skip_bad_images: bool = False,
    log: Callable[[str], None] = lambda line: None,
) -> Path:
    """The TFDS directory of the data set `name`, which is written first if there is none.

    A directory that is damaged is written again.

    Args:
        name: a key of DATASETS; or `folder` for the image files in `source_dir`; or the name of a
            TFDS data set that another program prepared in `data_dir`.
        data_dir: the folder of all TFDS directories.
        source_dir: a folder with the published files, or with the images of `folder`.
        shape: H, W, C to resize the images of `folder` to. This argument and the next three are not
            used for other data sets.
        split_seed: of the random split of `folder`.
        options: how images are read.
        skip_bad_images: leave out images that cannot be used. Else they are an error.
        log: gets lines about which images of `folder` are used, and which are not and why.

    Raises:
        ConfigError: `name` is unknown, or `folder` has no valid shape.
        DataError: files are missing, damaged or not what they should be.
    """
    data_dir = Path(data_dir).expanduser()
    check_background(options.background)
    files.remove_stale(data_dir, *tfds_directory.TEMPORARY)
    if name == "folder":
        return _prepare_folder(
            data_dir, source_dir, tuple(shape), split_seed, options, skip_bad_images, log
        )
    if name not in DATASETS:
        return _find_prepared(name, data_dir)
    dataset = DATASETS[name]
    final = data_dir / name / dataset.version
    if not _is_intact(final):
        content = sources.fetch_files(
            name, dataset.source, source_dir=source_dir, work_dir=data_dir
        )
        features = tfds_directory.features_of(dataset)
        tfds_directory.write(final, features, dataset.examples(content))
    return final


def _prepare_folder(
    data_dir: Path,
    source_dir: str,
    shape: tuple[int, int, int],
    split_seed: int,
    options: ReadOptions,
    skip_bad_images: bool,
    log: Callable[[str], None],
) -> Path:
    check_shape("a folder", shape)
    images = folder.find(source_dir, split_seed)  # too few raise before anything is written
    for line in folder.describe(images, split_seed):
        log(line)
    place = images.found.root.resolve()
    content = folder.content(images, data_dir / folder.memory_name(place))
    fingerprint = folder.fingerprint(images, content, shape, options)
    final = data_dir / f"folder_{fingerprint}" / "1.0.0"
    if not _is_intact(final):
        if line := _older_copies(data_dir, final):
            log(line)
        examples, bad = folder.read_splits(images, content, shape, options, skip_bad_images)
        features = tfds_directory.image_features(shape, images.classes.names)
        about = {"source_dir": walk.shown(place), "bad_images": bad}
        tfds_directory.write(final, features, examples, about)
    bad = manifest.about(final).get("bad_images", [])
    if bad and not skip_bad_images:
        raise folder.refusal(bad)
    if bad:
        log(f"left out, cannot be used ({len(bad):,}): {'; '.join(bad[: folder.BAD_IMAGES])}")
    return final


def _older_copies(data_dir: Path, final: Path) -> str:
    """A line about folders that were prepared before, with their sizes; "" if there are none.
    `final` is not one of them: if it is there, it is damaged and prepared again."""
    copies = []
    for info in data_dir.glob("folder_*/*/dataset_info.json"):
        if info.parent == final:
            continue
        whole = info.parent.parent
        size = sum(file.stat().st_size for file in whole.rglob("*") if file.is_file())
        source = manifest.about(info.parent).get("source_dir", "a folder")
        copies.append((size, f"{whole} ({size / 1e6:,.1f} MB, from {source})"))
    copies.sort(reverse=True)
    names = ", ".join(name for _, name in copies[:_COPIES])
    total = sum(size for size, _ in copies)
    more = f" and {len(copies) - _COPIES} more" if len(copies) > _COPIES else ""
    return (
        f"folders prepared before, {total / 1e6:,.1f} MB in all: {names}{more}; remove those that "
        f"no run needs"
        if copies
        else ""
    )


def _is_intact(path: Path) -> bool:
    """Whether a directory of this program is there and intact. Says if it is damaged.

    Raises DataError for a damaged directory without a manifest, which another program may have
    written: it is not replaced.
    """
    if manifest.exists(path):
        problem = tfds_directory.problem(path)
        if problem:
            print(f"{path} is damaged ({problem}): it is prepared again", flush=True)
        return not problem
    if tfds_directory.is_prepared(path):
        with contextlib.suppress(OSError):  # an older version of this program wrote no manifest
            manifest.write(path)
        return True
    if path.is_dir() and any(path.iterdir()):
        raise tfds_directory.damaged(path, "it has no dataset_info.json")
    return False


def _find_prepared(name: str, data_dir: Path) -> Path:
    """The newest version of a TFDS directory called `name` (or name/config) in `data_dir`."""
    infos = []
    if name and not Path(name).is_absolute() and ".." not in Path(name).parts:
        for pattern in ("*", "*/*"):  # version, or config and version
            infos += (data_dir / name).glob(f"{pattern}/dataset_info.json")
    prepared = [info.parent for info in infos if tfds_directory.is_prepared(info.parent)]
    if prepared:
        newest = max(prepared, key=_version)
        if manifest.exists(newest) and (problem := manifest.damage(newest)):
            raise tfds_directory.damaged(newest, problem)
        return newest
    try:
        return choose(dict.fromkeys([*DATASETS, "folder"]), "--config.data.name", name)
    except ConfigError as error:
        raise ConfigError(
            f"{error}; a TFDS data set that is prepared as array_record in {data_dir} can also be "
            f"used by its name"
        ) from None


def _version(path: Path) -> list[int]:
    return [int(part) for part in path.name.split(".") if part.isdecimal()]

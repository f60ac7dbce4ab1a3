"""A user's own folder of images: how its files are split, and which of them cannot be used.

A folder that has subfolders called train and test (or val) has these splits. Any other folder is
split at random. Subfolders of a split are classes, see `class_folders`.
"""

import collections
import hashlib
import io
import itertools
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from rnnae import digests
from rnnae.data import class_folders, walk
from rnnae.data.images import ReadOptions, read_image
from rnnae.errors import DataError

SPLITS = ("train", "validation", "test")
# Subfolders that are splits, in any mixture of upper and lower case.
SPLIT_FOLDERS = {
    "train": "train",
    "training": "train",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
    "test": "test",
    "testing": "test",
}
OUTSIDE = "images outside of the split folders"
BAD_IMAGES = 10  # the most that an error names
_FOLDERS = 8  # the most that a report names


class Folder(NamedTuple):
    """The images of a folder.

    Attributes:
        found: all image files, and what was left out.
        splits: name -> image files. Without a validation split, it is cut off the training split
            later, as for any data set.
        at_random: whether the split is a random one, not one of subfolders.
        classes: the classes of the images in `splits`.
    """

    found: walk.Found
    splits: dict[str, list[Path]]
    at_random: bool
    classes: class_folders.Classes


def find(source_dir: str, seed: int = 0) -> Folder:
    """Every image in `source_dir` and its subfolders, split by subfolders or else by `seed`.

    Raises DataError if there are no or too few images, or no such folder.
    """
    if not source_dir:
        raise DataError(
            "--config.data.name=folder needs --config.data.source_dir: the folder of your images"
        )
    root = Path(source_dir).expanduser()
    if not root.is_dir():
        raise DataError(
            f"--config.data.source_dir={source_dir} is not a folder: give the folder of your images"
        )
    found = walk.find(root)
    if not found.images:
        left_out = walk.describe(found)
        raise DataError(
            f"no image in {source_dir} or its subfolders: files are found by their ending, which "
            f"may be {', '.join(walk.SUFFIXES)}" + (f" (left out: {left_out})" if left_out else "")
        )
    folders = {path: path.relative_to(root).parts[:-1] for path in found.images}
    depths = _depths_of_split_folders(folders)
    below = {path: parts[depths.get(path, -1) + 1 :] for path, parts in folders.items()}
    subfolders = {path: parts[0] if parts else "" for path, parts in below.items()}
    if not depths:
        splits = split_at_random(found.images, seed)
        return Folder(found, splits, True, class_folders.find(splits, subfolders))
    paths_of = collections.defaultdict(list)
    for path, depth in depths.items():
        paths_of[SPLIT_FOLDERS[folders[path][depth].lower()]].append(path)
    splits = {name: paths_of[name] for name in SPLITS if name in paths_of}
    used = set(itertools.chain(*splits.values()))
    outside = [path.relative_to(root).as_posix() for path in found.images if path not in used]
    if outside:
        found = found._replace(left_out=found.left_out | {OUTSIDE: outside})
    if len(splits) < len(SPLITS) and len(splits["train"]) < 2:
        raise DataError(f"{source_dir} has only one training image: at least 2 are needed")
    return Folder(found, splits, False, class_folders.find(splits, subfolders))


def split_at_random(paths: list[Path], seed: int) -> dict[str, list[Path]]:
    """A random split into 80% train, 10% validation and 10% test, the same for the same seed.

    Raises DataError for fewer than 10 images.
    """
    n = len(paths)
    if n < 10:
        raise DataError(
            f"there are only {n} images, but at least 10 are needed: a tenth each is held out for "
            f"validation and test"
        )
    held_out = n // 10
    order = np.random.Generator(np.random.Philox(key=[seed, n])).permutation(n)
    parts = np.split(order, [n - 2 * held_out, n - held_out])
    return {name: [paths[i] for i in part] for name, part in zip(SPLITS, parts, strict=True)}


def _depths_of_split_folders(folders: dict[Path, tuple[str, ...]]) -> dict[Path, int]:
    """The depth of the folder called train, val or test that an image is in, for those in one.

    `folders` has the parts of each image's folder. Folders of these names count if one for training
    and another one stand side by side, at any depth.
    """
    beside: dict[tuple[str, ...], set[str]] = collections.defaultdict(set)
    for parts in set(folders.values()):
        for depth, part in enumerate(parts):
            if split := SPLIT_FOLDERS.get(part.lower()):
                beside[parts[:depth]].add(split)
    where = {above for above, names in beside.items() if "train" in names and len(names) > 1}
    depths = {}
    for path, parts in folders.items():
        for depth, part in enumerate(parts):
            if parts[:depth] in where and part.lower() in SPLIT_FOLDERS:
                depths[path] = depth
                break
    return depths


def describe(folder: Folder, seed: int) -> list[str]:
    """Lines that say how many images of which folders are used, their classes, and what was left
    out."""
    root = folder.found.root
    if folder.at_random:
        how = f"split at random by config.data.split_seed={seed}"
        groups = {"": folder.found.images}
    else:
        how, groups = "split by their folders", folder.splits
    parts = []
    for split, paths in groups.items():
        counts = collections.Counter(_top(path, root, folder.at_random) for path in paths)
        names = [f"{walk.shown(name)} ({count:,})" for name, count in sorted(counts.items())]
        more = f" and {len(names) - _FOLDERS} more folders" if len(names) > _FOLDERS else ""
        parts.append(f"{split} " * bool(split) + f"from {', '.join(names[:_FOLDERS])}{more}")
    number = sum(map(len, folder.splits.values()))
    lines = [f"{number:,} images in {walk.shown(root)}, {how}: {'; '.join(parts)}"]
    lines += class_folders.describe(folder.classes)
    if folder.found.links:
        lines.append(f"links to folders that are followed: {walk.listed(folder.found.links)}")
    if left_out := walk.describe(folder.found):
        lines.append(f"left out of {walk.shown(root)}: {left_out}")
    return lines


def _top(path: Path, root: Path, first_only: bool) -> str:
    """The folder of an image relative to `root`: its first part, or down to the split folder."""
    parts = path.relative_to(root).parts[:-1]
    if not first_only:
        depth = next(i for i, part in enumerate(parts) if part.lower() in SPLIT_FOLDERS)
        parts = parts[: depth + 1]
    return "/".join(parts[:1] if first_only else parts) or "."


def memory_name(root: Path) -> str:
    """The name of the file that remembers the digests of the images in `root`, an absolute path."""
    return f".digests-{hashlib.sha256(os.fsencode(root)).hexdigest()[:16]}.json"


def content(folder: Folder, memory: Path) -> dict[Path, str]:
    """The digest of every image that is used; see `digests.of_files` for `memory`."""
    paths = list(itertools.chain(*folder.splits.values()))
    return dict(zip(paths, digests.of_files(paths, memory), strict=True))


def fingerprint(
    folder: Folder, content: dict[Path, str], shape: tuple[int, int, int], options: ReadOptions
) -> str:
    """16 hexadecimal digits that identify the images that are prepared from a folder.

    They change with the content of a file and its place in the splits, with its class and the names
    of the classes, with the shape that images are resized to and with how they are read. Other
    names, dates and the place of the folder do not matter.
    """
    splits = [(name, [content[path] for path in paths]) for name, paths in folder.splits.items()]
    text = repr((splits, tuple(shape), tuple(options)))
    if folder.classes.names:  # else as in versions that knew no classes
        labels = [[folder.classes.label_of[path] for path in p] for p in folder.splits.values()]
        text += repr((folder.classes.names, labels))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def read_splits(
    folder: Folder,
    content: dict[Path, str],
    shape: tuple[int, int, int],
    options: ReadOptions,
    skip_bad: bool,
) -> tuple[dict[str, Iterator[dict[str, Any]]], list[str]]:
    """(the examples of each split, what is wrong with each bad image).

    The second one is filled while the examples are read. The iterators raise a DataError that names
    the first ten bad images, unless `skip_bad`.
    """
    bad: list[str] = []
    order = list(itertools.chain(*folder.splits.values()))
    label_of = folder.classes.label_of

    def read(path: Path) -> np.ndarray:
        return read_file(path, content[path], shape, options)

    def examples(split: str, paths: list[Path]) -> Iterator[dict[str, Any]]:
        good = 0
        for path in paths:
            try:
                image = read(path)
            except DataError as error:
                bad.append(str(error))
                if not skip_bad:
                    rest = itertools.islice(order, order.index(path) + 1, None)
                    raise refusal(sorted([*bad, *_bad_images(rest, read)])) from error
                continue
            good += 1
            yield {"image": image} | ({"label": label_of[path]} if label_of else {})
        if not good:
            raise DataError(f"no image of the {split} split can be used; the first: {bad[-1]}")

    return {split: examples(split, paths) for split, paths in folder.splits.items()}, bad


def _bad_images(paths: Iterator[Path], read: Callable[[Path], np.ndarray]) -> list[str]:
    """What is wrong with each bad image, until an error has enough of them to name."""
    bad: list[str] = []
    for path in paths:
        if len(bad) + 1 >= BAD_IMAGES:
            break
        try:
            read(path)
        except DataError as error:
            bad.append(str(error))
    return bad


def read_file(
    path: Path, digest: str, shape: tuple[int, int, int], options: ReadOptions
) -> np.ndarray:
    """`images.read_image` of a file that has this digest; DataError if it cannot be read."""
    try:
        encoded = path.read_bytes()
    except OSError as error:  # for example a link to a file that does not exist
        raise DataError(f"{path} cannot be read ({error.strerror}): remove it") from error
    if hashlib.sha256(encoded).hexdigest() != digest:
        raise DataError(f"{path} has changed since the start of this run: start it again")
    return read_image(io.BytesIO(encoded), shape, options, name=str(path))


def refusal(bad: list[str]) -> DataError:
    """The error for bad images, of which there is at least one."""
    if len(bad) == 1:
        number = "1 image"
    else:
        number = f"{'at least ' * (len(bad) >= BAD_IMAGES)}{len(bad):,} images"
    return DataError(
        f"{number} cannot be used: {'; '.join(walk.shown(text) for text in bad[:BAD_IMAGES])}; "
        f"--config.data.skip_bad_images=True leaves out such images"
    )

"""Which files of a folder are images, and what is left out and why.

Links to folders are followed. Nothing is left out silently: `find` returns every hidden folder, run
of rnnae, prepared data set, pipe and so on that it passed by, and `describe` puts them in words.
"""

import collections
import os
import stat
from pathlib import Path
from typing import NamedTuple

from rnnae import files

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp")

# Why something is left out, in the words that are printed.
HIDDEN_FOLDERS = "hidden folders"
HIDDEN_FILES = "hidden files"
RUNS = "runs of rnnae"
PREPARED = "prepared data sets"
UNREADABLE = "folders that cannot be read"
USED_ALREADY = "other names of folders that are used already"
LOOPS = "links to a folder that contains this one"
SPECIAL = "pipes, sockets and devices"
OTHER_ENDINGS = "files with other endings"

_OF_A_RUN = (files.CHECKPOINTS, files.FIGURES, files.SAMPLES, files.TENSORBOARD)
_NAMES = 3  # of each kind, as many are named


class Found(NamedTuple):
    """Image files below `root`, and what else is there.

    Attributes:
        root: the folder.
        images: paths below `root`, sorted. A link that leads nowhere is among them.
        links: links to folders that were followed, relative to `root`, sorted.
        left_out: reason -> paths relative to `root`, sorted.
    """

    root: Path
    images: list[Path]
    links: list[str]
    left_out: dict[str, list[str]]


def find(root: Path) -> Found:
    """Every image file below `root`. OSError if `root` itself cannot be read."""
    images: list[Path] = []
    followed: list[str] = []
    left_out: dict[str, list[str]] = collections.defaultdict(list)
    above = {_identity(folder) for folder in (root.resolve(), *root.resolve().parents)}
    seen: set[tuple[int, int]] = set()
    folders, links = [root], []
    while folders or links:
        # Links come last, so that a folder below `root` is found by its own name.
        is_link = not folders
        top = links.pop(0) if is_link else folders.pop()
        reason = _why_left_out(top, root, is_link, seen, above)
        if reason:
            left_out[reason].append(_relative(top, root))
            continue
        try:
            seen.add(_identity(top))
            names = sorted(os.listdir(top))
        except OSError:
            if top == root:
                raise
            left_out[UNREADABLE].append(_relative(top, root))
            continue
        if is_link:
            followed.append(_relative(top, root))
        run = top == root and _is_run(top)
        for name in names:
            if run and name in _OF_A_RUN:
                left_out[RUNS].append(name)
                continue
            path = top / name
            kind = _kind(path)
            if kind == "folder":
                (links if path.is_symlink() else folders).append(path)
            elif kind == "image":
                images.append(path)
            elif kind:
                left_out[kind].append(_relative(path, root))
        links.sort()
    left_out = {why: sorted(paths) for why, paths in left_out.items()}
    return Found(root, sorted(images), sorted(followed), left_out)


def describe(found: Found) -> str:
    """One line that names what was left out; "" if nothing was."""
    parts = []
    for why, paths in sorted(found.left_out.items()):
        names = paths
        if why == OTHER_ENDINGS:
            endings = collections.Counter(Path(path).suffix or "none" for path in paths)
            names = [f"{ending} ({n})" for ending, n in endings.most_common()]
        parts.append(f"{why}: {listed(names)}")
    return "; ".join(parts)


def listed(names: list[str]) -> str:
    """The first names, and how many more there are."""
    more = f" and {len(names) - _NAMES} more" if len(names) > _NAMES else ""
    return f"{', '.join(map(shown, names[:_NAMES]))}{more}"


def shown(path: str | Path) -> str:
    """A path as it can be printed on one line, whatever its bytes are."""
    return " ".join(str(path).encode("utf-8", "replace").decode().split())


def _why_left_out(
    folder: Path,
    root: Path,
    is_link: bool,
    seen: set[tuple[int, int]],
    above: set[tuple[int, int]],
) -> str | None:
    """Why nothing below `folder` is used; None if it is used."""
    if folder == root:
        return None
    if is_link and _identity(folder) in above:
        return LOOPS
    if _identity(folder) in seen:
        return USED_ALREADY
    if folder.name.startswith("."):
        return HIDDEN_FOLDERS
    if _is_run(folder):
        return RUNS
    return PREPARED if _exists(folder / "dataset_info.json") else None


def _is_run(folder: Path) -> bool:
    records = (files.CHECKPOINTS, files.STARTS, files.METRICS)
    return _exists(folder / files.CONFIG) and any(_exists(folder / name) for name in records)


def _exists(path: Path) -> bool:
    return os.path.lexists(path)


def _kind(path: Path) -> str | None:
    """folder, image, or why a file is left out; None for a file that is not worth a word."""
    is_image = path.suffix.lower() in SUFFIXES
    try:
        mode = path.stat().st_mode
    except OSError:  # a link that leads nowhere
        return "image" if is_image and path.name[0] != "." else None
    if stat.S_ISDIR(mode):
        return "folder"
    if path.name[0] == ".":
        return HIDDEN_FILES if is_image else None
    if not is_image:
        return OTHER_ENDINGS
    return "image" if stat.S_ISREG(mode) else SPECIAL


def _identity(path: Path) -> tuple[int, int]:
    """Device and inode: the same for all names of a folder."""
    status = path.stat()
    return status.st_dev, status.st_ino


def _relative(path: Path, root: Path) -> str:
    return path.relative_to(root).as_posix()

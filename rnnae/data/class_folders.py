"""Subfolders as the classes of a user's images, as in torchvision's ImageFolder.

There are classes if every image lies in a subfolder of its split, and there are at least two such
subfolders. The first part of an image's path below its split is its class.
"""

import collections
from pathlib import Path
from typing import NamedTuple

from rnnae.data import walk

_NAMES = 8  # the most classes that a line names


class Classes(NamedTuple):
    """The classes of the images of a folder.

    Attributes:
        names: the names of the classes, sorted; () if there are none.
        label_of: image file -> its label; {} if there are no classes.
        why_none: why subfolders are no classes; "" if there are classes, or no two subfolders.
    """

    names: tuple[str, ...] = ()
    label_of: dict[Path, int] = {}
    why_none: str = ""


def find(splits: dict[str, list[Path]], subfolders: dict[Path, str]) -> Classes:
    """The classes of the images in `splits`.

    A class that the training split lacks would never be learned: then there are no classes.

    Args:
        splits: name -> image files.
        subfolders: image file -> the first part of its path below its split, "" if there is none.
    """
    used = [path for paths in splits.values() for path in paths]
    folders = sorted({subfolders[path] for path in used} - {""})
    if len(folders) < 2:
        return Classes()
    outside = [path for path in used if not subfolders[path]]
    if outside:
        return Classes(
            why_none=f"{len(outside):,} of {len(used):,} images are in no subfolder of their "
            f"split, such as {walk.shown(outside[0].name)}"
        )
    names = tuple(map(walk.shown, folders))
    if len(set(names) - {""}) < len(names):  # differences that are not printable are lost
        return Classes(why_none="the names of two subfolders print alike, or one prints as nothing")
    lacking = sorted(set(folders) - {subfolders[path] for path in splits["train"]})
    if lacking:
        return Classes(why_none=f"the training split has no image of {walk.listed(lacking)}")
    label = {name: index for index, name in enumerate(folders)}
    return Classes(names, {path: label[subfolders[path]] for path in used})


def describe(classes: Classes) -> list[str]:
    """A line with the number of images of each class, or why there are no classes; [] if there is
    nothing to say."""
    if classes.why_none:
        return [f"no classes: {classes.why_none}"]
    if not classes.names:
        return []
    counts = collections.Counter(classes.label_of.values())
    names = [f"{name} ({counts[label]:,})" for label, name in enumerate(classes.names)]
    more = f" and {len(names) - _NAMES} more classes" if len(names) > _NAMES else ""
    return [f"classes: {', '.join(names[:_NAMES])}{more}"]

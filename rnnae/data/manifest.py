"""The manifest of a prepared directory: digests of its files, to find out whether one is damaged.

A file is read again only if it is small or if its size or modification time has changed. So opening
a large directory takes no time.
"""

import contextlib
import json
from pathlib import Path
from typing import Any

from rnnae import digests, files

NAME = "rnnae_manifest.json"
_SMALL = 1 << 20  # bytes; smaller files are always read


def write(directory: Path, about: dict[str, Any] | None = None) -> None:
    """Writes the manifest of all files in `directory`, with `about` as a further content."""
    content = {
        "about": about or {},
        "files": {
            path.name: [*_state(path), digests.of_file(path)]
            for path in sorted(directory.iterdir())
            if path.is_file() and path.name != NAME and not path.name.startswith(".")
        },
    }
    text = json.dumps(content | {"sha256": digests.of_json(content)}, indent=1)
    files.replace_text(directory / NAME, text)


def exists(directory: Path) -> bool:
    """Whether there is a manifest. Other programs, and old versions of this one, write none."""
    return (directory / NAME).exists()


def about(directory: Path) -> dict[str, Any]:
    """What `write` was told about the directory; {} if there is no valid manifest."""
    content = _read(directory)
    return content["about"] if content else {}


def damage(directory: Path) -> str:
    """What is wrong with a directory that has a manifest, such as "features.json has changed"; ""
    if nothing is.

    If only times have changed, as in a copy, they are written down for the next time.
    """
    content = _read(directory)
    if content is None:
        return f"{NAME} is damaged"
    copied = False
    for name, (size, mtime_ns, digest) in content["files"].items():
        path = directory / name
        try:
            same = _state(path) == [size, mtime_ns]
            if same and size >= _SMALL:
                continue
            if digests.of_file(path) != digest:
                return f"{name} has changed"
            copied |= not same
        except FileNotFoundError:
            return f"{name} is missing"
        except OSError as error:
            return f"{name} cannot be read: {error.strerror}"
    if copied:
        with contextlib.suppress(OSError):
            write(directory, content["about"])
    return ""


def _read(directory: Path) -> dict[str, Any] | None:
    """The content of the manifest without its own digest; None if it is damaged or not there."""
    try:
        content = files.read_json(directory / NAME)
        digest = content.pop("sha256")
        return content if digest == digests.of_json(content) else None
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        return None


def _state(path: Path) -> list[int]:
    status = path.stat()
    return [status.st_size, status.st_mtime_ns]

"""SHA-256 digests of files and of JSON, and a file that remembers them, so that a second start is
quick."""

import contextlib
import hashlib
import json
from collections.abc import Iterable
from pathlib import Path

from rnnae import files

UNREADABLE = "unreadable"  # instead of the digest of a file that cannot be read
_Entry = list[int | str]  # size, times of modification and of status change in ns, digest


def of_file(path: Path) -> str:
    """Hexadecimal SHA-256 of a file's content. OSError also for a pipe or a device."""
    files.refuse_special(path)
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def of_json(value: object) -> str:
    """Hexadecimal SHA-256 of a JSON value, independent of the order of its keys."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def of_files(paths: Iterable[Path], memory: Path) -> list[str]:
    """The digest of each file, or UNREADABLE.

    Digests that the file `memory` has are used again where the path, size and times are the same.
    A memory that is damaged is not used. If it cannot be written, the next call takes longer.
    """
    known, found = _recall(memory), {}
    for path in paths:
        try:
            status = path.stat()
            state = [status.st_size, status.st_mtime_ns, status.st_ctime_ns]
            entry = known.get(str(path))
            found[str(path)] = entry if entry and entry[:3] == state else [*state, of_file(path)]
        except OSError:
            found[str(path)] = [0, 0, 0, UNREADABLE]
    if found != known:
        with contextlib.suppress(OSError):
            memory.parent.mkdir(parents=True, exist_ok=True)
            content = {"files": found, "sha256": of_json(found)}
            files.replace_text(memory, json.dumps(content))
    return [str(entry[3]) for entry in found.values()]


def _recall(memory: Path) -> dict[str, _Entry]:
    try:
        content = files.read_json(memory)
        known = content["files"]
        return known if content["sha256"] == of_json(known) else {}
    except (OSError, ValueError, LookupError, TypeError):
        return {}  # not there yet, or damaged

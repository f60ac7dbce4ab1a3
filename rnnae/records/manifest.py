"""What proves that a saved step is whole and belongs to its run.

Every step has a manifest with the SHA-256 of each of its files, written when all of them are on
disk. Two of these files are ours: arrays.json lists the shape and dtype of each array, and
config.json is the config of the run when the step was saved. Files that the manifest does not list,
such as those that a file manager leaves, are ignored. Steps of older versions have no config.json.
"""

import json
from pathlib import Path

from rnnae import digests, files
from rnnae.config import saved_config
from rnnae.config.resume import changes
from rnnae.errors import ConfigError

MANIFEST = "manifest.json"  # path -> SHA-256
ARRAYS = "arrays.json"  # path in the state -> dtype and shape


def write(directory: Path) -> None:
    """Writes the manifest of all files in `directory`; from now on the step counts."""
    paths = sorted(p for p in directory.rglob("*") if p.is_file() and MANIFEST not in p.name)
    listed = {p.relative_to(directory).as_posix(): digests.of_file(p) for p in paths}
    files.replace_text(directory / MANIFEST, json.dumps(listed, indent=1))


def why_refused(directory: Path, config: dict | None) -> str | None:
    """Why the step in `directory` cannot be trusted; None if it can.

    `config` is the resolved config of the run that it must belong to; None skips that check.
    """
    try:
        text = files.read_bytes(directory / MANIFEST)
    except FileNotFoundError:
        return "it was not finished (it has no manifest)"
    except OSError as error:
        return f"{MANIFEST} cannot be read ({error.strerror})"
    try:
        expected = files.parse_json(text)
    except ValueError:  # not JSON, or not even text
        return f"{MANIFEST} is damaged"
    if not isinstance(expected, dict) or ARRAYS not in expected or len(expected) < 3:
        return f"{MANIFEST} is damaged"
    for name, digest in sorted(expected.items()):
        try:
            if digests.of_file(directory / name) != digest:
                return f"{name} is damaged"
        except FileNotFoundError:
            return f"{name} is missing"
        except (OSError, ValueError) as error:  # ValueError: a name with a null byte
            return f"{name} cannot be read ({getattr(error, 'strerror', None) or error})"
    if config is None or files.CONFIG not in expected:
        return None
    return _why_of_another_run(directory / files.CONFIG, config)


def _why_of_another_run(path: Path, config: dict) -> str | None:
    try:
        changed = changes(saved_config.read(path), config)
    except ConfigError:
        return f"{path.name} is damaged"
    detail = ", ".join(f"config.{key}: {old} there, {new} here" for key, old, new in changed)
    return f"it belongs to another run ({detail})" if detail else None

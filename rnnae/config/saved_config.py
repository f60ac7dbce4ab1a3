"""The config that a run keeps: as a config file, `saved_config.py:<path of its config.json>`, and
as what another start must agree with."""

import json
from pathlib import Path

from ml_collections import ConfigDict

from rnnae.config.defaults import default
from rnnae.config.resume import changes
from rnnae.errors import CheckpointError, ConfigError

NAME = "config.json"


def find(workdir: str | Path) -> Path:
    """The file of the run in `workdir`; CheckpointError if there is none."""
    path = Path(workdir) / NAME
    if path.exists():
        return path
    seeds = sorted(str(below.parent) for below in Path(workdir).glob(f"seed*/{NAME}"))
    hint = f"; there are {', '.join(seeds)}" if seeds else ": train one there first"
    raise CheckpointError(f"{workdir} has no run (no {NAME}){hint}")


def read(path: Path) -> dict:
    """The JSON object at `path`; ConfigError if it is damaged."""
    try:
        found = json.loads(path.read_text())
    except ValueError as error:
        raise _damaged(path) from error
    if not isinstance(found, dict):
        raise _damaged(path)
    return found


def rename_old_keys(saved: dict) -> dict:
    """A saved config under the present names of its keys."""
    return saved


def _damaged(path: Path) -> ConfigError:
    return ConfigError(
        f"{path} is damaged: restore it from a copy, or remove {path.parent} to start anew"
    )


def get_config(path: str) -> ConfigDict:
    """The saved values over the defaults, locked. ConfigError for a key that is no more."""
    saved = read(Path(path))
    try:
        config = default(saved["model"]["name"])
    except (KeyError, TypeError) as error:
        raise _damaged(Path(path)) from error
    with config.unlocked():
        for section, values in saved.items():
            if isinstance(values, dict):
                for key, value in values.items():
                    if key not in config[section]:
                        raise ConfigError(
                            f"{path} is of another version: config.{section}.{key} is unknown; "
                            "use the commit in its environment.jsonl"
                        )
                    config[section][key] = tuple(value) if isinstance(value, list) else value
            else:
                config[section] = values
    return config


def refuse_another_run(config: ConfigDict, workdir: str | Path) -> None:
    """ConfigError naming the keys in which a resolved config differs from the run in `workdir`."""
    path = Path(workdir) / NAME
    changed = changes(read(path), config.to_dict()) if path.exists() else []
    if not changed:
        return
    if [key for key, _, _ in changed] == ["data.fingerprint"]:
        raise ConfigError(
            f"{workdir} was trained on other images than config.data names now: restore those, or "
            "use another --workdir"
        )
    detail = ", ".join(f"config.{key}: {old} there, {new} here" for key, old, new in changed)
    raise ConfigError(
        f"{workdir} holds another run ({detail}); use those values, or another --workdir"
    )

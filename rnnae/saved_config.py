"""The config of a finished run as a config file: `saved_config.py:<path of its config.json>`."""

import json
from pathlib import Path

from ml_collections import ConfigDict

from rnnae.config import default
from rnnae.errors import ConfigError


def get_config(path: str) -> ConfigDict:
    """The saved values over the defaults, locked. ConfigError for a key that is no more."""
    saved = json.loads(Path(path).read_text())
    config = default(saved["model"]["name"])
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

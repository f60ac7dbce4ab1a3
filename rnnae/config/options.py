"""Options of a config section that belong to one choice of `name` only."""

from collections.abc import Collection, Mapping
from typing import Any

from rnnae.config.defaults import default
from rnnae.errors import ConfigError


def refuse_unused(
    section: str, name: str, used: Collection[str], options: Mapping[str, Any]
) -> None:
    """ConfigError for an option that was set but that the chosen thing does not have.

    A section such as `config.likelihood` holds the options of all its choices. `used` are those of
    the chosen one, called `name`. Another option counts as set if it differs from the default.
    """
    defaults = default()[section]
    for key, value in options.items():
        if key in used or (key in defaults and value == defaults[key]):
            continue
        own = ", ".join(used) or "none"
        advice = f"; leave it at {defaults[key]}" if key in defaults else ""
        raise ConfigError(
            f"config.{section}.{key}={value} has no effect with config.{section}.name={name}, "
            f"whose options are: {own}{advice}"
        )

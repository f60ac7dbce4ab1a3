"""What can go wrong for a user, and the exit code of each. Messages are one line for people."""

import difflib
from collections.abc import Mapping
from typing import TypeVar

T = TypeVar("T")


class RnnaeError(Exception):
    """Base; `exit_code` is the process's."""

    exit_code = 1


class ConfigError(RnnaeError):
    """A flag, key, value or combination that cannot be run."""

    exit_code = 2


class CheckpointError(RnnaeError):
    """Checkpoints exist and none can be trusted, one is needed and there is none, or the disk."""

    exit_code = 3


class NonFiniteError(RnnaeError):
    """The loss or its gradient is not finite."""

    exit_code = 4


class DataError(RnnaeError):
    """Data missing, or not what it should be."""

    exit_code = 5


class ProcessError(RnnaeError):
    """Another process of the run is gone, never came, or was started otherwise."""

    exit_code = 6


class Stopped(RnnaeError):
    """By a signal, in good order: 143 after SIGTERM, 130 after SIGINT."""

    def __init__(self, message: str, exit_code: int):
        super().__init__(message)
        self.exit_code = exit_code


def choose(choices: Mapping[str, T], key: str, name: str) -> T:
    """`choices[name]`; ConfigError with all choices, and the nearest, for the value of `key`."""
    if name in choices:
        return choices[name]
    near = difflib.get_close_matches(str(name), choices, 1)
    hint = f" (did you mean {near[0]!r}?)" if near else ""
    raise ConfigError(f"{key} must be one of {', '.join(choices)}{hint}, not {name!r}")

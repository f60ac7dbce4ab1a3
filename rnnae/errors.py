"""Errors that a user can act on, each with the exit code of the command, and how they are worded.

Every message is one line: what is wrong, then what to do.
"""

import difflib
import importlib
from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

T = TypeVar("T")


class RnnaeError(Exception):
    """Base class; `exit_code` is the exit code of the process."""

    exit_code = 1


class ConfigError(RnnaeError):
    """A flag, a config key, a value or a combination of them is invalid."""

    exit_code = 2


class TooLargeError(ConfigError):
    """A run cannot fit into the memory of the machine or of a device, whatever else it holds."""


class CheckpointError(RnnaeError):
    """A checkpoint is missing or cannot be trusted, or it or a record cannot be written."""

    exit_code = 3


class NonFiniteError(RnnaeError):
    """The loss, its gradient or a parameter is infinite or NaN."""

    exit_code = 4


class DataError(RnnaeError):
    """Data are missing or damaged, or have another format than expected."""

    exit_code = 5


class ProcessError(RnnaeError):
    """Another process of the run has ended, never started, or was started differently."""

    exit_code = 6


class Stopped(RnnaeError):
    """A signal stopped the run, whose saved state remains; the code is 128 + its number."""

    def __init__(self, message: str, exit_code: int):
        super().__init__(message)
        self.exit_code = exit_code


class OutOfMemory(RnnaeError):
    """The memory of the machine, of a device or of the process is exhausted."""

    exit_code = 8


# Advice that ends every NonFiniteError. A run cannot continue with another optimizer.
TRAIN_ANEW = (
    "train again in another --workdir, with a lower config.optim.learning_rate or with clipping "
    "(config.optim.clip_norm above 0); --mode debug finds the cause"
)

FILE_ERROR = 7  # exit code for an OSError: a file cannot be read or written
BROKEN_PIPE = 141  # exit code if nobody reads the output any more: 128 + SIGPIPE


def choose(choices: Mapping[str, T], key: str, name: str) -> T:
    """`choices[name]`; for an unknown name a ConfigError that lists the choices of `key`."""
    check_choice(choices, key, name)
    return choices[name]


def check_choice(choices: Iterable[str], key: str, name: str) -> None:
    """Raises ConfigError unless `name` is one of the choices of `key`."""
    choices = tuple(choices)
    if name not in choices:
        hint = did_you_mean(repr, name, choices, " ({})")
        raise ConfigError(f"{key} must be one of {', '.join(choices)}{hint}, not {name!r}")


def did_you_mean(show, name: object, choices: Iterable[str], template: str = "; {}") -> str:
    """A hint such as '; did you mean X?' with the closest choice, as `show` shows it; '' if no
    choice is close to `name`."""
    close = difflib.get_close_matches(str(name), list(choices), 1)
    return template.format(f"did you mean {show(close[0])}?") if close else ""


def import_optional(module: str, how: str) -> Any:
    """The module of a package that rnnae does not need everywhere. ConfigError if it cannot be
    imported; `how` says how to install it, such as 'pip install "rnnae[search]"'."""
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:  # it, or one that it imports
        raise ConfigError(f"{error.name} is not installed: {how}") from error
    except ImportError as error:
        raise ConfigError(f"{module} cannot be imported ({one_line(error)}): {how}") from error


def one_line(error: BaseException, limit: int = 200) -> str:
    """The message of an error on one line of at most `limit` characters, or its type if there is no
    message."""
    try:  # str() of a KeyError is the repr of its argument
        text = str(error.args[0]) if isinstance(error, KeyError) and error.args else str(error)
    except Exception:  # of a class that a config file defines
        text = ""
    return " ".join(text.split())[:limit] or type(error).__name__

"""Errors about a config file, or in it, on one line. A config file is a program."""

import re
import traceback
from pathlib import Path

from rnnae.config import resume, saved_config
from rnnae.config.defaults import MODEL_DEFAULTS, default
from rnnae.errors import RnnaeError, did_you_mean, one_line


def explain(error: BaseException, path: Path) -> str:
    """An error of ml_collections about a key, or of the config file, on one line."""
    text = one_line(error)
    line = _line_in(path, error)
    where = f"line {line}: " if line else ""
    at = f"{path}, {where}" if line else ""
    unknown = re.search(r'Did you mean "(.+?)" instead of "(.+?)"', text)
    if unknown:
        return f"{at}the config has no key {unknown[2]!r}; did you mean {unknown[1]!r}?"
    # Without a similar key, the words of ml_collections are the name alone, or all other keys.
    missing = re.match(r"\W*(\w+)\W*$|\W*Key \"(\w+)\" does not exist", text)
    if missing and isinstance(error, AttributeError):
        name = missing[1] or missing[2]
        return f"{at}the config has no key {name!r}{_where_it_is(name)}"
    if isinstance(error, RnnaeError):
        return f"{at}{text}" if line else str(error)
    name = type(error).__name__
    text = text if text == name else f"{name}: {text}"
    return f"cannot make a config of {path} and the flags: {where}{text}"


def _where_it_is(name: str) -> str:
    """Which models have the key `name`, or which key has nearly this name."""
    models = [model for model in MODEL_DEFAULTS if name in default(model).model]
    if models:
        return f"; config.model has it if the model is {' or '.join(models)}"
    keys = {}
    for model in MODEL_DEFAULTS:
        config = default(model).to_dict()
        keys |= {key.rpartition(".")[2]: key for key in (*config, *resume.flat(config))}
    return did_you_mean(lambda key: f"config.{keys[key]}", name, keys)


def inside(path: Path, error: BaseException) -> BaseException:
    """The error of the chain that ends in `error` which arose in the config file, or else the first
    one."""
    own = error
    while own.__context__ is not None and not _line_in(path, own):
        own = own.__context__
    return own


def _line_in(path: Path, error: BaseException) -> int | None:
    """The line of the config file where the error arose, or which called what raised it."""
    own = path.resolve()
    if isinstance(error, SyntaxError) and error.filename and Path(error.filename).resolve() == own:
        return error.lineno
    # After a RecursionError the stack is long, and its beginning is enough.
    frames = traceback.extract_tb(error.__traceback__, limit=100)
    lines = [frame.lineno for frame in frames if Path(frame.filename).resolve() == own]
    return lines[-1] if lines and own != Path(saved_config.__file__) else None

"""Errors about a config file, or in it, on one line. A config file is a program."""

import re
import traceback
from pathlib import Path

from rnnae.config import saved_config
from rnnae.config.defaults import MODEL_DEFAULTS, default
from rnnae.errors import RnnaeError, one_line


def explain(error: BaseException, path: Path) -> str:
    """An error of ml_collections about a key, or of the config file, on one line."""
    text = one_line(error)
    unknown = re.search(r'Did you mean "(.+?)" instead of "(.+?)"', text)
    if unknown:
        return f"the config has no key {unknown[2]!r}; did you mean {unknown[1]!r}?"
    missing = re.fullmatch(r"\W*(\w+)\W*", text) if isinstance(error, AttributeError) else None
    if missing:  # without a similar key, ml_collections has no more words
        models = [name for name in MODEL_DEFAULTS if missing[1] in default(name).model]
        others = f"; config.model has it if the model is {' or '.join(models)}" if models else ""
        return f"the config has no key {missing[1]!r}{others}"
    line = _line_in(path, error)
    where = f"line {line}: " if line else ""
    if isinstance(error, RnnaeError):
        return f"{path}, {where}{text}" if line else str(error)
    name = type(error).__name__
    text = text if text == name else f"{name}: {text}"
    return f"cannot make a config of {path} and the flags: {where}{text}"


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

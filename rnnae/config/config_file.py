"""Finding a config file, and errors in it on one line. A config file is a program."""

import re
import traceback
from pathlib import Path

from rnnae import files
from rnnae.config import saved_config
from rnnae.errors import ConfigError, RnnaeError, did_you_mean, one_line

_PACKAGE = Path(__file__).parents[1]
# Configs of the installed package, or those beside the package in a checkout.
_SHIPPED = (_PACKAGE / "configs", _PACKAGE.parent / "configs")


def shipped() -> dict[str, Path]:
    """The config files that come with rnnae, by name."""
    directory = next((path for path in _SHIPPED if path.is_dir()), _SHIPPED[0])
    return {path.stem: path for path in sorted(directory.glob("*.py"))}


def find(name: str) -> Path:
    """The config file at the path `name`, or else the one that comes with rnnae under that name,
    such as `mnist`. ConfigError if there is none."""
    path = files.expand(name)
    if path.is_file():
        return path
    known = shipped()
    if path.stem == name and name in known:
        return known[name]
    near = {other.name: str(other) for other in path.parent.glob("*.py") if other.is_file()}
    near |= {stem: stem for stem in known} if path.stem == name else {}
    hint = did_you_mean(near.get, path.name, near)
    raise ConfigError(f"there is no config file {path}{hint}")


def explain(error: BaseException, path: Path) -> str:
    """An error of ml_collections about a key, or of the config file, on one line."""
    text = one_line(error)
    unknown = re.search(r'Did you mean "(.+?)" instead of "(.+?)"', text)
    if unknown:
        return f"the config has no key {unknown[2]!r}; did you mean {unknown[1]!r}?"
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

"""What comes with rnnae: configs of the headline runs, and trained weights, each found by its name.

In the installed package both are folders of it. In a checkout the configs lie beside it.
"""

import runpy
from pathlib import Path

from ml_collections import ConfigDict

from rnnae import files
from rnnae.errors import ConfigError, did_you_mean

_PACKAGE = Path(__file__).parents[1]
WEIGHTS = _PACKAGE / "weights"
_CONFIGS = (_PACKAGE / "configs", _PACKAGE.parent / "configs")


def configs() -> dict[str, Path]:
    """The config files that come with rnnae, by name."""
    directory = next((path for path in _CONFIGS if path.is_dir()), _CONFIGS[0])
    return {path.stem: path for path in sorted(directory.glob("*.py"))}


def find_config(name: str) -> Path:
    """The config file at the path `name`, or else the one that comes with rnnae under that name,
    such as `mnist`. ConfigError if there is none."""
    path, known = files.expand(name), configs()
    if path.is_file():
        return path
    is_name = path.stem == name
    if is_name and name in known:
        return known[name]
    near = {other.name: str(other) for other in path.parent.glob("*.py") if other.is_file()}
    near |= {stem: stem for stem in known} if is_name else {}
    raise ConfigError(f"there is no config file {path}{did_you_mean(near.get, path.name, near)}")


def get_config(name: str) -> ConfigDict:
    """The config of the config file `name`; see `find_config`. It can be changed and passed to
    `rnnae.train`."""
    return runpy.run_path(str(find_config(name)))["get_config"]()


def weights() -> tuple[str, ...]:
    """The names of the trained weights that come with rnnae."""
    return tuple(sorted(path.parent.name for path in WEIGHTS.glob(f"*/{files.WEIGHTS}")))


def find_weights(name: str | Path) -> Path:
    """The directory of weights at the path `name`, or else of those that come with rnnae under that
    name. ConfigError if there are none."""
    directory, known = files.expand(name), weights()
    if (directory / files.WEIGHTS).is_file():
        return directory
    if str(name) in known:
        return WEIGHTS / name
    raise ConfigError(
        f"there are no weights {name}: give a directory with {files.WEIGHTS}, or one of "
        f"{', '.join(known) or 'none'}{did_you_mean(str, str(name), known)}"
    )

"""What comes with rnnae: configs of the headline runs, and trained weights, each found by its name.

In the installed package both are folders of it. In a checkout the configs lie beside it.
"""

import runpy
import shlex
from pathlib import Path

from ml_collections import ConfigDict

from rnnae import files
from rnnae.config.resume import flat
from rnnae.config.saved_config import MACHINE_PATHS
from rnnae.errors import ConfigError, did_you_mean

_PACKAGE = Path(__file__).parents[1]
WEIGHTS = _PACKAGE / "weights"
_CONFIGS = (_PACKAGE / "configs", _PACKAGE.parent / "configs")
FILLED_IN = ("data.shape", "data.fingerprint", "data.class_names")  # by a run, from its images
# What a run fills in itself, and what changes no number.
_NOT_SETTINGS = (
    *MACHINE_PATHS,
    *FILLED_IN,
    *("compilation_cache", "keep_memory", "devices", "cpu_microbatch"),
    *("train.checkpoint_every_seconds", "train.tensorboard"),
)


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


def training_command(config: ConfigDict) -> str:
    """The command that trains the config: that config file of its model with the fewest changes."""
    wanted = flat(config.to_dict())
    found = []
    for name, path in configs().items():
        own = flat(get_config(name).to_dict())
        if own["model.name"] == wanted["model.name"]:
            changed = [
                f"--config.{key}={_as_flag(value)}"
                for key, value in wanted.items()
                if key not in _NOT_SETTINGS and value != own.get(key)
            ]
            found.append((len(changed), f"configs/{path.name}", changed))
    _, file, changed = min(found)
    return " ".join([f"python -m rnnae.main --config {file}", *changed])


def _as_flag(value: object) -> str:
    """A value as a word of a shell, such as '("train", "test")'."""
    text = str(tuple(value)).replace("'", '"') if isinstance(value, list) else str(value)
    return shlex.quote(text)


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

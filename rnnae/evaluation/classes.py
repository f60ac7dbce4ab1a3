"""Which class a user asks for: a name, a number, an array, or none."""

import ml_collections
import numpy as np

from rnnae.data.datasets import DATASETS
from rnnae.errors import ConfigError

Label = int | np.ndarray | list[int] | None


def class_names(config: ml_collections.ConfigDict) -> tuple[str, ...]:
    """The names of the classes of a saved run's images; () if they have none or none are known.

    Runs of older versions did not record them, but the published data sets have their own.
    """
    if config.data.class_names:
        return tuple(config.data.class_names)
    dataset = DATASETS.get(config.data.name)
    return dataset.class_names if dataset else ()


def parse(text: str, names: tuple[str, ...]) -> int:
    """The label of a class that is given by its name or by its number; ConfigError, which lists
    the classes, if there is none."""
    if text in names:
        return names.index(text)
    if text.isdecimal() and int(text) < len(names):
        return int(text)
    raise _unknown(repr(text), names)


def as_array(label: Label, count: int, names: tuple[str, ...]) -> np.ndarray | None:
    """int32 (count,) of one label for all or one for each; None for None.

    -1 stands for no class. Raises ConfigError for anything that is not a class.
    """
    if label is None:
        return None
    label_N = np.asarray(label)
    if label_N.dtype.kind not in "iu" or label_N.shape not in ((), (count,)):
        raise ConfigError(
            f"label must be an integer or {count} integers, not {label_N.dtype} {label_N.shape}"
        )
    for value in np.unique(label_N):
        if not -1 <= value < len(names):
            raise _unknown(str(value), names)
    return np.broadcast_to(label_N.astype(np.int32), (count,))


def _unknown(what: str, names: tuple[str, ...]) -> ConfigError:
    if not names:
        return ConfigError(f"there is no class {what}: the images of this run have no classes")
    if names == tuple(map(str, range(len(names)))):
        return ConfigError(f"there is no class {what}: the classes are 0 to {len(names) - 1}")
    known = ", ".join(f"{i} {name}" for i, name in enumerate(names))
    return ConfigError(f"there is no class {what}: the classes are {known}")

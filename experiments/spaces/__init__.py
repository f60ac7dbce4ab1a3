"""Search spaces: which settings a search varies, and which metric it makes small.

A space is one module in this folder that contains only data, and one line in `SPACES`. The first
line of its docstring is the title. The next paragraph, at most two sentences, is the caption: what
is searched. Further paragraphs are a note.

    CONFIG      the config file that every trial starts from
    OVERRIDES   settings of every trial, by dotted key
    PARAMETERS  config key -> its values: {"low": 1, "high": 4} with integers or floats, both
                included, and with "step": 2 or "log": True if wanted; or {"choices": ("a", "b")}
    METRIC      metric of the validation images in metrics.jsonl; lower is better
    RUNGS       numbers of epochs after which trials are compared, ascending. The last is the length
                of a complete trial. Between two rungs e and f, the best e/f of the trials go on
"""

import dataclasses
import json
from types import ModuleType

from experiments import tables
from experiments.spaces import mnist
from experiments.tables import Row
from rnnae import config as config_lib
from rnnae.errors import ConfigError

SPACES: dict[str, ModuleType] = {"mnist": mnist}


@dataclasses.dataclass(frozen=True)
class Space:
    """A search space. The fields are described at the top of this module."""

    name: str
    title: str
    caption: str
    notes: str
    config_file: str
    overrides: dict[str, object]
    parameters: dict[str, dict]
    metric: str
    rungs: tuple[int, ...]

    def trial(self, number: int, values: dict[str, object]) -> Row:
        """The trial with these values of the parameters, as a row of a table."""
        settings = {**self.overrides, **values, "train.epochs": self.rungs[-1]}
        return Row(f"trial {number:03}", self.config_file, settings)

    def to_json(self) -> dict:
        """What makes two searches the same, as JSON has it."""
        fields = dataclasses.asdict(self)
        for name in ("name", "title", "caption", "notes"):
            del fields[name]
        return json.loads(json.dumps(fields))


def load(name: str) -> Space:
    """The space `name` of `SPACES`. ConfigError if its trials could not be run or compared."""
    data = SPACES[name]
    title, caption, *notes = tables.paragraphs(data)
    space = Space(
        name,
        title,
        caption,
        " ".join(notes),
        data.CONFIG,
        data.OVERRIDES,
        data.PARAMETERS,
        data.METRIC,
        tuple(data.RUNGS),
    )
    if not space.metric.startswith("valid/"):
        raise ConfigError(
            f"METRIC of {name} is {space.metric}: choose by a metric of the validation images, "
            "valid/..., or the test images no longer tell how good the best trial is"
        )
    if not space.rungs or sorted({*space.rungs}) != [*space.rungs] or space.rungs[0] < 1:
        raise ConfigError(f"RUNGS of {name} must be ascending numbers of epochs: {space.rungs}")
    first = {
        k: v["choices"][0] if "choices" in v else v["low"] for k, v in space.parameters.items()
    }
    config = space.trial(0, first).config()
    config_lib.check(config)
    every = config.train.eval_every_epochs
    unseen = [e for e in space.rungs[:-1] if e > 1 and e % every]
    if config.data.train_on_all or config.train.max_steps or unseen:
        raise ConfigError(
            f"trials of {name} must be validated after {space.rungs} epochs: set "
            "data.train_on_all=False, train.max_steps=0 and train.eval_every_epochs=1"
        )
    return space

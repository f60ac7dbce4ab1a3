"""The records of a run that a report needs, in their common form `RunRecords`.

`read_directory` reads them from the directory of a run, and `table_file.TableFile` from the file
that stores them for a whole table.
"""

import dataclasses
import statistics
from pathlib import Path

import numpy as np
from PIL import Image

from experiments.tables import MACHINE_KEYS, Row
from rnnae import config as config_lib
from rnnae import files
from rnnae.config import saved_config
from rnnae.errors import ConfigError
from rnnae.records.writer import read_metrics, read_starts, read_timings, training_starts

# Beginnings of the metrics of a finished run that a table may show.
_RESULTS = ("test/", "train/nll", "train/bound", "train/bits_per_dim")
_LOSSES = ("train/loss", "valid/loss")  # what the learning curves show
_PICTURE = Path(files.FIGURES) / "generated.png"


@dataclasses.dataclass(frozen=True)
class RunRecords:
    """The records of one run that a report needs.

    A run that trained a model has all fields but `evaluation`. A run that evaluated the weights of
    another row has `evaluation` only. A run that has not started has none.
    """

    source: str  # where the records come from, for messages
    config: dict = dataclasses.field(default_factory=dict)  # without `tables.MACHINE_KEYS`
    starts: list[dict] = dataclasses.field(default_factory=list)  # one per start: commit, machine
    timing: dict[str, float] = dataclasses.field(default_factory=dict)  # seconds in all, images/s
    metrics: list[dict] = dataclasses.field(default_factory=list)  # losses; last: test metrics
    evaluation: dict = dataclasses.field(default_factory=dict)  # as `jobs.save_evaluation` wrote it

    @property
    def test_metrics(self) -> dict[str, float]:
        """The test metrics; empty until the run is finished."""
        if self.evaluation:
            return self.evaluation["metrics"]
        last = self.metrics[-1] if self.metrics else {}
        return {name: value for name, value in last.items() if name.startswith(_RESULTS)}

    @property
    def settings(self) -> dict:
        """The config by dotted key, under the present names of the keys."""
        return config_lib.flat(saved_config.rename_old_keys(self.config))

    @property
    def contributing_starts(self) -> list[dict]:
        """The starts whose steps or measurements are part of the result.

        Left out are starts whose steps were lost, and starts that only drew the last figures.
        """
        if self.evaluation:
            return [self.evaluation["environment"]]
        if not self.metrics:
            return []
        trained, end = [], self.metrics[-1]["step"]
        for start in reversed(self.starts):
            if start["step"] < end:
                trained.insert(0, start)
                end = start["step"]
        measured = training_starts(self.starts)[-1:]
        return trained + [start for start in measured if start not in trained]

    def differences(self, row: Row, seed: int, weights: dict[str, float]) -> str:
        """The settings in which this run differs from its row in the table; "" if in none.

        Args:
          weights: test metrics of the weights that the row evaluates, if it evaluates others'.
        """
        if row.weights_from:
            if self.evaluation and self.evaluation["weights"] != weights:
                return "it evaluated weights that no longer exist"
            in_table = config_lib.flat(row.overrides)
            in_run = self.evaluation.get("overrides", in_table)
        elif self.config:
            # A setting that is newer than the run had its default value.
            default = config_lib.default(self.config["model"]["name"])
            in_run = config_lib.flat(default.to_dict()) | self.settings
            in_table = config_lib.flat(row.config().to_dict()) | {"seed": seed}
        else:
            return ""
        return ", ".join(
            f"config.{key}: {in_run.get(key)} there, {in_table.get(key)} in the table"
            for key in sorted(in_run.keys() | in_table.keys())
            if key not in MACHINE_KEYS and in_run.get(key) != in_table.get(key)
        )

    def same_result(self, other: "RunRecords") -> bool:
        """Whether both have the same config and the same numbers, whenever they were measured."""
        mine, theirs = self.evaluation.get("metrics"), other.evaluation.get("metrics")
        return (mine, self.metrics, self.settings) == (theirs, other.metrics, other.settings)

    @property
    def origin(self) -> str:
        """The commits and days of the run."""
        starts = self.contributing_starts
        return ", ".join(f"commit {s['commit'] or 'unknown'} ({s['date'][:10]})" for s in starts)


def read_directory(workdir: Path, *, evaluates: bool) -> RunRecords:
    """The records in the directory of a run, as far as there are any.

    Args:
      evaluates: whether the run evaluates the weights of another row.

    Raises:
      ConfigError: if a file is damaged.
    """
    source = str(workdir)
    if evaluates:
        path = workdir / files.EVALUATION
        return RunRecords(source, evaluation=read_json(path) if path.exists() else {})
    path = workdir / files.CONFIG
    timings = read_timings(workdir)
    timing = {}
    if timings:
        speed = statistics.median(record["images_per_second"] for record in timings)
        timing = {"seconds": timings[-1]["seconds"], "images_per_second": speed}
    return RunRecords(
        source,
        _without_machine_keys(saved_config.read(path)) if path.exists() else {},
        read_starts(workdir),
        timing,
        [record for record in map(_thinned, read_metrics(workdir)) if len(record) > 2],
    )


def _without_machine_keys(config: dict) -> dict:
    config = {k: dict(v) if isinstance(v, dict) else v for k, v in config.items()}
    for key in {*MACHINE_KEYS} - {"data.fingerprint"}:
        section, _, name = key.rpartition(".")
        (config.get(section, {}) if section else config).pop(name, None)
    return config


def _thinned(record: dict) -> dict:
    """A record of metrics.jsonl without the metrics that no report shows."""
    return {
        name: value
        for name, value in record.items()
        if name in ("step", "epoch", *_LOSSES) or name.startswith(_RESULTS)
    }


def read_picture(workdir: Path) -> np.ndarray | None:
    """The sample images that a run drew last, as one picture (uint8, height x width x 3).
    ConfigError if the file is damaged."""
    path = workdir / _PICTURE
    if not path.exists():
        return None
    try:
        with Image.open(path) as image:
            return np.asarray(image.convert("RGB"))
    except (OSError, SyntaxError, ValueError) as error:
        raise damaged(path) from error


def read_json(path: Path) -> dict:
    """The object of a JSON file; ConfigError if it is damaged."""
    try:
        content = files.read_json(path)
    except ValueError as error:
        raise damaged(path) from error
    if not isinstance(content, dict):
        raise damaged(path)
    return content


def damaged(path: Path) -> ConfigError:
    """The error for a file that cannot be read."""
    return ConfigError(f"{path} is damaged: restore it from a copy, or remove it")

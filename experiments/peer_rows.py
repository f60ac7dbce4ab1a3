"""The rows of a report that are models of other libraries, from the records of `experiments.peers`.

A table names them in CPU_PEERS. They stand below a rule, between its own rows and the published
ones. The records are in DIRECTORY/peers.json, one object per model.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from experiments import results as results_lib
from experiments.records import damaged, read_json
from experiments.results import Result
from experiments.tables import Row, Table

FILE = "peers.json"


class PeerRow(NamedTuple):
    """A model of another library: its record, and the same as a `Result` without a config."""

    record: dict
    result: Result


def read(directory: Path) -> dict[str, dict]:
    """name -> record of each model; ConfigError if the file is damaged. {} if there is none."""
    path = directory / FILE
    records = read_json(path) if path.exists() else {}
    if not all(isinstance(record, dict) for record in records.values()):
        raise damaged(path)
    return records

"""The rows of a report that are models of other libraries, from the records of `experiments.peers`.

A table names them in CPU_PEERS. They stand below a rule, between its own rows and the published
ones. The records are in DIRECTORY/peers.json, one object per model.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from experiments import captions
from experiments.records import damaged, read_json
from experiments.results import Result
from experiments.tables import Row, Table

FILE = "peers.json"


class PeerRows(NamedTuple):
    """The rows of a table that are models of other libraries."""

    results: tuple[Result, ...] = ()
    notes: tuple[tuple[str, str], ...] = ()  # (heading, text), as `captions.notes`


def load(table: Table, directory: Path) -> PeerRows:
    """The rows of the models that the table names and that have records in `directory`.

    ConfigError if the file is damaged.
    """
    found = read(directory) if table.peers else {}
    records = [found[name] for name in table.peers if name in found]
    if not records:
        return PeerRows()
    missing = [name for name in table.peers if name not in found]
    try:
        note = "Measured here", _note(records, missing)
        return PeerRows(tuple(map(_result, records)), (note,))
    except (AttributeError, KeyError, TypeError) as error:
        raise damaged(directory / FILE) from error


def read(directory: Path) -> dict[str, dict]:
    """name -> record of each model; {} if there is no file. ConfigError if it is damaged."""
    path = directory / FILE
    return read_json(path) if path.exists() else {}


def _result(record: dict) -> Result:
    return Result(
        Row(f"{record['label']}, measured here", "", {}),
        {record["binarisation_seed"]: record["metrics"]},
        [record["environment"]],
        {"parameters": record["parameters"]},
        [record["seconds"]],
        [record["images_per_second"]],
        [],
        None,
        {},
    )


def _note(records: list[dict], missing: list[str]) -> str:
    """How the models were trained and measured, and where; then those that were not run."""
    environments = [record["environment"] for record in records]
    trained = "; ".join(
        f"{r['label']}: {r['steps'] * r['batch_size'] / r['train_images']:.2g} epochs"
        for r in records
    )
    packages = {
        f"{name} {version}" for r in records for name, version in r["packages"].items() if version
    }
    cores = _listed(str(e["cores"]) for e in environments)
    minutes = _listed(f"{r['budget_minutes']:g}" for r in records)
    images = _listed(f"{r['train_images']:,}" for r in records)
    tested = _listed(f"{r['test_images']:,}" for r in records)
    seeds = _listed(str(r["binarisation_seed"]) for r in records)
    origin = captions.sentence(captions.origin(environments, _listed(packages)))
    not_run = f" Not run: {', '.join(missing)}." * bool(missing)
    return (
        "Models of other libraries, with their own losses and the settings of their own examples, "
        f"trained by `python -m experiments.peers` for {minutes} minutes "
        f"of CPU time each (cores: {cores}) on {images} images that are binarised anew at every "
        f"visit ({trained}). They are measured on the {tested} test images of binarisation seed "
        f"{seeds} only. {origin}{not_run}"
    )


def _listed(texts: Iterable[str]) -> str:
    return ", ".join(sorted(set(texts)))

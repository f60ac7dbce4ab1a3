"""Tables: what is compared with what.

A table is a module here, pure data, and its line in `TABLES`. Its docstring says which question it
answers and whose table it follows; its first line is the title.

    CONFIG      the config file that its rows start from
    ROWS        label -> overrides of that config by dotted key. "config" names another file;
                "trained" another row, whose weights this one evaluates by its own config.eval
    METRICS     heading -> name in metrics.jsonl, or several names, of which a row has one
    SEEDS       values of config.seed, a run each
    PROTOCOL    what the numbers are of, for the caption
    CPU         overrides at `--size cpu`, of what a row does not set itself
    CPU_ROWS    label -> overrides of that row at `--size cpu`, and CPU_SEEDS, where they differ
    SWEPT       the key whose value is the x axis of the plot; without it rows stand side by side
    BOLD        headings under which rows are rivals, whose best is bold; without it all
    LITERATURE  label -> ({heading: value}, source)
"""

import argparse
import dataclasses
import inspect
import re
import runpy
from collections.abc import Mapping
from types import ModuleType
from typing import TypeVar

from ml_collections import ConfigDict

from experiments.tables import (
    blog,
    bound,
    cells,
    collapse,
    context,
    data,
    depth,
    draw,
    latent,
    main,
    prior,
    recipe,
    scan_order,
)
from rnnae.errors import ConfigError

T = TypeVar("T")

TABLES: dict[str, ModuleType] = {
    "main": main,
    "blog": blog,
    "cells": cells,
    "scan_order": scan_order,
    "draw": draw,
    "depth": depth,
    "context": context,
    "latent": latent,
    "prior": prior,
    "collapse": collapse,
    "recipe": recipe,
    "bound": bound,
    "data": data,
}
SIZES = ("full", "cpu")
# Of a config: where things are and how they are done, not what is done.
OF_THE_MACHINE = (
    "data.data_dir",
    "data.source_dir",
    "data.shape",  # as the data turned out, like its fingerprint
    "data.fingerprint",
    "data.in_memory_gib",
    "train.checkpoint_every_seconds",
    "train.tensorboard",
    "eval.batch_size",
    "compilation_cache",
    "keep_memory",
    "cpu_microbatch",
    "devices",
)


@dataclasses.dataclass(frozen=True)
class Row:
    """One line of a table: a config file with overrides; or, of another row's weights, `trained`,
    another evaluation."""

    label: str
    config: str
    overrides: dict[str, object]
    trained: str = ""

    def made(self) -> ConfigDict:
        """The config, as its command makes it."""
        config = runpy.run_path(self.config)["get_config"]()
        config.update_from_flattened_dict(self.overrides)
        return config


@dataclasses.dataclass(frozen=True)
class Table:
    """A table at one size; see the module's docstring."""

    name: str
    size: str
    title: str
    question: str
    protocol: str
    rows: tuple[Row, ...]
    metrics: dict[str, tuple[str, ...]]
    seeds: tuple[int, ...]
    swept: str
    bold: tuple[str, ...]
    literature: dict[str, tuple[dict[str, str], str]]

    @property
    def directory(self) -> str:
        """The name of what its runs, or their records, lie below."""
        return f"{self.name}-{self.size}"

    @property
    def stem(self) -> str:
        """The name of its files, the small size's without a size."""
        return self.name if self.size == "cpu" else self.directory


def slug(label: str) -> str:
    """A row's label as the name of its directory."""
    return re.sub(r"[^a-z0-9]+", "-", label.lower()).strip("-")


def of_metric(choices: Mapping[str, T], name: str) -> T | None:
    """What is chosen for a metric as `test/nll_dynamic`, by what its last part begins with."""
    last = name.split("/")[-1]
    return next((choice for start, choice in choices.items() if last.startswith(start)), None)


def parser(module: str, doc: str) -> argparse.ArgumentParser:
    """Of the command line of `experiments.<module>`, whose docstring is its help."""
    made = argparse.ArgumentParser(
        prog=f"python -m experiments.{module}",
        description=doc,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    made.add_argument("table", choices=TABLES)
    sizes = "full, for an accelerator (the default), or cpu, for two cores"
    made.add_argument("--size", choices=SIZES, default=SIZES[0], help=sizes)
    return made


def load(name: str, size: str) -> Table:
    """The table `name` of `TABLES` at a size of `SIZES`; ConfigError for labels that do not give
    every row a directory of its own."""
    data = TABLES[name]
    title, _, question = inspect.getdoc(data).partition("\n")
    small = size == "cpu"
    shared = getattr(data, "CPU", {}) if small else {}
    own = getattr(data, "CPU_ROWS", {}) if small else {}
    metrics = {k: (v,) if isinstance(v, str) else tuple(v) for k, v in data.METRICS.items()}
    rows, labels = [], {}
    for label, overrides in data.ROWS.items():
        other = labels.setdefault(slug(label), label)
        if not slug(label) or other != label:
            raise ConfigError(
                f"row {label!r} of {name} needs a name of its own in letters and digits"
                + (f": {other!r} has {slug(label)!r} too" if slug(label) else "")
            )
        merged = {**shared, **overrides, **own.get(label, {})}
        if trained := overrides.get("trained", ""):
            merged = overrides
        settings = {k: v for k, v in merged.items() if k not in ("config", "trained")}
        rows.append(Row(label, overrides.get("config", data.CONFIG), settings, trained))
    return Table(
        name,
        size,
        title.rstrip("."),
        " ".join(question.split()),
        data.PROTOCOL,
        tuple(rows),
        metrics,
        getattr(data, "CPU_SEEDS", data.SEEDS) if small else data.SEEDS,
        getattr(data, "SWEPT", ""),
        getattr(data, "BOLD", tuple(metrics)),
        getattr(data, "LITERATURE", {}),
    )

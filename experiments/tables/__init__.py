"""Ablation tables: which settings are compared with each other.

A table is one module in this folder that contains only data, and one line in `TABLES`. The first
line of its docstring is the title. The next paragraph, at most two sentences, is the caption: what
is compared. Further paragraphs are a note on how to read the table, and which published table it
follows.

    CONFIG      the config file that every row starts from
    ROWS        label -> overrides of that config, by dotted key. Three keys are special: "config"
                is another config file; "weights_from" is the label of another row, whose trained
                weights this row only evaluates, with its own settings in config.eval; "shows" says
                which images the row's metrics of images are of, see `SHOWS`
    METRICS     heading -> name of a test metric in metrics.jsonl, or several names of which each
                row has at most one
    SEEDS       values of config.seed; each row is trained once per seed
    PROTOCOL    data, splits and units of the numbers
    CPU         overrides at `--size cpu`; the overrides of a row take precedence
    CPU_ROWS    label -> further overrides of that row at `--size cpu` (optional)
    CPU_SEEDS   seeds at `--size cpu` (optional)
    SWEPT       the config key on the x axis of the plot (optional); without it, the plot shows one
                line of the y axis per row
    BOLD        headings whose best number is printed bold (optional; all headings by default)
    LITERATURE  label -> ({heading: value}, source): published numbers (optional)
    CPU_PEERS   models of other libraries that the report shows at `--size cpu`, as rows below a
                rule: names of `experiments.peers` (optional)
    ANSWER      what the results say, in one sentence; CPU_ANSWER those at `--size cpu` (optional)
"""

import argparse
import dataclasses
import inspect
import re
import sys
from collections.abc import Mapping, Sequence
from types import ModuleType
from typing import TypeVar

from ml_collections import ConfigDict

from experiments.tables import (
    augment,
    blog,
    bound,
    cells,
    classes,
    collapse,
    context,
    data,
    depth,
    draw,
    latent,
    main,
    orders,
    prior,
    recipe,
    samples,
    scan_order,
    sweep_cells,
    time_to_nll,
    tokens,
)
from rnnae.config import MAX_SEED, shipped
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
    "classes": classes,
    "samples": samples,
    "orders": orders,
    "tokens": tokens,
    "sweep_cells": sweep_cells,
    "augment": augment,
    "time_to_nll": time_to_nll,
}
SIZES = ("full", "cpu")
# Images that a row can show in place of the new images of its model, by the part of the metric
# names that tells them apart (`evaluation.sample_report`).
SHOWS = {
    "floor": "training images: the values that a perfect model would reach",
    "given_class": "new images of all classes in turn, from the mixture of each class",
}
_SPECIAL = ("config", "weights_from", "shows")
# Config keys that say where files are and how a run is executed. They do not change what is
# measured, so two runs that differ only in these are runs of the same row.
MACHINE_KEYS = (
    "data.data_dir",
    "data.source_dir",
    "data.shape",  # filled in from the data, like the next two
    "data.fingerprint",
    "data.class_names",
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
    """One row of a table: a config file with overrides.

    If `weights_from` is set, the row trains nothing. It evaluates the weights of the row with that
    label, and its overrides are settings of config.eval only. If `shows` is set, the row has the
    metrics of other images than the new ones of the model.
    """

    label: str
    config_file: str
    overrides: dict[str, object]
    weights_from: str = ""
    shows: str = ""  # a key of SHOWS

    def config(self) -> ConfigDict:
        """The config that the row is trained with, apart from the seed."""
        config = shipped.get_config(self.config_file)
        config.update_from_flattened_dict(self.overrides)
        return config


@dataclasses.dataclass(frozen=True)
class Table:
    """A table at one size. The fields are described at the top of this module."""

    name: str
    size: str
    title: str
    caption: str
    notes: str
    protocol: str
    rows: tuple[Row, ...]
    metrics: dict[str, tuple[str, ...]]
    seeds: tuple[int, ...]
    swept: str
    bold: tuple[str, ...]
    literature: dict[str, tuple[dict[str, str], str]]
    answer: str
    peers: tuple[str, ...] = ()

    @property
    def directory(self) -> str:
        """The name of the directory of the table's runs, and of the files of its records."""
        return f"{self.name}-{self.size}"

    @property
    def stem(self) -> str:
        """The name of the report's files without suffix. Only the full size is part of the name."""
        return self.name if self.size == "cpu" else self.directory


def slug(label: str) -> str:
    """The label of a row as the name of a directory."""
    return re.sub(r"[^a-z0-9]+", "-", label.lower()).strip("-")


def paragraphs(module: ModuleType) -> list[str]:
    """The paragraphs of a module's docstring, each on one line."""
    return [" ".join(part.split()) for part in inspect.getdoc(module).split("\n\n")]


def choose_by_metric(choices: Mapping[str, T], metric: str) -> T | None:
    """The value whose key is a prefix of the metric's last part: "nll" for `test/nll_dynamic`."""
    last = metric.split("/")[-1]
    return next((choice for prefix, choice in choices.items() if last.startswith(prefix)), None)


def command_parser(module: str, doc: str) -> argparse.ArgumentParser:
    """The parser of `python -m experiments.<module>`, whose help is its docstring `doc`."""
    return argparse.ArgumentParser(
        prog=f"python -m experiments.{module}",
        description=doc,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )


def argument_parser(module: str, doc: str, *, needs_table: bool = True) -> argparse.ArgumentParser:
    """The common part of the command line of `experiments.<module>`, whose docstring is `doc`: the
    names of tables, and their size."""
    parser = command_parser(module, doc)
    names, number = f"{', '.join(TABLES)}, or all", "+" if needs_table else "*"
    parser.add_argument("tables", nargs=number, type=parse_name, metavar="TABLE", help=names)
    sizes = "full, for an accelerator (the default), or cpu, for two cores"
    parser.add_argument("--size", choices=SIZES, default=SIZES[0], help=sizes)
    return parser


def parse_name(text: str) -> str:
    """The name of a table, or "all"."""
    if text != "all" and text not in TABLES:
        raise argparse.ArgumentTypeError(f"{text!r} is none of {', '.join(TABLES)}, all")
    return text


def parse_seeds(text: str) -> tuple[int, ...]:
    """The seeds of a flag such as --seeds 0,1,2."""
    match = re.fullmatch(r"\d+(,\d+)*", text)
    if not match or max(map(int, text.split(","))) > MAX_SEED:
        words = f"a list of seeds up to {MAX_SEED:,}, such as 0,1,2"
        raise argparse.ArgumentTypeError(f"{text!r} is not {words}")
    return tuple(sorted({int(seed) for seed in text.split(",")}))


def parse_count(text: str) -> int:
    """The number of a flag such as --jobs 2."""
    if not text.isdecimal() or not int(text):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number above 0")
    return int(text)


def parse_arguments(
    parser: argparse.ArgumentParser, argv: list[str] | None
) -> tuple[argparse.Namespace, list[str]]:
    """(arguments, flags after `--`, which go to every run and may only set `MACHINE_KEYS`)."""
    argv = sys.argv[1:] if argv is None else argv
    split = argv.index("--") if "--" in argv else len(argv)
    if settings := [word for word in argv[:split] if word.startswith("--config")]:
        parser.error(f"{settings[0]}: flags that go to every run come last, after --")
    arguments, extra = parser.parse_args(argv[:split]), argv[split + 1 :]
    for word in extra:
        key, equals, _ = word.removeprefix("--config.").partition("=")
        if not (word.startswith("--config.") and equals and key in MACHINE_KEYS):
            keys = ", ".join(MACHINE_KEYS)
            parser.error(
                f"{word} would make another row; after -- use --config.KEY=VALUE of {keys}"
            )
    return arguments, extra


def load_each(names: Sequence[str], size: str) -> list[Table]:
    """The tables with these names, or all of them if "all" is among the names."""
    return [load(name, size) for name in (TABLES if "all" in names else dict.fromkeys(names))]


def load(name: str, size: str) -> Table:
    """The table `name` of `TABLES` at a size of `SIZES`.

    Raises ConfigError if two labels would give two rows the same directory, or a label none.
    """
    data = TABLES[name]
    title, caption, *notes = paragraphs(data)
    small = size == "cpu"
    cpu = getattr(data, "CPU", {}) if small else {}
    cpu_rows = getattr(data, "CPU_ROWS", {}) if small else {}
    metrics = {k: (v,) if isinstance(v, str) else tuple(v) for k, v in data.METRICS.items()}
    rows, labels = [], {}
    for label, overrides in data.ROWS.items():
        other = labels.setdefault(slug(label), label)
        if not slug(label) or other != label:
            raise ConfigError(
                f"row {label!r} of {name} needs a unique label of letters and digits"
                + (f": {other!r} is also {slug(label)!r}" if slug(label) else "")
            )
        merged = {**cpu, **overrides, **cpu_rows.get(label, {})}
        if weights_from := overrides.get("weights_from", ""):
            merged = overrides
        settings = {k: v for k, v in merged.items() if k not in _SPECIAL}
        file, shows = overrides.get("config", data.CONFIG), overrides.get("shows", "")
        rows.append(Row(label, file, settings, weights_from, shows))
    return Table(
        name,
        size,
        title.rstrip("."),
        caption,
        " ".join(notes),
        data.PROTOCOL,
        tuple(rows),
        metrics,
        getattr(data, "CPU_SEEDS", data.SEEDS) if small else data.SEEDS,
        getattr(data, "SWEPT", ""),
        getattr(data, "BOLD", tuple(metrics)),
        getattr(data, "LITERATURE", {}),
        getattr(data, "CPU_ANSWER" if small else "ANSWER", ""),
        getattr(data, "CPU_PEERS", ()) if small else (),
    )

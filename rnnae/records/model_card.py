"""The model card of published weights, generated from the records of their run.

Mitchell et al. (2019), "Model Cards for Model Reporting": what was trained, on which data, by which
command, and what was measured. Nothing in it is typed by hand.
"""

import re
from collections.abc import Mapping
from pathlib import Path

from ml_collections import ConfigDict

from rnnae import files
from rnnae.config import flat, saved_config
from rnnae.data.datasets import DATASETS
from rnnae.errors import CheckpointError
from rnnae.records.writer import (
    read_metrics,
    read_starts,
    read_timings,
    reading,
    split_metrics,
    training_starts,
)

_SEED = re.compile(r"(.+)_seed(\d+)")  # the name of a metric of one seed of config.eval.seeds
_SECTIONS = ("model", "latent", "likelihood", "objective", "optim", "train")


def text(name: str, workdir: str | Path, command: str, step: int) -> str:
    """The card of the weights `name`, which the run in `workdir` had after `step` steps of its
    training by `command`.

    Metrics are those of the last evaluation if it was of these weights, else those that the
    training recorded after this step. Raises CheckpointError if there are neither, or if a record
    is damaged.
    """
    workdir = files.expand(workdir)
    config = saved_config.get_config(str(saved_config.find(workdir)))
    with reading(workdir):
        return _card(name, workdir, config, command, step)


def _card(name: str, workdir: Path, config: ConfigDict, command: str, step: int) -> str:
    metrics = _metrics(workdir, step)
    starts = training_starts(read_starts(workdir))
    if not starts:
        raise CheckpointError(f"{workdir} has no {files.STARTS}: restore it from a copy")
    return "\n".join(
        [
            f"# {name}",
            "",
            f"Weights of a model of rnnae, `config.model.name={config.model.name}`: "
            f"{starts[-1]['parameters']:,} parameters, float32, averaged over training.",
            "",
            f'    run = rnnae.load("{name}")',
            "",
            *data_section(config),
            "## Metrics on the test images",
            "",
            *metrics_table(metrics),
            "",
            *training_section(workdir, starts, command),
            *_settings(config),
        ]
    )


def _metrics(workdir: Path, step: int) -> dict[str, float]:
    """The numbers of the test split; see `text`."""
    path = workdir / files.EVALUATION
    evaluated = [files.read_json(path)] if path.exists() else []
    records = [*evaluated, *read_metrics(workdir)]
    of_step = (split_metrics(r, "test") for r in records if r.get("step") == step)
    found = next(filter(None, of_step), None)
    if found is None:
        raise CheckpointError(
            f"{workdir} has no test metrics of its weights after step {step:,}: run python -m "
            f"rnnae.main --mode evaluate --workdir {workdir}"
        )
    return {name: value for name, value in found.items() if isinstance(value, float)}


def data_section(config: ConfigDict) -> list[str]:
    """The data set and the rights in its images."""
    data = config.data
    known = DATASETS.get(data.name)
    rights = known.rights if known else "Not known to rnnae: ask those who published the images."
    trained_on = "all training images" if data.train_on_all else "without the validation images"
    lines = [
        "## Data",
        "",
        f"- data set: `{data.name}`, images of {'x'.join(map(str, data.shape))}, {trained_on}"
        + f", the first {data.train_images:,} only" * bool(data.train_images),
        f"- binarisation: {data.binarise}",
        f"- rights: {rights}",
    ]
    if data.class_names:
        lines.append(f"- classes: {', '.join(data.class_names)}")
    return [*lines, ""]


def metrics_table(metrics: Mapping[str, float]) -> list[str]:
    """A table. The protocol is in the names. A value has its standard error beside it, and the
    values of single seeds where there are several."""
    seeds = sorted({int(match[2]) for match in map(_SEED.fullmatch, metrics) if match})
    headings = ["metric", "value", "standard error", *(f"seed {seed}" for seed in seeds)]
    lines = [_row(headings), "|---" * len(headings) + "|"]
    for key, value in metrics.items():
        if key.endswith("_se") or _SEED.fullmatch(key):
            continue
        error = metrics.get(f"{key}_se")
        cells = [key, f"{value:.5g}", "" if error is None else f"{error:.2g}"]
        by_seed = [metrics.get(f"{key}_seed{seed}") for seed in seeds]
        lines.append(_row([*cells, *("" if x is None else f"{x:.5g}" for x in by_seed)]))
    return lines


def _row(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


def training_section(workdir: Path, starts: list[dict], command: str) -> list[str]:
    """The command, the time, and each of the starts: commit, machine and versions."""
    seconds = max((record["seconds"] for record in read_timings(workdir)), default=0.0)
    time = f"{seconds / 60:.1f} min"
    cores = {start["cores"] for start in starts if "cpu" in start["devices"]}
    if len(cores) == 1 and (count := max(cores)):  # old records have 0 cores on macOS
        time += f", {seconds * count / 3600:.1f} CPU-hours on {count} core{'s' * (count > 1)}"
    lines = ["## Training", "", f"    {command}", "", f"- training steps: {time}"]
    if taken := starts[0].get("init_from"):
        lines.append(
            f"- it started from the weights of `{Path(taken['source']).name}` after step "
            f"{taken['step']:,}: {taken['arrays_taken']} of {taken['arrays']} arrays, SHA-256 "
            f"{taken['sha256'][:16]}"
        )
    for start in starts:
        versions = ", ".join(f"{key} {value}" for key, value in start["versions"].items() if value)
        lines.append(
            f"- started after step {start['step']:,} on {start['date'][:10]}, commit "
            f"{start['commit'] or 'unknown'}, {start['devices']} ({start['machine']}, "
            f"{start['cores']} cores), Python {start['python']}, {versions}"
        )
    return [*lines, ""]


def _settings(config: ConfigDict) -> list[str]:
    lines = ["## Settings", "", "config.json has all of them."]
    for section in _SECTIONS:
        values = flat(config[section].to_dict())
        lines.append(f"- `{section}`: {', '.join(f'{key}={x}' for key, x in values.items())}")
    return [*lines, f"- `seed`: {config.seed}", ""]

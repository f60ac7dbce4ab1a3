"""`--mode report`: one HTML page of a run, from its records and pictures."""

import re
import statistics
import tempfile
from collections.abc import Sequence
from pathlib import Path

from ml_collections import ConfigDict

from rnnae import config as config_lib
from rnnae import files
from rnnae.config import saved_config, shipped
from rnnae.evaluation import curves
from rnnae.records import html_page, model_card
from rnnae.records.writer import (
    read_metrics,
    read_starts,
    read_timings,
    reading,
    split_metrics,
    training_starts,
)

_FIGURES = {  # name of a figure -> its caption, in the order of the page
    "generated": "new images",
    "classes": "new images of each class",
    "completions": "new lower halves of held-out images",
    "reconstructions": "reconstructions of held-out images",
    "interpolation": "from one held-out image to another, through the latents between them",
    "same_latent": "ten images from each latent",
    "canvas": "new images while they are painted",
    "error_by_glimpse": "error of reconstructions while they are painted",
    "orders": "what each scan order finds hard, pixel by pixel",
    "neighbours": "new images and the training images nearest to them",
}
_MEANINGS = {  # pattern in the names of metrics -> what it says
    r"\b(loss|kl|nll|bound)": "loss, kl, nll and bound are in nats per image",
    r"\b(mse|mae|ssim)": "mse, mae and ssim are of pixels in [0, 1]",
    "_static": "static: of a data set of binary images",
    "_dynamic": "dynamic: of grey images whose pixels are binarised at random, once for each seed",
    "_8bit": "8bit: of pixels as stored, from 0 to 255",
    r"_is\d": "is: the number of importance samples",
    "_floor": "floor: of training images in place of new ones",
}


def write(workdir: str | Path, out: str | Path | None = None) -> Path:
    """Writes the page of the run in `workdir`, finished or not, to `out` or to
    `workdir`/report.html, and returns its path. The same run gives the same bytes.

    Raises CheckpointError if there is no run, or if a record of it is damaged.
    """
    workdir = files.expand(workdir)
    config = saved_config.get_config(str(saved_config.find(workdir)))
    path = files.expand(out) if out else workdir / files.REPORT
    files.check_output(path)
    with reading(workdir):
        page = _page(workdir, config)
    files.replace_text(path, page)
    print(f"report in {path}")
    return path


def _page(workdir: Path, config: ConfigDict) -> str:
    records = read_metrics(workdir)
    starts = training_starts(read_starts(workdir))
    title = files.run_name(workdir)
    sections = [
        f"<h1>{html_page.text(title)}</h1>",
        f'<p class="lead">{html_page.text(_progress(records, starts))}</p>',
        html_page.table(("", ""), _about(workdir, config, starts)),
        *_metrics(records),
        *_evaluation(workdir),
        "<h2>Learning curves</h2>",
        *_curves(records),
        "<h2>Pictures</h2>",
        *_pictures(workdir / files.FIGURES),
        "<h2>Settings that differ from the default</h2>",
        *_differences(config),
        html_page.markdown("\n".join(model_card.data_section(config))),
        *_training(workdir, config, starts),
    ]
    return html_page.page(title, "\n".join(sections))


def _progress(records: Sequence[dict], starts: Sequence[dict]) -> str:
    if not records:
        return "Not finished: there are no metrics yet."
    step, epoch = records[-1]["step"], records[-1]["epoch"]
    if split_metrics(records[-1], "test"):
        return f"Finished: {step:,} steps, {epoch:.3g} epochs."
    total = starts[-1].get("total_steps") if starts else None
    of_all = f" of {total:,}" if total else ""
    return f"Not finished: {step:,}{of_all} steps, {epoch:.3g} epochs."


def _about(workdir: Path, config: ConfigDict, starts: Sequence[dict]) -> list[tuple[str, str]]:
    latent = config.latent.name
    if latent != "none":
        latent += f", {config.latent.size} dimensions"
    binarise = config.data.binarise
    shape = "x".join(map(str, config.data.shape))
    images = f"{config.data.name}, {shape}" + f", {binarise} binarisation" * (binarise != "none")
    rows = [
        ("model", config.model.name),
        ("latent", latent),
        ("likelihood", config.likelihood.name),
        ("images", images),
    ]
    if starts:
        rows.append(("parameters", f"{starts[-1]['parameters']:,}"))
    if starts and (operations := starts[-1].get("training_flop_per_image")):
        rows.append(("arithmetic", f"{operations / 1e6:,.1f} MFLOP for an image in training"))
    if timings := read_timings(workdir):
        speed = statistics.median(record["images_per_second"] for record in timings)
        rows.append(("speed", f"{speed:,.0f} images/s in training, median"))
    return rows


def _metrics(records: Sequence[dict]) -> list[str]:
    """The test metrics of a finished run, or the newest validation metrics of another."""
    for split, title in (("test", "Test metrics"), ("valid", "Validation metrics")):
        for record in reversed(records):
            if values := split_metrics(record, split):
                after = f"<p>Of the averaged weights after {record['step']:,} steps.</p>"
                return [f"<h2>{title}</h2>", after, *_table(values)]
    return ["<h2>Test metrics</h2>", "<p>Nothing was measured yet.</p>"]


def _table(values: dict[str, float]) -> list[str]:
    """A table of metrics, and what their names say."""
    table = html_page.markdown("\n".join(model_card.metrics_table(values)))
    names = "\n".join(values)
    said = [meaning for pattern, meaning in _MEANINGS.items() if re.search(pattern, names)]
    return [f'<div class="numbers">\n{table}</div>', f'<p class="small">{"; ".join(said)}</p>']


def _evaluation(workdir: Path) -> list[str]:
    """The numbers of the last `--mode evaluate`, if there was one."""
    path = workdir / files.EVALUATION
    if not path.exists():
        return []
    found = files.read_json(path)
    values = {key: x for key, x in found.items() if "/" in key and isinstance(x, float)}
    about = found["environment"]
    line = (
        f"Of the averaged weights after {found['step']:,} steps, on {about['date'][:10]}, commit "
        f"{about['commit'] or 'unknown'}, {about['devices']} ({about['machine']})."
    )
    settings = ", ".join(f"{key}={x}" for key, x in config_lib.flat(found["eval"]).items())
    return [
        "<h2>Evaluation</h2>",
        f"<p>{html_page.text(line)}</p>",
        *_table(values),
        f'<p class="small">config.eval: {html_page.text(settings)}</p>',
    ]


def _curves(records: Sequence[dict]) -> list[str]:
    if not any("train/loss" in record for record in records):
        return ["<p>There are none yet.</p>"]
    with tempfile.TemporaryDirectory(prefix="rnnae-") as directory:
        path = Path(directory) / files.LAST_FIGURE
        curves.loss_curves(path, records)
        return [html_page.picture(path)]


def _pictures(directory: Path) -> list[str]:
    """All figures but the learning curves."""
    paths = [p for p in directory.glob("*") if p.suffix in (".png", ".gif")]
    paths = {path.stem: path for path in sorted(paths) if path.name != files.LAST_FIGURE}
    if not paths:
        return ["<p>There are none yet.</p>"]
    names = [name for name in _FIGURES if name in paths]
    names += [name for name in paths if name not in _FIGURES]
    figures = [html_page.picture(paths[n], _FIGURES.get(n, n), pixels=True) for n in names]
    return ['<div class="pictures">', *figures, "</div>"]


def _differences(config: ConfigDict) -> list[str]:
    usual = config_lib.flat(config_lib.default(config.model.name).to_dict())
    rows = [
        (f"config.{key}", value, usual[key])
        for key, value in config_lib.flat(config.to_dict()).items()
        if value != usual[key] and key not in shipped.FILLED_IN
    ]
    return [html_page.table(("key", "this run", "default"), rows)] if rows else ["<p>None.</p>"]


def _training(workdir: Path, config: ConfigDict, starts: list[dict]) -> list[str]:
    if not starts:
        return []
    command = shipped.training_command(config)
    return [html_page.markdown("\n".join(model_card.training_section(workdir, starts, command)))]

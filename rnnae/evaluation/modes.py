"""`--mode evaluate`, `sample` and `complete`: what the command line does with a trained run."""

import contextlib
import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import ml_collections
import numpy as np

from rnnae import files, models
from rnnae.data import binarisation
from rnnae.data.images import ReadOptions, image_size, read_grey, read_image
from rnnae.devices import parallel
from rnnae.errors import ConfigError, one_line
from rnnae.evaluation import (
    classes,
    columns,
    completion,
    figures,
    image_grids,
    loading,
    sample_report,
)
from rnnae.evaluation.evaluate import Evaluator, check_protocol
from rnnae.evaluation.metrics import format_metrics
from rnnae.records import provenance
from rnnae.records.writer import read_metrics


def evaluate(
    config: ml_collections.ConfigDict,
    workdir: str | Path,
    out: str | Path | None = None,
    weights: str | Path | None = None,
) -> dict[str, object]:
    """Measures the splits of `config.eval.splits` with the run in `workdir`, or with `weights` (a
    name or a directory): of the training images the first 10,000, and all images of the other
    splits.

    The metrics are printed, returned, and saved in `out` with the settings, the step of the
    weights, the KL of each step of the latent, and the machine and versions. Without `out` that is
    `workdir`/evaluation.json; if it cannot be written there, a printed line says so. The metrics of
    each image and seed go to a file beside it, scores.parquet or NAME.parquet of `out`.

    With `config.eval.samples`, new images are compared with the test images (`sample_report`),
    whatever the splits are. A mixture is fitted for them if the run has none. Their nearest
    training images go to `workdir`/pictures/neighbours.png, or NAME_neighbours.png beside `out`.
    """
    workdir = files.expand(workdir)
    path = files.expand(out) if out else workdir / files.EVALUATION
    beside = path.with_suffix(".parquet") if out else workdir / files.SCORES
    shown = workdir / files.FIGURES / sample_report.NEIGHBOURS
    if out:
        shown = path.with_name(f"{path.stem}_{sample_report.NEIGHBOURS}")
    if beside == path:
        raise ConfigError(
            f"--out={out} is for the means, so it cannot end in .parquet: name a .json"
        )
    run, source = loading.open_run(config, workdir, weights, (path, beside, shown) if out else ())
    splits = loading.load_splits_of(run, config, source)
    check_protocol(run.model, splits.test, config.data.binarise)
    sample_report.check(run.model, config, splits)
    devices = parallel.choose_devices(config.devices)
    evaluator = Evaluator(run.model, devices, config)
    settings = config.eval.to_dict()
    environment = provenance.describe(devices)
    result: dict[str, object] = {"environment": environment, "eval": settings, "step": run.step}
    scores, picture = [], None
    for split in config.eval.splits:
        if split == "valid" and config.data.train_on_all:
            print("valid: no images, because the run was trained on them too")
            continue
        images, label_N = splits.to_measure(split, run.model.classes)
        means, kl_T, by_seed = evaluator(run.params, images, label_N, full=True)
        scores.append(columns.of_scores(split, getattr(splits.labels, split), by_seed))
        metrics = format_metrics(means)
        print(f"{split} ({len(images):,} images, weights of step {run.step:,}): {metrics}")
        result |= {f"{split}/{name}": value for name, value in means.items()}
        if len(kl_T) > 1:
            result[f"{split}/kl_by_step"] = kl_T.tolist()
    if config.eval.samples:
        run = figures.with_prior(run, splits, figures.MixtureSize.final(config))
        values, picture = sample_report.measure(run, splits, config)
        result |= {f"test/{name}": value for name, value in values.items()}
    # Only now, so that an evaluation that is interrupted does not replace a complete one.
    text = json.dumps(result, indent=2) + "\n"
    with _writing("these numbers were", path, required=bool(out)):
        if scores:
            columns.write(beside, columns.join(scores))
        files.replace_text(path, text)
    if picture:
        with _writing("the nearest training images were", shown, required=bool(out)):
            image_grids.neighbours(shown, *picture)
    return result


@contextlib.contextmanager
def _writing(what: str, path: Path, *, required: bool) -> Iterator[None]:
    """Makes the directory of `path`, for the body to write there. An OSError is one printed line,
    unless the file is `required`."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield
    except OSError as error:
        if required:
            raise
        reason = error.strerror or one_line(error)
        print(f"{what} not saved in {path} ({reason}); --out FILE saves them elsewhere")


class SampleRequest(NamedTuple):
    """What `--mode sample` draws; see `TrainedRun.sample`."""

    label: str | None = None  # the name or the number of a class
    count: int = 64
    draw_seed: int | None = None  # None: that of the run
    temperature: float = 1.0
    guidance: float = 0.0


def sample(
    config: ml_collections.ConfigDict,
    workdir: str | Path,
    wanted: SampleRequest = SampleRequest(),  # noqa: B008
    out: str | Path | None = None,
    weights: str | Path | None = None,
) -> None:
    """Draws new images with the run in `workdir`, or with `weights` (a name or a directory): a PNG
    with all of them in a grid, or an array uint8 (N, H, W, C) in an .npy file with its description
    beside it.

    With `out`, the name of such a file, nothing else is written, and the data set is not needed.
    Without it, both files and all figures go to `workdir`/samples. A missing mixture is fitted
    again, which needs the data set.
    """
    workdir = files.expand(workdir)
    outputs = [] if out is None else [files.expand(out)]
    run, source = loading.open_run(config, workdir, weights, outputs)
    models.require_generative(run.model)
    if out is None or not figures.has_prior(run, wanted.label is not None):
        splits = loading.load_splits_of(run, config, source)
        if not run.model.has_prior and run.mixture is None:
            print(
                "fitting a mixture of Gaussians to the latents of the training images", flush=True
            )
        run = figures.with_prior(run, splits, figures.MixtureSize.final(config))
    label = None if wanted.label is None else classes.parse(wanted.label, run.class_names)
    seed = run.config.seed if wanted.draw_seed is None else wanted.draw_seed
    images = run.sample(
        wanted.count,
        seed,
        label=label,
        temperature=wanted.temperature,
        guidance=wanted.guidance,
    )
    about = {
        "run": str(weights or workdir),
        "step": run.step,
        "seed": seed,
        "class": None if label is None else run.class_names[label],
        "temperature": wanted.temperature,
        "guidance": wanted.guidance,
    }
    if out is not None:
        _save_images(files.expand(out), images, about)
        print(f"{len(images)} new images in {out}")
        return
    directory = workdir / files.SAMPLES
    figures.write_figures(run, splits.test, read_metrics(source), directory)
    for ending in (".png", ".npy"):
        _save_images(directory / f"samples{ending}", images, about)
    print(f"figures in {directory}")


class CompletionRequest(NamedTuple):
    """What `--mode complete` completes; see `TrainedRun.complete`."""

    image: str
    mask: str
    count: int = 8
    label: str | None = None
    draw_seed: int | None = None  # None: that of the run


def complete(
    config: ml_collections.ConfigDict,
    workdir: str | Path,
    wanted: CompletionRequest,
    out: str | Path | None = None,
    weights: str | Path | None = None,
) -> None:
    """Draws the pixels of an image file that its mask, an image file of the same size, does not
    give: those where it is dark. The result is a grid of the image, its given part and the
    completions in a .png file, or the completions as an array uint8 (N, H, W, C) in an .npy file
    with its description beside it.

    Both files are resized and cropped as those of a folder of images are, and the image is
    binarised if the run was trained on binary images. Raises DataError for files that are no
    images, and ConfigError if all pixels are given.
    """
    workdir = files.expand(workdir)
    path = files.expand(out) if out else workdir / "completed.png"
    run, _ = loading.open_run(config, workdir, weights, [path] if out else ())
    models.require_generative(run.model)
    image_HWC, mask_HW = _read_given(wanted, run.config.data, config.data.max_megapixels)
    seed = run.config.seed if wanted.draw_seed is None else wanted.draw_seed
    if run.model.likelihood.binary or run.config.data.binarise != "none":
        image_HWC = binarisation.binarise_once(image_HWC, seed)
    label = None if wanted.label is None else classes.parse(wanted.label, run.class_names)
    found = run.complete(
        np.repeat(image_HWC[None], wanted.count, axis=0), mask_HW, seed, label=label
    )
    about = {
        "run": str(weights or workdir),
        "step": run.step,
        "image": wanted.image,
        "mask": wanted.mask,
        "seed": seed,
        "class": None if label is None else run.class_names[label],
        "method": found.method,
    }
    if not out:
        workdir.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".npy":
        _save_images(path, found.images_NHWC, about)
    else:
        image_grids.completions(path, image_HWC[None], mask_HW, found.images_NHWC[:, None])
    how = {
        "exact": "drawn exactly: the given pixels come first in a scan order",
        "particles": f"by {completion.PARTICLES} particles each, of which at least "
        f"{found.effective_N.min():.1f} were effective at every step",
        "pseudo-Gibbs": f"approximate, by {completion.GIBBS_STEPS} steps of pseudo-Gibbs sampling",
    }
    print(f"{wanted.count} completions in {path} ({how[found.method]})")


def _read_given(
    wanted: CompletionRequest, data: ml_collections.ConfigDict, max_megapixels: float
) -> tuple[np.ndarray, np.ndarray]:
    """The image uint8 (H, W, C), and the mask bool (H, W), true where the image is given, both as
    `data`, of the config of the run, describes its images."""
    shape = tuple(data.shape)
    options = ReadOptions(data.background, max_megapixels)
    image, mask = files.expand(wanted.image), files.expand(wanted.mask)
    sizes = [image_size(path) for path in (image, mask)]
    if sizes[0] != sizes[1]:
        of_image, of_mask = ("x".join(map(str, size)) for size in sizes)
        raise ConfigError(
            f"--mask={wanted.mask} has {of_mask} pixels, and --image={wanted.image} {of_image}: "
            "both must have the same size"
        )
    mask_HW = read_grey(mask, shape[:2], options)[..., 0] >= 128
    if mask_HW.all():
        raise ConfigError(
            f"--mask={wanted.mask} is white everywhere, so nothing is missing: make the pixels "
            "black that are to be drawn"
        )
    if shape[2] == 1:
        return read_grey(image, shape[:2], options), mask_HW
    return read_image(image, shape, options), mask_HW


def _save_images(path: Path, images_NHWC: np.ndarray, about: dict[str, object]) -> None:
    """Writes the images to a .png or an .npy file."""
    if path.suffix == ".npy":
        files.replace_file(path, lambda temporary: _save_array(temporary, images_NHWC))
        files.replace_text(path.with_name(path.name + ".json"), json.dumps(about, indent=2) + "\n")
    else:
        columns = math.ceil(math.sqrt(len(images_NHWC)))
        image_grids.grid(path, images_NHWC, columns, about)


def _save_array(path: Path, array: np.ndarray) -> None:
    with path.open("wb") as file:  # np.save would append .npy to the name
        np.save(file, array)

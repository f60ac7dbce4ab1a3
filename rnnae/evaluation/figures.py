"""The figures of a run: new images, reconstructions, interpolations, completions, curves."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import ml_collections
import numpy as np

from rnnae import files
from rnnae.data import binarisation
from rnnae.data.images import ImageArray
from rnnae.data.splits import Splits
from rnnae.devices import signals
from rnnae.evaluation import curves, image_grids
from rnnae.evaluation.mixture import digest
from rnnae.evaluation.trained_run import TrainedRun

MIXTURE_IMAGES = 50_000  # at most so many training images give the latents of the final mixture


class MixtureSize(NamedTuple):
    """The mixture of Gaussians fitted to the latents of a model without a prior."""

    images: int  # training images, at most
    components: int
    by_class: bool  # also fit one to each class, if the classes are known

    @classmethod
    def final(cls, config: ml_collections.ConfigDict) -> "MixtureSize":
        """That of the mixture of a finished run."""
        return cls(MIXTURE_IMAGES, config.eval.mixture_components, by_class=True)


def has_prior(run: TrainedRun, of_class: bool) -> bool:
    """Whether the run has what its new images, or those of a class, are decoded from."""
    if run.model.has_prior:
        return True
    wanted = run.class_mixture if of_class and not run.model.classes else run.mixture
    return wanted is not None


def needs_mixtures(run: TrainedRun, splits: Splits, size: MixtureSize) -> bool:
    """Whether `with_prior` would fit mixtures."""
    by_class = _by_class(splits, size)
    return not (run.model.has_prior or (run.mixture and (run.class_mixture or not by_class)))


def with_prior(run: TrainedRun, splits: Splits, size: MixtureSize) -> TrainedRun:
    """The run, with mixtures fitted to the latents of training images if it has no prior."""
    if not needs_mixtures(run, splits, size):
        return run
    images_NHWC = _eval_subset(splits.train, size.images, run.config)
    label_N = splits.labels.train[: len(images_NHWC)] if _by_class(splits, size) else None
    return run.with_mixture(images_NHWC, size.components, label_N)


def _by_class(splits: Splits, size: MixtureSize) -> bool:
    if not (size.by_class and splits.class_names):
        return False
    return bool((splits.labels.train[: size.images] >= 0).any())


def _eval_subset(images: ImageArray, most: int, config: ml_collections.ConfigDict) -> np.ndarray:
    """The first images of a split, at most `most`, binarised if the config binarises."""
    chosen = images[np.arange(min(len(images), most))]
    return binarisation.evaluation_images(chosen, config.data.binarise, config.eval.seeds[0])


def save_mixtures(run: TrainedRun, workdir: Path) -> None:
    """Writes the mixtures that the run has to `workdir`, where `load` finds them."""
    for name, found in ((files.MIXTURE, run.mixture), (files.CLASS_MIXTURE, run.class_mixture)):
        if found is not None:
            found.save(workdir / name, run.step, digest(run.params))


def write_figures(
    run: TrainedRun, images: ImageArray, records: Sequence[dict], directory: Path, where: str = ""
) -> None:
    """Writes the figures of a run from held-out images and its metrics so far.

    `files.LAST_FIGURE` is written last.

    A signal stops it between two figures; `where` completes the message.
    """
    directory.mkdir(parents=True, exist_ok=True)
    images_NHWC = _eval_subset(images, 20, run.config)
    for write in _WRITERS if run.model.generative else ():
        signals.check_single_process(where)
        write(run, images_NHWC, directory)
    if records:
        signals.check_single_process(where)
        curves.loss_curves(directory / files.LAST_FIGURE, records)


def _generated(run: TrainedRun, images_NHWC: np.ndarray, directory: Path) -> None:
    image_grids.generated(directory / "generated.png", run.sample(10, run.config.seed))


def _classes(run: TrainedRun, images_NHWC: np.ndarray, directory: Path) -> None:
    """A row of new images for each class, of at most 20 classes."""
    if run.makes_classes:
        classes = min(len(run.class_names), 20)
        label_N = np.repeat(np.arange(classes), 10)
        images = run.sample(len(label_N), run.config.seed, label=label_N)
        strips = images.reshape(classes, 10, *run.model.image_shape)
        image_grids.classes(directory / "classes.png", strips, run.class_names[:classes])


def _reconstructions(run: TrainedRun, images_NHWC: np.ndarray, directory: Path) -> None:
    if run.model.latent_dimensions:
        originals = images_NHWC[:10]
        path = directory / "reconstructions.png"
        image_grids.reconstructions(path, originals, run.reconstruct(originals))


def _interpolation(run: TrainedRun, images_NHWC: np.ndarray, directory: Path) -> None:
    pairs = min(5, len(images_NHWC) // 2)
    if run.model.latent_dimensions and pairs:
        ends = [(images_NHWC[i], images_NHWC[-1 - i]) for i in range(pairs)]
        strips = np.stack([run.interpolate(first, last, 11) for first, last in ends])
        image_grids.strips(directory / "interpolation.png", strips)


def _completions(run: TrainedRun, images_NHWC: np.ndarray, directory: Path) -> None:
    if "complete" in run.model.capabilities:
        originals, height = images_NHWC[:10], run.model.token_height
        rows = run.model.image_shape[0] // height // 2 * height  # the upper half
        four = np.tile(originals, (4, 1, 1, 1))
        mask = np.zeros(originals.shape[1:3], bool)
        mask[:rows] = True
        drawn = run.complete(four, mask, run.config.seed).images_NHWC.reshape(4, *originals.shape)
        image_grids.completions(directory / "completions.png", originals, mask, drawn)


def _orders(run: TrainedRun, images_NHWC: np.ndarray, directory: Path) -> None:
    """What each scan order of a mixture finds hard."""
    if run.model.orders > 1:
        images_NHWC = images_NHWC[:10]
        nats_NORQ = -run.log_prob_maps(images_NHWC)
        image_grids.orders(directory / "orders.png", images_NHWC, nats_NORQ)


def _same_latent(run: TrainedRun, images_NHWC: np.ndarray, directory: Path) -> None:
    """Ten draws from each of ten latents, of a decoder that draws: what the latent determines, and
    what it leaves to the decoder."""
    if run.model.latent_dimensions and "complete" in run.model.capabilities:
        latents = np.repeat(run.sample_latents(10, run.config.seed), 10, axis=0)
        strips = run.decode(latents, run.config.seed).reshape(10, 10, *run.model.image_shape)
        image_grids.strips(directory / "same_latent.png", strips)


def _frames(run: TrainedRun, images_NHWC: np.ndarray, directory: Path) -> None:
    if "frames" in run.model.capabilities:
        frames = run.frames(run.sample_latents(10, run.config.seed))
        image_grids.canvas(directory / "canvas.gif", *frames)
        painted, _ = run.frames(run.encode(images_NHWC))
        error = (painted.astype(np.float64) - images_NHWC[None]) / 255
        curves.error_by_step(directory / "error_by_glimpse.png", (error**2).mean(axis=(1, 2, 3, 4)))


# Each writes its figure from (run, held-out images, directory), if the model can.
_WRITERS = (
    _generated,
    _classes,
    _reconstructions,
    _interpolation,
    _completions,
    _orders,
    _same_latent,
    _frames,
)

"""The pictures of a run, and `--mode sample`."""

from collections.abc import Callable
from pathlib import Path

import ml_collections
import numpy as np

from rnnae.evaluation import image_grids, trained_run
from rnnae.records.writer import read_metrics

LAST_PICTURE = "curves.png"


def draw(
    run: trained_run.Run,
    images_NHWC: np.ndarray,
    records: list[dict],
    directory: Path,
    between: Callable[[], None] = lambda: None,
) -> None:
    """Writes the run's pictures from held-out images and its metrics so far, `LAST_PICTURE` at the
    end; `between` is called before each, and may raise to give up."""
    directory.mkdir(parents=True, exist_ok=True)
    chosen = trained_run.few(images_NHWC, 20, run.config)
    between()
    image_grids.generated(directory / "generated.png", run.sample(10, run.config.seed))
    originals, pairs = chosen[:10], []
    if run.model.latent_dimensions:
        between()
        image_grids.reconstructions(
            directory / "reconstructions.png", originals, run.reconstruct(originals)
        )
        pairs = [(chosen[i], chosen[-1 - i]) for i in range(min(5, len(chosen) // 2))]
    if pairs:
        between()
        strips = np.stack([run.interpolate(first, last, 11) for first, last in pairs])
        image_grids.strips(directory / "interpolation.png", strips)
    if "complete" in run.model.capabilities:
        between()
        height = run.model.token_height
        rows = run.model.image_shape[0] // height // 2 * height
        four = np.tile(originals, (4, 1, 1, 1))
        drawn = run.complete(four, rows, run.config.seed).reshape(4, *originals.shape)
        image_grids.completions(directory / "completions.png", originals, rows, drawn)
        if run.model.latent_dimensions:  # what the code says, and what it leaves to the decoder
            between()
            codes = np.repeat(run.codes(10, run.config.seed), 10, axis=0)
            strips = run.decode(codes, run.config.seed).reshape(10, 10, *run.model.image_shape)
            image_grids.strips(directory / "codes.png", strips)
    if "frames" in run.model.capabilities:
        between()
        image_grids.canvas(directory / "canvas.gif", *run.frames(run.codes(10, run.config.seed)))
        painted, _ = run.frames(run.encode(chosen))
        error = (painted.astype(np.float64) - chosen[None]) / 255
        image_grids.error_by_step(
            directory / "error_by_glimpse.png", (error**2).mean(axis=(1, 2, 3, 4))
        )
    if records:
        between()
        image_grids.curves(directory / LAST_PICTURE, records)


def main(config: ml_collections.ConfigDict, workdir: str | Path) -> None:
    """`--mode sample`: new images and reconstructions of test images into `workdir`/samples."""
    workdir = Path(workdir)
    run, splits = trained_run.load_with_splits(config, workdir)
    if run.mixture is None and not run.model.has_prior:
        run = run.with_mixture(
            trained_run.few(splits.train, trained_run.MIXTURE_IMAGES, config),
            config.eval.mixture_components,
        )
    directory = workdir / "samples"
    draw(run, splits.test, read_metrics(workdir), directory)
    images = run.sample(64, config.seed)
    image_grids.grid(directory / "samples_8x8.png", images, 8, 8)
    np.save(directory / "samples_8x8.npy", images)
    print(f"pictures in {directory}")

"""`--mode evaluate` and `--mode sample`: what is done with a trained run from the command line."""

import json
from pathlib import Path

import ml_collections
import numpy as np

from rnnae import files
from rnnae.devices import parallel
from rnnae.errors import one_line
from rnnae.evaluation import figures, image_grids, trained_run
from rnnae.evaluation.evaluate import Evaluator, check_protocol, format_metrics
from rnnae.records import provenance
from rnnae.records.writer import read_metrics


def evaluate(
    config: ml_collections.ConfigDict, workdir: str | Path, out: str | Path | None = None
) -> dict[str, object]:
    """Measures the splits of `config.eval.splits` with the run in `workdir`.

    The metrics are printed, returned, and saved in `out` with the settings, the step of the
    weights, the KL of each step of the latent, and the machine and versions. Without `out` that is
    `workdir`/evaluation.json; if it cannot be written there, a printed line says so.
    """
    workdir = files.expand(workdir)
    path = files.expand(out) if out else workdir / files.EVALUATION
    if out:
        files.check_output(path)  # now, because the evaluation may take hours
    run, splits = trained_run.load_with_splits(config, workdir)
    check_protocol(run.model, splits.test, config.data.binarise)
    devices = parallel.choose_devices(config.devices)
    evaluator = Evaluator(run.model, devices, config)
    settings = config.eval.to_dict()
    environment = provenance.describe(devices)
    result: dict[str, object] = {"environment": environment, "eval": settings, "step": run.step}
    for split in config.eval.splits:
        if split == "valid" and config.data.train_on_all:
            print("valid: no images, because the run was trained on them too")
            continue
        images = getattr(splits, split)
        means, kl_T = evaluator(run.params, images, full=True)
        metrics = format_metrics(means)
        print(f"{split} ({len(images):,} images, weights of step {run.step:,}): {metrics}")
        result |= {f"{split}/{name}": value for name, value in means.items()}
        if len(kl_T) > 1:
            result[f"{split}/kl_by_step"] = kl_T.tolist()
    # Only now, so that an evaluation that is interrupted does not replace a complete one.
    text = json.dumps(result, indent=2) + "\n"
    try:
        files.replace_text(path, text)
    except OSError as error:
        if out:
            raise
        reason = error.strerror or one_line(error)
        print(f"these numbers were not saved in {path} ({reason}); --out FILE saves them elsewhere")
    return result


def sample(config: ml_collections.ConfigDict, workdir: str | Path) -> None:
    """Draws new images and reconstructions of test images into `workdir`/samples."""
    workdir = files.expand(workdir)
    run, splits = trained_run.load_with_splits(config, workdir)
    components = config.eval.mixture_components
    size = figures.MixtureSize(figures.MIXTURE_IMAGES, components)
    if not run.model.has_prior and run.mixture is None:
        print("fitting a mixture of Gaussians to the latents of the training images", flush=True)
    run = figures.with_prior(run, splits, size)
    directory = workdir / files.SAMPLES
    figures.write_figures(run, splits.test, read_metrics(workdir), directory)
    images = run.sample(64, config.seed)
    image_grids.grid(directory / "samples_8x8.png", images, 8, 8)
    files.replace_file(directory / "samples_8x8.npy", lambda path: _save_array(path, images))
    print(f"figures in {directory}")


def _save_array(path: Path, array: np.ndarray) -> None:
    with path.open("wb") as file:  # np.save would append .npy to the name
        np.save(file, array)

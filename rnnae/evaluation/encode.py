"""`--mode encode`: the latents of a data set, for whatever is done with them elsewhere."""

from pathlib import Path

import ml_collections
import numpy as np

from rnnae import files
from rnnae.data import binarisation
from rnnae.errors import ConfigError
from rnnae.evaluation import columns, loading

_IMAGES = 5000  # at a time


def encode(
    config: ml_collections.ConfigDict,
    workdir: str | Path,
    out: str | Path | None = None,
    weights: str | Path | None = None,
) -> Path:
    """Writes the mean latent of every image, with the run in `workdir` or with `weights`.

    `out` ends in .npz or .parquet; without it, the file is `workdir`/codes.npz. Its columns are the
    split, the index in the split, the label (-1: unknown) and the code (N, Z). Images are those of
    the protocol of the run: binarised with the first of `config.eval.seeds` if it binarises.
    Returns the path. ConfigError for a model without a latent, and for another ending.
    """
    path = files.expand(out or Path(workdir) / files.CODES)
    if path.suffix not in files.TABLE_ENDINGS:
        raise ConfigError(f"--out={out} must end in {' or '.join(files.TABLE_ENDINGS)}")
    outputs = [path] if out or path.exists() else []
    run, source = loading.open_run(config, workdir, weights, outputs)
    if not run.model.latent_dimensions:
        raise ConfigError("this model has no latent, so there is nothing to encode")
    splits = loading.load_splits_of(run, config, source)
    parts = []
    for split in ("train", "valid", "test"):
        if split == "valid" and config.data.train_on_all:
            continue  # they are among the training images
        images, label_N = getattr(splits, split), getattr(splits.labels, split)
        images = binarisation.evaluation_images(images, config.data.binarise, config.eval.seeds[0])
        told_N = label_N if run.model.classes else None
        codes = [
            run.encode(
                images[np.arange(start, min(start + _IMAGES, len(images)))],
                None if told_N is None else told_N[start : start + _IMAGES],
            )
            for start in range(0, len(images), _IMAGES)
        ]
        parts.append(columns.of_images(split, label_N) | {"code": np.concatenate(codes)})
    path.parent.mkdir(parents=True, exist_ok=True)
    columns.write(path, columns.join(parts))
    print(f"codes of {sum(len(part['index']) for part in parts):,} images in {path}")
    return path

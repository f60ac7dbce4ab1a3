"""How good the new images of a run are: `sample_metrics` against test images, the floor of these
metrics, FID for RGB images, and the nearest training images."""

import math
from pathlib import Path
from typing import NamedTuple

import ml_collections
import numpy as np

from rnnae import models
from rnnae.data import binarisation
from rnnae.data.images import ImageArray
from rnnae.data.splits import Splits
from rnnae.errors import ConfigError
from rnnae.evaluation import features as features_lib
from rnnae.evaluation import fid, image_grids, neighbours, sample_metrics
from rnnae.evaluation.features import Features
from rnnae.evaluation.sample_metrics import LEAST_IMAGES, SAMPLE_METRICS, metric_name
from rnnae.evaluation.trained_run import TrainedRun
from rnnae.models import Autoencoder
from rnnae.models.sampling import Sampling

FLOOR = "_floor"  # ends the names of metrics of training images instead of new ones
NEIGHBOURS = "neighbours.png"
_SHOWN = 10  # new images in the picture of neighbours
_COMPARED = 500  # new images, and test images, whose nearest training images are found
_MOST_VALUES = 2**27  # in the training images that are searched, 1 GiB as float64


def check(model: Autoencoder, config: ml_collections.ConfigDict, splits: Splits) -> None:
    """ConfigError if `report` could not measure new images of the model, for a reason that is known
    before there are any: it makes no images, it cannot sample in the way that was asked for, there
    are too few images, or the features do not fit or are not there."""
    if not config.eval.samples:
        return
    models.require_generative(model)
    sampling = Sampling(config.eval.temperature, config.eval.guidance)
    sampling.check(model.classes, model.likelihood)
    if config.eval.inception_weights and model.image_shape[2] != 3:
        raise ConfigError("config.eval.inception_weights is for RGB images, and these are not")
    has_features = _features(model, config, splits) is not None  # names that do not fit are refused
    if has_features and len(splits.test) < LEAST_IMAGES:
        raise ConfigError(
            f"config.eval.samples: there are only {len(splits.test)} test images to compare new "
            f"ones with, and at least {LEAST_IMAGES} are needed; set it to 0"
        )


def _features(
    model: Autoencoder, config: ml_collections.ConfigDict, splits: Splits
) -> Features | None:
    protocol = binarisation.protocol(splits.test, config.data.binarise)
    return features_lib.choose(config, protocol, model.image_shape)


class Picture(NamedTuple):
    """New images over their nearest training images, as `image_grids.neighbours` draws them."""

    images_NHWC: np.ndarray
    rows: list[tuple[str, np.ndarray, np.ndarray]]


def report(
    run: TrainedRun, splits: Splits, config: ml_collections.ConfigDict, directory: Path
) -> dict[str, float]:
    """The metrics that `measure` returns, after its picture was drawn to `directory`."""
    values, picture = measure(run, splits, config)
    if picture:
        directory.mkdir(parents=True, exist_ok=True)
        image_grids.neighbours(directory / NEIGHBOURS, *picture)
    return values


def measure(
    run: TrainedRun, splits: Splits, config: ml_collections.ConfigDict
) -> tuple[dict[str, float], Picture | None]:
    """The metrics of `config.eval.samples` new images by reported name, which are also printed; and
    some of the images with their nearest training images, None without features.

    The new images and the binarisation are a function of `config.eval.seeds[0]`. Mean images of a
    likelihood of binary pixels are binarised, which samples it. Another temperature or guidance
    than the model's own is in the names.

    A model that is told the class is asked for all classes in turn. If a model is told none, but
    its run has a mixture for each class, images of all classes in turn are measured too, under
    names with `given_class`.

    Raises ConfigError for what `check` would have found, and for Inception weights that are not
    there.
    """
    count, seed, binarise = config.eval.samples, config.eval.seeds[0], config.data.binarise
    protocol = binarisation.protocol(splits.test, binarise)
    features = _features(run.model, config, splits)
    turn_N = np.arange(count, dtype=np.int32) % max(len(run.class_names), 1)
    new_NHWC = _new_images(run, config, turn_N if run.model.classes else None)
    test_NHWC = _all(binarisation.evaluation_images(splits.test, binarise, seed))
    _say(f"test: {count:,} new images and {len(test_NHWC):,} test images ({protocol})")
    values = _fid(config, test_NHWC, new_NHWC)
    if features is None:
        where = f"{config.data.name} ({protocol})"
        _say(f"  no features for {where}, so no other metrics: {features_lib.HOW_TO_GET}")
        return values, None
    real_ND = features(test_NHWC)
    named = features.name + _changes(config)
    values |= _measured("new images", real_ND, features(new_NHWC), named)
    in_turn_NHWC = new_NHWC if run.model.classes else None
    if run.makes_classes and in_turn_NHWC is None:
        in_turn_NHWC, named = _new_images(run, config, turn_N), f"given_class_{named}"
        values |= _measured("of all classes in turn", real_ND, features(in_turn_NHWC), named)
    if in_turn_NHWC is not None and run.class_names == features.class_names:
        values |= _class_accuracy(in_turn_NHWC, turn_N, features, named)
    if count <= len(splits.train):
        for name, value in floor(splits, features, count, seed, binarise).items():
            own = name.removesuffix("_se")
            values[f"{own}{FLOOR}{name[len(own) :]}"] = value
    else:
        _say(f"  no floor: there are only {len(splits.train):,} training images")
    percentiles, picture = _neighbours(splits, features, new_NHWC, test_NHWC, seed, binarise)
    return values | percentiles, picture


def floor(
    splits: Splits, features: Features, count: int, seed: int, binarise: str = "none"
) -> dict[str, float]:
    """The metrics of `count` training images in place of new ones, by reported name: the values
    that a perfect model would reach with as many images.

    `seed` chooses the training images, and binarises them and the test images if `binarise` is
    "dynamic".
    """
    chosen_N = np.random.default_rng(seed).choice(len(splits.train), count, replace=False)
    train_NHWC = _training_images(splits, np.sort(chosen_N), seed, binarise)
    test_NHWC = _all(binarisation.evaluation_images(splits.test, binarise, seed))
    return _measured("floor", features(test_NHWC), features(train_NHWC), features.name)


def _new_images(
    run: TrainedRun, config: ml_collections.ConfigDict, label_N: np.ndarray | None
) -> np.ndarray:
    """The new images that are measured, binarised if the likelihood is one of binary pixels."""
    seed = config.eval.seeds[0]
    images_NHWC = run.sample(
        config.eval.samples,
        seed,
        label=label_N,
        temperature=config.eval.temperature,
        guidance=config.eval.guidance,
    )
    # Other random numbers than those of the real images.
    binary = run.model.likelihood.binary
    return binarisation.binarise_once(images_NHWC, seed ^ 2) if binary else images_NHWC


def _changes(config: ml_collections.ConfigDict) -> str:
    """The end of a name that says how new images differ from those of the model."""
    changes = (("temperature", 1.0), ("guidance", 0.0))
    return "".join(
        f"_{key}{config.eval[key]:g}" for key, usual in changes if config.eval[key] != usual
    )


def _all(images: ImageArray) -> np.ndarray:
    return images[np.arange(len(images))]


def _training_images(splits: Splits, index_N: np.ndarray, seed: int, binarise: str) -> np.ndarray:
    """Training images, binarised with other random numbers than the test images of this seed."""
    return binarisation.evaluation_images(splits.train[index_N], binarise, seed ^ 1)


def _measured(
    what: str, real_ND: np.ndarray, new_ND: np.ndarray, features: str
) -> dict[str, float]:
    values = sample_metrics.measure(real_ND, new_ND, features)
    words = [f"  {features}, {what}:"]
    for name, metric in SAMPLE_METRICS.items():
        reported = metric_name(name, features, len(new_ND))
        word = f"{name} {values[reported]:.{metric.digits}f}"
        if (error := values.get(f"{reported}_se")) is not None:
            word += f" ± {error:.{metric.digits}f}"
        words.append(word)
    _say("  ".join(words))
    return values


def _class_accuracy(
    new_NHWC: np.ndarray, asked_N: np.ndarray, features: Features, named: str
) -> dict[str, float]:
    value, error = sample_metrics.class_accuracy(features.predict(new_NHWC), asked_N)
    name = metric_name("class_accuracy", named, len(new_NHWC))
    _say(f"  {features.name}, of the class that was asked for: {value:.4f} ± {error:.4f}")
    return {name: value, f"{name}_se": error}


def _fid(
    config: ml_collections.ConfigDict, test_NHWC: np.ndarray, new_NHWC: np.ndarray
) -> dict[str, float]:
    """FID of RGB images, if there is a file of Inception weights."""
    path = config.eval.inception_weights
    if not path:
        if new_NHWC.shape[3] == 3:
            _say(
                f"  no FID: give the path of {fid.WEIGHTS} as config.eval.inception_weights, and "
                'install "rnnae[fid]"'
            )
        return {}
    value = fid.torch_fidelity_frechet(test_NHWC, new_NHWC, path)
    _say(f"  FID {value:.2f}")
    return {metric_name("fid", "inception", len(new_NHWC)): value}


def _neighbours(
    splits: Splits,
    features: Features,
    new_NHWC: np.ndarray,
    test_NHWC: np.ndarray,
    seed: int,
    binarise: str,
) -> tuple[dict[str, float], Picture]:
    """The mean percentiles of the distances of some new images from their nearest training images
    among those of test images, see `distance_percentile`; and the first of the new images."""
    searched = min(len(splits.train), max(1, _MOST_VALUES // math.prod(new_NHWC.shape[1:])))
    train_NHWC = _training_images(splits, np.arange(searched), seed, binarise)
    new_NHWC, test_NHWC = new_NHWC[:_COMPARED], test_NHWC[:_COMPARED]
    values, rows, words = {}, [], []
    for name, function in (("pixels", _pixels), (features.name, features)):
        train_ND = function(train_NHWC)
        found = neighbours.nearest(function(new_NHWC), train_ND)
        of_test = neighbours.nearest(function(test_NHWC), train_ND)
        percentile_N = neighbours.distance_percentile(
            found.distance_NK[:, 0], of_test.distance_NK[:, 0]
        )
        label = f"nearest training image in {name}; its distance as a percentile of test images'"
        rows.append((label, train_NHWC[found.index_NK[:_SHOWN, 0]], percentile_N[:_SHOWN]))
        reported = metric_name("neighbour_percentile", name, len(new_NHWC))
        values[reported] = float(percentile_N.mean())
        if len(percentile_N) > 1:
            error = percentile_N.std(ddof=1) / math.sqrt(len(percentile_N))
            values[f"{reported}_se"] = float(error)
        words.append(f"{values[reported]:.1f} ({name})")
    _say(
        f"  nearest training images of {len(new_NHWC)} new images: mean percentile among test "
        f"images {', '.join(words)}; 50 is that of test images, 0 of copies"
    )
    return values, Picture(new_NHWC[:_SHOWN], rows)


def _pixels(images_NHWC: np.ndarray) -> np.ndarray:
    return images_NHWC.reshape(len(images_NHWC), -1) / 255


def _say(line: str) -> None:
    print(line, flush=True)

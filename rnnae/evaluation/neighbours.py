"""Nearest neighbours of images, in pixels or in features: are new images copies of training images?

`distance_percentile` sets the distance of a new image to its nearest training image among the same
distances of test images, which no model has seen.
"""

from typing import NamedTuple

import numpy as np

from rnnae.errors import ConfigError, NonFiniteError

_BLOCK = 2**23  # numbers in one block of differences, 64 MiB


class Neighbours(NamedTuple):
    """The K nearest reference images of each of N images, the nearest first; ties by index."""

    index_NK: np.ndarray  # int64
    distance_NK: np.ndarray  # float64, Euclidean, in units of the features


def nearest(image_ND: np.ndarray, reference_ND: np.ndarray, *, k: int = 1) -> Neighbours:
    """The k nearest reference images of each image. An exact copy has a distance of exactly 0.

    D is the number of features: `images_NHWC.reshape(len(images_NHWC), -1)` for pixels.

    Raises:
        ConfigError: there is no image, or fewer than k reference images.
        NonFiniteError: features are infinite or NaN.
        ValueError: the arrays are not (N, D) with one D.
    """
    from sklearn.neighbors import NearestNeighbors  # one second to import

    image_ND = checked_features("images", image_ND, 1, "a search of neighbours")
    reference_ND = checked_features(
        "reference images", reference_ND, k, f"a search of {k} neighbours"
    )
    check_width(image_ND, reference_ND)
    # The search rounds its distances. A few more candidates are ranked by the exact distance.
    candidates = min(k + 4, len(reference_ND))
    search = NearestNeighbors(n_neighbors=candidates, algorithm="brute").fit(reference_ND)
    rows = max(1, _BLOCK // (candidates * image_ND.shape[1]))
    parts = []
    for start in range(0, len(image_ND), rows):
        block_BD = image_ND[start : start + rows]
        index_BK = search.kneighbors(block_BD, return_distance=False)
        difference_BKD = reference_ND[index_BK] - block_BD[:, None]
        distance_BK = np.sqrt((difference_BKD**2).sum(axis=2))
        order_BK = np.lexsort((index_BK, distance_BK))[:, :k]
        parts.append([np.take_along_axis(a, order_BK, axis=1) for a in (index_BK, distance_BK)])
    return Neighbours(*(np.concatenate(arrays) for arrays in zip(*parts, strict=True)))


def distance_percentile(distance_N: np.ndarray, test_distance_N: np.ndarray) -> np.ndarray:
    """Percentage of test images that are closer to their nearest training image than each new image
    is to its own, (N,), from 0 to 100.

    New images that are as far from the training images as test images are have percentiles spread
    evenly from 0 to 100. An exact copy of a training image has 0; a set with many small percentiles
    is memorised.

    Raises:
        NonFiniteError: a distance is infinite or NaN.
        ValueError: the arrays are not (N,), or there is no test image.
    """
    distance_N, test_distance_N = (
        _finite("nearest-neighbour distances", values_N)
        for values_N in (distance_N, test_distance_N)
    )
    if distance_N.ndim != 1 or test_distance_N.ndim != 1 or not len(test_distance_N):
        raise ValueError(
            "distances of new and of test images must be arrays (N,) with at least one test image, "
            f"not {distance_N.shape} and {test_distance_N.shape}"
        )
    closer_N = np.searchsorted(np.sort(test_distance_N), distance_N, side="left")
    return 100 * closer_N / len(test_distance_N)


def checked_features(
    images: str, features_ND: np.ndarray, at_least: int, purpose: str
) -> np.ndarray:
    """Features as float64, if they are (N, D), finite, and of `at_least` images."""
    features_ND = _finite(f"features of the {images}", features_ND)
    if features_ND.ndim != 2 or not features_ND.shape[1]:
        raise ValueError(f"features of the {images} must be (N, D), not {features_ND.shape}")
    if len(features_ND) < at_least:
        raise ConfigError(
            f"{purpose} needs at least {at_least} {images}, not {len(features_ND)}: use more images"
        )
    return features_ND


def check_width(first_ND: np.ndarray, second_ND: np.ndarray) -> None:
    """ValueError unless both sets have the same number of features."""
    if first_ND.shape[1] != second_ND.shape[1]:
        raise ValueError(
            "both sets must have the same number of features, not "
            f"{first_ND.shape[1]} and {second_ND.shape[1]}"
        )


def _finite(what: str, values: np.ndarray) -> np.ndarray:
    values = np.asarray(values, np.float64)
    if not np.isfinite(values).all():
        raise NonFiniteError(f"{what} are infinite or NaN: check the weights that computed them")
    return values

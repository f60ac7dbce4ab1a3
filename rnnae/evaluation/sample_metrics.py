"""Metrics of a set of new images against a set of real ones, over their features.

To add one, write its function here and its line in `SAMPLE_METRICS`. Features are float arrays
(N, D), one row an image: activations of a classifier, or pixels. All arithmetic is in float64.

The value of such a metric depends on the features and on the number of images. The Fréchet distance
falls with it even for a perfect model (Bińkowski et al. 2018). Metric names therefore
include both (`metric_name`), and every table needs a floor: real images against other real images.
"""

import math
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np

from rnnae.errors import ConfigError
from rnnae.evaluation.neighbours import check_width, checked_features

LEAST_IMAGES = 6  # of each set, for all metrics: an image and its five nearest others
_BLOCK = 2**20  # numbers in one block of a distance matrix, 8 MiB
# Of the squared norms: squared distances this close are equal. Matrix products round them, and how
# they do depends on the size of the block.
_TIE = 1e-11
_KID_BLOCKS = 10  # at least, if there are images enough: a standard error needs several blocks


class Estimate(NamedTuple):
    """A value and its standard error."""

    value: float
    standard_error: float


def frechet_from_moments(
    mean_1D: np.ndarray, cov_1DD: np.ndarray, mean_2D: np.ndarray, cov_2DD: np.ndarray
) -> float:
    """Squared Fréchet distance of two Gaussians, in squared units of the features.

    Dowson and Landau (1982): |m1 - m2|^2 + tr(S1 + S2 - 2 (S1 S2)^(1/2)). The last
    trace is that of (S1^(1/2) S2 S1^(1/2))^(1/2). This product is symmetric, so its eigenvalues are
    real also for singular covariances. Rounding makes some slightly negative; they count as 0.
    """
    mean_1D, cov_1DD, mean_2D, cov_2DD = (
        np.asarray(moment, np.float64) for moment in (mean_1D, cov_1DD, mean_2D, cov_2DD)
    )
    value_D, vector_DD = np.linalg.eigh(cov_1DD)
    root_DD = (vector_DD * np.sqrt(np.maximum(value_D, 0))) @ vector_DD.T
    product_D = np.linalg.eigvalsh(root_DD @ cov_2DD @ root_DD)
    trace = np.trace(cov_1DD) + np.trace(cov_2DD) - 2 * np.sqrt(np.maximum(product_D, 0)).sum()
    return max(0.0, float(((mean_1D - mean_2D) ** 2).sum() + trace))


def frechet(real_ND: np.ndarray, new_ND: np.ndarray) -> float:
    """Squared Fréchet distance of the Gaussians with the mean and the unbiased covariance of each
    set (Heusel et al. 2017, equation 6), in squared units of the features."""
    moments = []
    for features_ND in _pair("the Fréchet distance", real_ND, new_ND, at_least=2):
        moments += [features_ND.mean(axis=0), np.atleast_2d(np.cov(features_ND, rowvar=False))]
    return frechet_from_moments(*moments)


def kid(
    real_ND: np.ndarray, new_ND: np.ndarray, *, block_size: int = 1000, seed: int = 0
) -> Estimate:
    """Kernel distance: the unbiased squared MMD with the kernel (x.y / D + 1)^3 (Bińkowski et al.
    2018, section 4), as the mean and standard error over disjoint blocks of images.

    Each set is shuffled by the seed and cut into blocks of `block_size`; smaller ones if fewer than
    ten would result. The size does not change the expectation. The images that are left over are
    not used. Values below 0 are valid: the expectation for independent samples of one distribution
    is 0. A set against itself is below 0, by 2 / N of the mean of k(x, x) - k(x, x').
    """
    real_ND, new_ND = _pair("the kernel distance", real_ND, new_ND, at_least=4)
    smaller = min(len(real_ND), len(new_ND))
    size = max(2, min(block_size, smaller // _KID_BLOCKS))
    # Two different permutations: if the sets are equal, their blocks are not.
    real_P, new_P = (
        np.random.Generator(np.random.Philox(key=[seed, position])).permutation(len(features_ND))
        for position, features_ND in enumerate((real_ND, new_ND))
    )
    starts = range(0, smaller - size + 1, size)
    blocks = [
        _mmd(real_ND[real_P[start : start + size]], new_ND[new_P[start : start + size]])
        for start in starts
    ]
    return _estimate(np.array(blocks))


def _mmd(x_ND: np.ndarray, y_ND: np.ndarray) -> float:
    """Unbiased estimate of the squared MMD (Gretton et al. 2012, equation 3)."""

    def kernel(a_ND, b_ND):
        return (a_ND @ b_ND.T / a_ND.shape[1] + 1) ** 3

    def mean_of_pairs(a_ND):  # over pairs of different images
        kernel_NN = kernel(a_ND, a_ND)
        return (kernel_NN.sum() - np.trace(kernel_NN)) / (len(a_ND) * (len(a_ND) - 1))

    return float(mean_of_pairs(x_ND) + mean_of_pairs(y_ND) - 2 * kernel(x_ND, y_ND).mean())


def precision(real_ND: np.ndarray, new_ND: np.ndarray, *, k: int = 3) -> float:
    """Share of new images inside the manifold of the real ones (Kynkäänniemi et al. 2019,
    equations 1 and 2): within the ball of at least one real image, whose radius is the distance to
    its k-th nearest other real image. Balls include their surface."""
    real_ND, new_ND = _pair("precision", real_ND, new_ND, at_least=k + 1)
    inside = [
        inside_BN.any(axis=1) for inside_BN in _inside_balls(real_ND, new_ND, k, np.less_equal)
    ]
    return float(np.concatenate(inside).mean())


def recall(real_ND: np.ndarray, new_ND: np.ndarray, *, k: int = 3) -> float:
    """Share of real images inside the manifold of the new ones: `precision` with the sets
    exchanged (Kynkäänniemi et al. 2019, equation 2)."""
    real_ND, new_ND = _pair("recall", real_ND, new_ND, at_least=k + 1)
    return precision(new_ND, real_ND, k=k)


def density(real_ND: np.ndarray, new_ND: np.ndarray, *, k: int = 5) -> float:
    """Mean number of real images whose ball contains a new image, divided by k (Naeem et al. 2020).
    Its expectation for equal distributions is 1, and it can exceed 1.

    The balls are those of `precision` without their surface, as in the authors' code. Equal sets
    then have a density of exactly 1.
    """
    real_ND, new_ND = _pair("density", real_ND, new_ND, at_least=k + 1)
    count = sum(int(inside_BN.sum()) for inside_BN in _inside_balls(real_ND, new_ND, k, np.less))
    return count / (k * len(new_ND))


def coverage(real_ND: np.ndarray, new_ND: np.ndarray, *, k: int = 5) -> float:
    """Share of real images whose ball contains at least one new image (Naeem et al. 2020), with
    the balls of `density`. Its expectation for equal distributions is about 1 - 2^-k, if both sets
    have as many images."""
    real_ND, new_ND = _pair("coverage", real_ND, new_ND, at_least=k + 1)
    covered_N = np.zeros(len(real_ND), bool)
    for inside_BN in _inside_balls(real_ND, new_ND, k, np.less):
        covered_N |= inside_BN.any(axis=0)
    return float(covered_N.mean())


def _inside_balls(
    centre_ND: np.ndarray, point_ND: np.ndarray, k: int, compare: Callable
) -> Iterator[np.ndarray]:
    """Which points are in the ball of which centre: bool (B, N) for one block of points after the
    other. `compare` is `np.less_equal` if points on the surface are inside, else `np.less`."""
    from sklearn.neighbors import NearestNeighbors  # one second to import

    # Distances between points far from the origin would lose digits in the matrix products.
    shift_D = centre_ND.mean(axis=0)
    centre_ND, point_ND = centre_ND - shift_D, point_ND - shift_D
    search = NearestNeighbors(n_neighbors=k, algorithm="brute").fit(centre_ND)
    radius_N = search.kneighbors()[0][:, -1]  # without an argument: an image is not its neighbour
    # |c|^2 + |p|^2 - 2 c.p against r^2. Equal distances differ by rounding. The factor of the norms
    # puts all of these on the side of `compare`.
    factor = 1 - _TIE if compare is np.less_equal else 1 + _TIE
    bound_N = radius_N**2 - factor * (centre_ND**2).sum(axis=1)
    twice_DN = np.ascontiguousarray(-2 * centre_ND.T)
    rows = max(1, _BLOCK // len(centre_ND))
    for start in range(0, len(point_ND), rows):
        block_BD = point_ND[start : start + rows]
        distance_BN = block_BD @ twice_DN
        distance_BN += factor * (block_BD**2).sum(axis=1, keepdims=True)
        yield compare(distance_BN, bound_N)


def class_accuracy(predicted_N: np.ndarray, asked_N: np.ndarray) -> Estimate:
    """Share of images that a classifier assigns to the class that was asked for, with its standard
    error over images."""
    predicted_N, asked_N = np.asarray(predicted_N), np.asarray(asked_N)
    if predicted_N.shape != asked_N.shape or predicted_N.ndim != 1:
        raise ValueError(
            f"predicted and asked classes must be two arrays (N,), not {predicted_N.shape} and "
            f"{asked_N.shape}"
        )
    if len(asked_N) < 2:
        raise ConfigError(
            f"the accuracy of asked classes needs at least 2 images, not {len(asked_N)}: draw more"
        )
    return _estimate((predicted_N == asked_N).astype(np.float64))


def metric_name(metric: str, features: str, count: int) -> str:
    """The name under which a value is reported, as `frechet_rows64_10k`: the metric, the features
    and the number of new images."""
    size = str(count) if count % 1000 else f"{count // 1000}k"
    return f"{metric}_{features}_{size}"


def _pair(
    metric: str, real_ND: np.ndarray, new_ND: np.ndarray, at_least: int
) -> tuple[np.ndarray, np.ndarray]:
    real_ND = checked_features("real images", real_ND, at_least, metric)
    new_ND = checked_features("new images", new_ND, at_least, metric)
    check_width(real_ND, new_ND)
    return real_ND, new_ND


def _estimate(values_N: np.ndarray) -> Estimate:
    return Estimate(float(values_N.mean()), float(values_N.std(ddof=1) / math.sqrt(len(values_N))))


class SampleMetric(NamedTuple):
    """`function` compares features of real and of new images: (real_ND, new_ND) -> a value, or an
    Estimate if a standard error is known. `better` is "lower" or "higher". `digits` is how many
    decimals are printed."""

    function: Callable[[np.ndarray, np.ndarray], float | Estimate]
    better: str
    digits: int


SAMPLE_METRICS = {
    "frechet": SampleMetric(frechet, "lower", 3),
    "kid": SampleMetric(kid, "lower", 5),
    "precision": SampleMetric(precision, "higher", 4),
    "recall": SampleMetric(recall, "higher", 4),
    "density": SampleMetric(density, "higher", 4),
    "coverage": SampleMetric(coverage, "higher", 4),
}


def measure(real_ND: np.ndarray, new_ND: np.ndarray, features: str) -> dict[str, float]:
    """All of `SAMPLE_METRICS` by reported name; a standard error has the name of its value and
    `_se`. `features` is the name of the features.

    Raises:
        ConfigError: there are too few images.
        NonFiniteError: features are infinite or NaN.
        ValueError: the arrays are not (N, D) with one D.
    """
    # A limit holds only for libraries that are loaded before it is set.
    import sklearn.neighbors  # noqa: F401
    from threadpoolctl import threadpool_limits

    values = {}
    for name, metric in SAMPLE_METRICS.items():
        reported = metric_name(name, features, len(new_ND))
        # One thread gives the same bits on any number of cores, and is faster on a busy machine.
        with threadpool_limits(1):
            result = metric.function(real_ND, new_ND)
        if isinstance(result, Estimate):
            values[reported], values[f"{reported}_se"] = result
        else:
            values[reported] = result
    return values

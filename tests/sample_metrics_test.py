"""Metrics of sets of images: known values, direct loops, and what each of them must notice."""

import itertools

import numpy as np
import pytest
from threadpoolctl import threadpool_limits

from rnnae.evaluation import sample_metrics as metrics

NEIGHBOURS = {
    "precision": metrics.precision,
    "recall": metrics.recall,
    "density": metrics.density,
    "coverage": metrics.coverage,
}


def normal(count, size=4, seed=0):
    return np.random.default_rng(seed).normal(size=(count, size))


def clusters(count, kinds=10, size=8, seed=0, spread=0.3):
    """`count` points around `kinds` centres that are far from each other, as classes are."""
    generator = np.random.default_rng(seed)
    centre_KD = 10 * np.random.default_rng(99).normal(size=(10, size))
    return centre_KD[np.arange(count) % kinds] + spread * generator.normal(size=(count, size))


def covariance(size, seed):
    factor_DD = np.random.default_rng(seed).normal(size=(size, size))
    return factor_DD @ factor_DD.T


def measured(real_ND, new_ND):
    """name -> value, without standard errors."""
    found = metrics.measure(real_ND, new_ND, "f")
    return {name.split("_")[0]: v for name, v in found.items() if not name.endswith("_se")}


@pytest.mark.parametrize("size", [1, 5])
def test_frechet_of_gaussians_with_commuting_covariances(size):
    """Then it is |m1 - m2|^2 + the sum of (s1 - s2)^2 over standard deviations."""
    rotation_DD = np.linalg.qr(normal(size, size))[0]
    s1_D, s2_D = np.arange(1, size + 1.0), np.arange(size, 0, -1.0) / 2
    cov_1DD, cov_2DD = (rotation_DD @ np.diag(s**2) @ rotation_DD.T for s in (s1_D, s2_D))
    mean_1D, mean_2D = np.zeros(size), np.full(size, 2.0)
    value = metrics.frechet_from_moments(mean_1D, cov_1DD, mean_2D, cov_2DD)
    assert value == pytest.approx(4 * size + ((s1_D - s2_D) ** 2).sum(), rel=1e-10)


def test_frechet_of_two_by_two_covariances_that_do_not_commute():
    """tr (S1 S2)^(1/2) = sqrt(tr S1 S2 + 2 sqrt(det S1 S2)) for 2 x 2 matrices."""
    a_DD, b_DD = covariance(2, 0), covariance(2, 1)
    assert not np.allclose(a_DD @ b_DD, b_DD @ a_DD)
    product = a_DD @ b_DD
    root = np.sqrt(np.trace(product) + 2 * np.sqrt(np.linalg.det(product)))
    value = metrics.frechet_from_moments(np.zeros(2), a_DD, np.zeros(2), b_DD)
    assert value == pytest.approx(np.trace(a_DD) + np.trace(b_DD) - 2 * root, rel=1e-10)


def test_frechet_of_samples_approaches_that_of_the_gaussians():
    cov_1DD, cov_2DD, mean_D = covariance(3, 0), covariance(3, 1), np.array([1.0, 0.0, -1.0])
    expected = metrics.frechet_from_moments(np.zeros(3), cov_1DD, mean_D, cov_2DD)
    real_ND = normal(50_000, 3, 0) @ np.linalg.cholesky(cov_1DD).T
    new_ND = normal(50_000, 3, 1) @ np.linalg.cholesky(cov_2DD).T + mean_D
    assert metrics.frechet(real_ND, new_ND) == pytest.approx(expected, rel=0.03)


def test_frechet_uses_the_unbiased_covariance():
    real_ND, new_ND = np.array([[-1.0], [1.0]]), np.array([[-2.0], [2.0]])  # variances 2 and 8
    assert metrics.frechet(real_ND, new_ND) == pytest.approx((8**0.5 - 2**0.5) ** 2, rel=1e-12)


def test_equal_sets():
    real_ND = normal(600, 6)
    values = measured(real_ND, real_ND)
    assert values["frechet"] == pytest.approx(0, abs=1e-9)
    assert values["precision"] == values["recall"] == values["coverage"] == 1
    assert values["density"] == 1
    # Fewer images than features: both covariances are singular.
    few_ND = normal(20, 60)
    assert metrics.frechet(few_ND, few_ND) == pytest.approx(0, abs=1e-5)
    # A set is not independent of itself; the docstring of `kid` gives the expectation.
    kernel_NN = (real_ND @ real_ND.T / 6 + 1) ** 3
    count = len(real_ND)
    mean_of_pairs = (kernel_NN.sum() - np.trace(kernel_NN)) / (count * (count - 1))
    expected = -2 / count * (np.trace(kernel_NN) / count - mean_of_pairs)
    value, error = metrics.kid(real_ND, real_ND)
    assert abs(value - expected) < 4 * error and abs(value) < 0.1


def test_samples_of_one_distribution():
    """The expectations that the docstrings give."""
    values = measured(normal(4000, 6, 0), normal(4000, 6, 1))
    assert values["density"] == pytest.approx(1, abs=0.05)
    assert values["coverage"] == pytest.approx(1 - 2**-5, abs=0.02)
    assert values["frechet"] < 0.05
    assert measured(normal(4000, 6, 0), 1.5 * normal(4000, 6, 1))["density"] < 0.8


def test_kid_is_unbiased():
    """Over many pairs of small samples the mean is 0 within its error, unlike the biased one's."""
    values = np.array(
        [metrics.kid(normal(40, 6, 2 * s), normal(40, 6, 2 * s + 1)).value for s in range(200)]
    )
    error = values.std(ddof=1) / np.sqrt(len(values))
    assert abs(values.mean()) < 3 * error and values.min() < 0
    x_ND = normal(40, 6)
    diagonal = 2 * np.mean((np.sum(x_ND**2, axis=1) / 6 + 1) ** 3) / 4  # its bias in blocks of four
    assert diagonal > 30 * error


def test_kid_finds_a_difference_and_its_error_is_that_of_repetitions():
    pairs = [(normal(2000, 6, 2 * s), normal(2000, 6, 2 * s + 1) + 0.3) for s in range(30)]
    estimates = [metrics.kid(*pair, block_size=100) for pair in pairs]
    values, errors = np.array(estimates).T
    assert (values > 5 * errors).all()
    assert values.std(ddof=1) == pytest.approx(errors.mean(), rel=0.5)


def test_kid_against_a_direct_loop():
    real_ND, new_ND = normal(8, 3, 0), normal(11, 3, 1) + 0.5

    def kernel(x_D, y_D):
        return (float(x_D @ y_D) / 3 + 1) ** 3

    def mean(pairs):
        return np.mean([kernel(x_D, y_D) for x_D, y_D in pairs])

    within = [mean(itertools.permutations(set_ND, 2)) for set_ND in (real_ND, new_ND)]
    expected = sum(within) - 2 * mean(itertools.product(real_ND, new_ND))
    assert metrics._mmd(real_ND, new_ND) == pytest.approx(expected, rel=1e-10)


@pytest.mark.parametrize(
    "counts, sizes", [((2050, 3000), 10 * [200]), ((23, 40), 11 * [2]), ((4, 4), [2, 2])]
)
def test_kid_uses_disjoint_blocks_that_cover_the_smaller_set(counts, sizes, monkeypatch):
    mmd, blocks = metrics._mmd, []

    def record(real_ND, new_ND):
        blocks.append((real_ND, new_ND))
        return mmd(real_ND, new_ND)

    monkeypatch.setattr(metrics, "_mmd", record)
    metrics.kid(normal(counts[0]), normal(counts[1], seed=1), block_size=200)
    for set_blocks in zip(*blocks, strict=True):
        assert [len(block_ND) for block_ND in set_blocks] == sizes
        assert len(np.unique(np.concatenate(set_blocks), axis=0)) == sum(sizes)


def test_kid_depends_on_its_seed_and_on_no_other_random_numbers():
    real_ND, new_ND = normal(300), normal(300, seed=1)
    np.random.seed(0)
    first = metrics.kid(real_ND, new_ND)
    np.random.seed(1)
    assert metrics.kid(real_ND, new_ND) == first != metrics.kid(real_ND, new_ND, seed=1)


def brute_force(name, real_ND, new_ND, k):
    def distance(x_D, y_D):
        return np.sqrt(((x_D - y_D) ** 2).sum())

    def radius(set_ND, i):
        others = [distance(set_ND[i], y_D) for j, y_D in enumerate(set_ND) if j != i]
        return sorted(others)[k - 1]

    if name == "recall":
        real_ND, new_ND = new_ND, real_ND
    radii = [radius(real_ND, i) for i in range(len(real_ND))]
    inside_NM = np.array(
        [[distance(x_D, y_D) <= r for y_D in new_ND] for x_D, r in zip(real_ND, radii, strict=True)]
    )
    return {
        "precision": inside_NM.any(axis=0).mean(),
        "recall": inside_NM.any(axis=0).mean(),
        "density": inside_NM.sum() / (k * len(new_ND)),
        "coverage": inside_NM.any(axis=1).mean(),
    }[name]


@pytest.mark.parametrize("name", NEIGHBOURS)
@pytest.mark.parametrize("k", [1, 3, 5])
def test_neighbour_metrics_against_a_loop(name, k):
    real_ND, new_ND = normal(30, 3, 0), 0.8 * normal(43, 3, 1) + 0.6
    value = NEIGHBOURS[name](real_ND, new_ND, k=k)
    assert value == pytest.approx(brute_force(name, real_ND, new_ND, k), abs=1e-12)
    assert value > 0


def test_a_missing_half_of_the_classes_lowers_recall_and_coverage_and_not_precision():
    real_ND = clusters(1000)
    whole = measured(real_ND, clusters(1000, seed=1))
    half = measured(real_ND, clusters(1000, kinds=5, seed=1))
    assert whole["recall"] > 0.8 and whole["coverage"] > 0.9
    assert half["recall"] < 0.6 and half["coverage"] < 0.6
    assert half["precision"] > whole["precision"] - 0.05 and half["density"] > 0.9
    assert half["frechet"] > 10 * whole["frechet"] and half["kid"] > 10 * abs(whole["kid"])


def test_noise_around_real_images_lowers_precision_and_density_and_not_recall():
    real_ND = clusters(1000)
    whole = measured(real_ND, clusters(1000, seed=1))
    noisy = measured(real_ND, clusters(1000, seed=1, spread=0.8))
    assert noisy["precision"] < whole["precision"] / 2 and noisy["density"] < whole["density"] / 2
    assert noisy["recall"] > whole["recall"] - 0.02


@pytest.mark.parametrize("name", NEIGHBOURS)
def test_the_size_of_the_blocks_does_not_change_a_metric(name, monkeypatch):
    sets = [(normal(300, 5, 0), normal(200, 5, 1)), (normal(300, 5, 0), normal(300, 5, 0))]
    values = [NEIGHBOURS[name](*pair) for pair in sets]
    for size in (1, 7 * 300, 64 * 300):
        monkeypatch.setattr(metrics, "_BLOCK", size)
        assert [NEIGHBOURS[name](*pair) for pair in sets] == values


@pytest.mark.parametrize("name", sorted(metrics.SAMPLE_METRICS.keys() - {"kid"}))
def test_the_order_of_the_images_does_not_change_a_metric(name):
    real_ND, new_ND = normal(300, 5, 0), normal(200, 5, 1) + 0.2
    function = metrics.SAMPLE_METRICS[name].function
    shuffle = np.random.default_rng(2).permutation
    value = function(real_ND, new_ND)
    assert function(shuffle(real_ND), shuffle(new_ND)) == pytest.approx(value, rel=1e-10)


@pytest.mark.parametrize("name", NEIGHBOURS)
@pytest.mark.parametrize("far, scale", [(1e6, 1.0), (0.0, 1e-6), (0.0, 1e6)])
def test_neighbour_metrics_of_moved_and_scaled_features_are_the_same(name, far, scale):
    real_ND, new_ND = normal(300, 5, 0), normal(200, 5, 1) + 0.2
    moved = NEIGHBOURS[name](scale * real_ND + far, scale * new_ND + far)
    assert moved == NEIGHBOURS[name](real_ND, new_ND)


def test_copies_of_one_image():
    """A model that draws one real image again and again is precise, and covers nothing else."""
    real_ND = normal(200, 5)
    values = measured(real_ND, np.repeat(real_ND[:1], 100, axis=0))
    assert values["precision"] == 1 and values["recall"] == 1 / 200
    assert values["coverage"] < 0.1


def test_the_number_of_threads_does_not_change_a_metric():
    real_ND, new_ND = normal(777, 513, 0), normal(777, 513, 1)
    values = []
    for threads in (1, 2):
        with threadpool_limits(threads):
            values.append(list(measured(real_ND, new_ND).values()))
    assert values[0] == values[1]


def test_float32_features_are_measured_in_float64():
    real_ND, new_ND = (normal(200, seed=s).astype(np.float32) + 1000 for s in (0, 1))
    assert measured(real_ND, new_ND) == measured(*map(np.float64, (real_ND, new_ND)))

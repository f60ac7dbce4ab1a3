"""Nearest neighbours against a direct search, and percentiles of their distances."""

import numpy as np
import pytest

from rnnae.errors import ConfigError, NonFiniteError
from rnnae.evaluation import neighbours


def normal(count, size=4, seed=0):
    return np.random.default_rng(seed).normal(size=(count, size))


@pytest.mark.parametrize("k", [1, 3, 20])
def test_nearest_against_a_direct_search(k, monkeypatch):
    image_ND, reference_ND = normal(30), normal(20, seed=1)
    distance_NN = np.linalg.norm(image_ND[:, None] - reference_ND, axis=2)
    for block in (neighbours._BLOCK, 7 * 4 * 20):
        monkeypatch.setattr(neighbours, "_BLOCK", block)
        found = neighbours.nearest(image_ND, reference_ND, k=k)
        np.testing.assert_array_equal(found.index_NK, np.argsort(distance_NN)[:, :k])
        np.testing.assert_allclose(found.distance_NK, np.sort(distance_NN)[:, :k], rtol=1e-12)


def test_a_copied_training_image_has_distance_and_percentile_zero():
    """Also far from the origin, where a matrix product would lose the digits of the distance."""
    train_ND, test_ND = 1e4 + normal(500, 8), 1e4 + normal(300, 8, seed=1)
    new_ND = np.concatenate([train_ND[[7, 123]], 1e4 + normal(300, 8, seed=2)])
    found = neighbours.nearest(new_ND, train_ND)
    assert found.index_NK[:2, 0].tolist() == [7, 123]
    assert (found.distance_NK[:2] == 0).all() and (found.distance_NK[2:] > 0).all()
    test_N = neighbours.nearest(test_ND, train_ND).distance_NK[:, 0]
    percentile_N = neighbours.distance_percentile(found.distance_NK[:, 0], test_N)
    assert (percentile_N[:2] == 0).all()
    # The others are as far as test images are: evenly spread.
    quarters = np.histogram(percentile_N[2:], bins=4, range=(0, 100))[0] / 300
    np.testing.assert_allclose(quarters, 0.25, atol=0.1)


def test_distances_that_a_matrix_product_cannot_tell_apart():
    """The squared norms are 1e12, and the squared distances from 1e-10."""
    reference_ND = 1e6 + np.array([[4e-5], [-2e-5], [1e-5], [-3e-5]])
    found = neighbours.nearest(np.array([[1e6]]), reference_ND, k=3)
    assert found.index_NK.tolist() == [[2, 1, 3]]
    np.testing.assert_allclose(found.distance_NK, [[1e-5, 2e-5, 3e-5]], rtol=1e-4)


def test_equal_reference_images_are_ordered_by_index():
    reference_ND = normal(9)[[4, 0, 4, 1]]
    found = neighbours.nearest(normal(9)[[4]], reference_ND, k=2)
    assert found.index_NK.tolist() == [[0, 2]]


def test_uint8_pixels_do_not_overflow():
    black_ND, white_ND = np.zeros((2, 100), np.uint8), np.full((3, 100), 255, np.uint8)
    assert neighbours.nearest(black_ND, white_ND).distance_NK.tolist() == [[2550.0], [2550.0]]


def test_the_percentile_grows_with_the_distance():
    test_N = np.abs(normal(200)[:, 0])
    percentile_N = neighbours.distance_percentile(np.linspace(0, 5, 50), test_N)
    assert (np.diff(percentile_N) >= 0).all()
    assert percentile_N[0] == 0 and percentile_N[-1] == 100
    assert neighbours.distance_percentile(np.median(test_N, keepdims=True), test_N) == [50]
    # Equal distances are not smaller.
    assert neighbours.distance_percentile([1.0], [0.0, 1.0, 1.0, 2.0]) == [25]


def test_bad_input_is_refused():
    good_ND = normal(10)
    with pytest.raises(ConfigError, match="3 neighbours needs at least 3 reference images, not 2"):
        neighbours.nearest(good_ND, good_ND[:2], k=3)
    with pytest.raises(ConfigError, match="at least 1 images, not 0"):
        neighbours.nearest(good_ND[:0], good_ND)
    with pytest.raises(ValueError, match="not 4 and 2"):
        neighbours.nearest(good_ND, good_ND[:, :2])
    with pytest.raises(NonFiniteError, match="features of the images are infinite or NaN"):
        neighbours.nearest(good_ND * np.inf, good_ND)
    with pytest.raises(NonFiniteError, match="distances are infinite or NaN"):
        neighbours.distance_percentile([np.nan], [1.0])
    with pytest.raises(ValueError, match="at least one test image"):
        neighbours.distance_percentile([1.0], [])

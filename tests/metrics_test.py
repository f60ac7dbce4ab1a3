"""Metrics of images against numpy."""

import jax
import numpy as np
import pytest

from rnnae.evaluation import metrics


def pair(shape):
    keys = jax.random.split(jax.random.key(0))
    return tuple(np.asarray(jax.random.uniform(k, (3, *shape))) for k in keys)


@pytest.mark.parametrize("shape", [(28, 28, 1), (8, 9, 3), (4, 6, 1)])
def test_image_metrics_against_numpy(shape):
    x, y = pair(shape)
    np.testing.assert_allclose(metrics.mse(x, y), ((x - y) ** 2).mean((1, 2, 3)), rtol=1e-5)
    np.testing.assert_allclose(metrics.mae(x, y), np.abs(x - y).mean((1, 2, 3)), rtol=1e-5)
    np.testing.assert_allclose(metrics.ssim(x, x), 1, rtol=1e-5)
    assert (np.abs(metrics.ssim(x, y)) < 0.5).all()


def test_ssim_of_a_single_window_equals_its_formula():
    """An 11 x 11 image has a single window (Wang et al. 2004, equation 13)."""
    x, y = (a.astype(np.float64) for a in pair((11, 11, 1)))
    g = np.exp(-0.5 * ((np.arange(11) - 5) / 1.5) ** 2)
    w = (np.outer(g, g) / g.sum() ** 2)[None, :, :, None]

    def mean(a):
        return (w * a).sum((1, 2, 3))

    covariance = mean(x * y) - mean(x) * mean(y)
    variances = mean(x * x) - mean(x) ** 2 + mean(y * y) - mean(y) ** 2
    luminance = (2 * mean(x) * mean(y) + 1e-4) / (mean(x) ** 2 + mean(y) ** 2 + 1e-4)
    expected = luminance * (2 * covariance + 9e-4) / (variances + 9e-4)
    np.testing.assert_allclose(metrics.ssim(*pair((11, 11, 1))), expected, rtol=1e-3)

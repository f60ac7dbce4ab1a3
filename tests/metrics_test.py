"""Metrics of images against numpy, and the properties of all metrics."""

import jax
import numpy as np
import pytest

from rnnae.evaluation import metrics
from tests import tiny


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


@pytest.mark.parametrize("name", metrics.IMAGE_METRICS)
def test_an_image_metric_is_a_number_for_each_image_and_does_not_mix_images(name):
    x, y = pair((8, 9, 3))
    function = metrics.IMAGE_METRICS[name].function
    values_B = function(x, y)
    assert values_B.shape == (3,) and np.isfinite(values_B).all()
    changed = function(x, np.concatenate([1 - y[:1], y[1:]]))
    assert changed[0] != values_B[0]
    np.testing.assert_allclose(changed[1:], values_B[1:], rtol=1e-5)


@pytest.mark.parametrize("name", metrics.SPLIT_METRICS)
def test_a_split_metric_is_a_finite_number(name):
    model, params = tiny.build(latent__name="gaussian", likelihood__name="bernoulli")
    images = (255 * np.asarray(tiny.binary(batch=4))).astype(np.uint8)
    latent_NZ = np.asarray(tiny.apply(model, params, images / np.float32(255), method="encode"))
    settings = tiny.config(eval__mutual_information_images=4).eval
    measured = metrics.Measured(model, params["params"], images, latent_NZ, 0, settings)
    value = metrics.SPLIT_METRICS[name].function(measured)
    assert isinstance(value, float) and np.isfinite(value)

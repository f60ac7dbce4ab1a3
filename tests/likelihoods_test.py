"""Each likelihood is what its docstring says."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rnnae.errors import ConfigError
from rnnae.likelihoods import LIKELIHOODS, likelihood


def params(name, batch=2, seed=0):
    values = LIKELIHOODS[name].parameters
    return 2 * jax.random.normal(jax.random.key(seed), (batch, 2, 3, values))


@pytest.mark.parametrize("name", LIKELIHOODS)
def test_mean_and_sample_are_images(name):
    for image in (
        LIKELIHOODS[name].mean(params(name)),
        LIKELIHOODS[name].sample(params(name), jax.random.key(1)),
    ):
        assert image.shape == (2, 2, 3, 1)
        assert float(image.min()) >= 0 and float(image.max()) <= 1


@pytest.mark.parametrize("name", LIKELIHOODS)
def test_finite_at_saturated_parameters(name):
    for logit, pixel in itertools.product((-1e4, -40.0, 40.0, 1e4), (0.0, 1.0)):

        def total(p, pixel=pixel):
            return LIKELIHOODS[name].log_prob(p, jnp.full((1, 1, 1, 1), pixel)).sum()

        value, gradient = jax.value_and_grad(total)(jnp.full((1, 1, 1, 1), logit))
        assert np.isfinite(value) and np.isfinite(gradient).all()


def test_bernoulli_sums_to_one():
    logits = params("bernoulli", batch=1)
    images = np.array(list(itertools.product((0.0, 1.0), repeat=6))).reshape(-1, 2, 3, 1)
    log_prob = LIKELIHOODS["bernoulli"].log_prob(logits, images)
    np.testing.assert_allclose(np.exp(log_prob).sum(), 1, rtol=1e-5)


def test_bernoulli_sample_follows_its_mean():
    logits = jnp.tile(params("bernoulli", batch=1), (4000, 1, 1, 1))
    drawn = LIKELIHOODS["bernoulli"].sample(logits, jax.random.key(2))
    assert set(np.unique(drawn)) == {0.0, 1.0}
    mean = LIKELIHOODS["bernoulli"].mean(logits[:1])[0]
    error = np.abs(drawn.mean(0) - mean) / np.sqrt(mean * (1 - mean) / 4000)
    assert error.max() < 4


def test_squared_error_is_the_sum_of_squares():
    p = params("squared_error")
    x = jax.random.uniform(jax.random.key(3), p.shape)
    expected = -((np.asarray(x) - 1 / (1 + np.exp(-np.asarray(p)))) ** 2).sum(axis=(1, 2, 3))
    np.testing.assert_allclose(LIKELIHOODS["squared_error"].log_prob(p, x), expected, rtol=1e-5)


def test_unknown_likelihood_lists_the_choices():
    with pytest.raises(ConfigError, match="squared_error, bernoulli"):
        likelihood("mse")

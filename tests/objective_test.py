"""The loss against explicit sums; importance weights and mutual information against truth."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rnnae import objective
from rnnae.types import Terms


def terms():
    kl_BTZ = jnp.array([[[0.5, 0.0], [0.1, 0.2]], [[1.5, 0.2], [0.1, 0.4]]])
    return Terms(jnp.array([-1.0, -3.0]), kl_BTZ, jnp.array([-0.7, -2.5]))


def loss(kl_weight=1.0, free_bits=0.0):
    mean_kl_TZ = jnp.mean(terms().kl_BTZ, axis=0)
    return objective.loss(terms(), kl_weight=kl_weight, free_bits=free_bits, mean_kl_TZ=mean_kl_TZ)


def test_loss_is_the_negative_bound_averaged_over_examples():
    total, means = loss()
    assert float(total) == pytest.approx(2.0 + 1.5)
    assert {k: float(v) for k, v in means.items()} == pytest.approx(
        {"loss": 3.5, "reconstruction": 2.0, "kl": 1.5}
    )
    np.testing.assert_allclose(objective.per_example(terms())["loss"], [1.8, 5.2], rtol=1e-6)


def test_kl_weight_and_free_bits_change_the_loss_and_not_the_reported_bound():
    total, means = loss(kl_weight=0.5, free_bits=0.2)
    # The means over the batch are 1.0, 0.1, 0.1, 0.3: two of them are below the minimum.
    assert float(total) == pytest.approx(2.0 + 0.5 * (1.0 + 0.2 + 0.2 + 0.3))
    assert float(means["loss"]) == pytest.approx(3.5)


def test_no_gradient_below_the_free_bits():
    def total(kl_BTZ):
        return objective.loss(
            terms()._replace(kl_BTZ=kl_BTZ),
            kl_weight=1.0,
            free_bits=0.2,
            mean_kl_TZ=jax.lax.stop_gradient(jnp.mean(kl_BTZ, axis=0)),
        )[0]

    gradient = jax.grad(total)(terms().kl_BTZ)
    np.testing.assert_allclose(gradient[0], [[0.5, 0.0], [0.0, 0.5]])


def test_annealing_reaches_beta_and_stays():
    weights = [float(objective.kl_weight(s, beta=2.0, anneal_steps=4)) for s in range(6)]
    assert weights == [0.5, 1.0, 1.5, 2.0, 2.0, 2.0]
    assert float(objective.kl_weight(0, beta=0.3, anneal_steps=0)) == pytest.approx(0.3)


def test_importance_weights_in_chunks_are_the_log_mean_exp():
    weights_KB = 30 * jax.random.normal(jax.random.key(0), (10, 3))
    total_B = jnp.full(3, -jnp.inf)
    for start in range(0, 12, 4):  # the last chunk is longer than what is left
        ks = jnp.arange(start, start + 4)
        total_B = objective.add_importance_weights(
            total_B, lambda k: weights_KB[jnp.minimum(k, 9)], ks, 10
        )
    expected = jax.nn.logsumexp(weights_KB, axis=0)
    np.testing.assert_allclose(total_B, expected, rtol=1e-6)


@pytest.mark.parametrize("noise, expected", [(1e-3, np.log(200)), (1e3, 0.0)])
def test_mutual_information_at_its_limits(noise, expected):
    """Latents that identify their images, and latents that are only noise."""
    means = np.arange(200.0)
    z = means + noise * np.random.default_rng(0).normal(size=200)

    def log_posterior(shift):
        centred = (z - jnp.roll(jnp.asarray(means), -shift)) / noise
        return -0.5 * centred**2

    assert float(objective.mutual_information(log_posterior, 200)) == pytest.approx(
        expected, abs=0.05
    )


def test_mutual_information_of_a_gaussian_channel():
    """I = log(1 + signal / noise) / 2 for z = x + noise with Gaussian x."""
    generator = np.random.default_rng(0)
    x = 3 * generator.normal(size=3000)
    z = x + generator.normal(size=3000)

    def log_posterior(shift):
        return -0.5 * (z - jnp.roll(jnp.asarray(x), -shift)) ** 2

    found = float(jax.jit(lambda: objective.mutual_information(log_posterior, 3000))())
    assert found == pytest.approx(0.5 * np.log(10), abs=0.05)


def test_bits_per_dim_are_nats_per_value_divided_by_log_2():
    assert objective.bits_per_dim(8 * np.log(2), 4) == pytest.approx(2)

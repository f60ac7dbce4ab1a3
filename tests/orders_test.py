"""A mixture of scan orders: each order is causal, and the mixture is normalised and sampled."""

import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rnnae.config import check
from rnnae.devices import parallel
from rnnae.errors import ConfigError
from rnnae.evaluation import evaluate
from rnnae.models import symmetries
from tests import tiny
from tests.tiny import apply, slow

PIXELS = {"patch": 1, "likelihood__block": 1, "blocks": 1}
SQUARE = (4, 4, 1)


def build(orders, shape=SQUARE, **changes):
    return tiny.build("sweep", shape, orders=orders, **changes)


def test_the_orders_are_the_symmetries_of_the_square():
    x_BHWC = jnp.tile(jnp.arange(9.0).reshape(1, 3, 3, 1), (8, 1, 1, 1))
    scanned = symmetries.transform(x_BHWC, jnp.arange(8), 8)
    assert len({x.tobytes() for x in np.asarray(scanned)}) == 8
    np.testing.assert_array_equal(scanned[0], x_BHWC[0])
    np.testing.assert_array_equal(symmetries.restore(scanned, jnp.arange(8), 8), x_BHWC)
    first_rows = [set(np.ravel(scanned[order, 0]).tolist()) for order in range(4)]
    assert first_rows == [{0, 1, 2}, {0, 3, 6}, {6, 7, 8}, {2, 5, 8}]  # each side once


@pytest.mark.parametrize("orders", [2, slow(8)])
@pytest.mark.parametrize("latent", ["none", "gaussian"])
def test_probabilities_of_the_mixture_sum_to_one(orders, latent):
    model, params = build(orders, (3, 3, 1), latent__name=latent, **PIXELS)
    every = np.array(list(itertools.product((0.0, 1.0), repeat=9)), np.float32)
    x_BHWC = jnp.asarray(every.reshape(-1, 3, 3, 1))
    z_BZ = jnp.ones((len(every), model.latent_dimensions))
    log_p = apply(model, params, z_BZ, x_BHWC, method="log_likelihood")
    assert float(jax.nn.logsumexp(log_p)) == pytest.approx(0, abs=1e-4)
    by_order = apply(model, params, z_BZ, x_BHWC, method="log_likelihood_by_order")
    np.testing.assert_allclose(jax.nn.logsumexp(by_order, axis=0), np.zeros(orders), atol=1e-4)
    assert float(jnp.std(by_order, axis=1).mean()) > 1e-2  # the orders do differ


@pytest.mark.parametrize("order", [1, slow(3), slow(4), 6])
def test_each_order_is_causal(order):
    """A pixel changes the parameters of the pixels that its order scans later, and no others."""
    model, params = build(8, **PIXELS)
    x_BHWC, z_BZ = tiny.binary(SQUARE), jnp.ones((3, 5))
    order_B = jnp.full(3, order)

    def parameters(x_BHWC):
        frame_BHWC = symmetries.transform(x_BHWC, order_B, 8)
        method = type(model)._decode_in_order
        return np.asarray(apply(model, params, z_BZ, frame_BHWC, None, order_B, method=method))

    index_BHWC = jnp.tile(jnp.arange(16.0).reshape(1, 4, 4, 1), (3, 1, 1, 1))
    scanned = np.ravel(symmetries.transform(index_BHWC, order_B, 8)[0]).astype(int).tolist()
    before = parameters(x_BHWC)
    for row, column in ((0, 0), (1, 2), (3, 1)):
        after = parameters(x_BHWC.at[:, row, column].add(1.0))
        moved = (np.abs(after - before) > 1e-7).any(axis=(0, 3)).ravel()
        at = scanned.index(row * 4 + column)
        assert not moved[: at + 1].any() and moved[at + 1 :].all()


@pytest.mark.parametrize("changes", [PIXELS, slow({"input_window": True, "classes": 3})])
def test_an_image_is_sampled_with_its_probability_in_the_order_that_was_drawn(changes):
    model, params = build(8, **changes)
    z_BZ, keys = jax.random.normal(jax.random.key(0), (8, 5)), tiny.keys(8)
    label_B = jnp.arange(8) % 3 if model.classes else None
    params_BHWP, x_BHWC = apply(
        model,
        params,
        z_BZ,
        keys,
        method=lambda m, z, key: m.sample_tokens(z, key, label_B)[:2],
    )
    order_B = symmetries.random(keys, model.orders)
    assert len(set(order_B.tolist())) > 2
    scanned = symmetries.transform(x_BHWC, order_B, 8)
    sequential = model.likelihood.log_prob(params_BHWP, scanned)
    by_order = apply(model, params, z_BZ, x_BHWC, label_B, method="log_likelihood_by_order")
    np.testing.assert_allclose(sequential, by_order[jnp.arange(8), order_B], rtol=1e-4, atol=1e-4)


def test_training_draws_an_order_for_each_image():
    model, params = build(4, latent__name="none", **PIXELS)
    x_BHWC, keys = jnp.tile(tiny.binary(SQUARE), (8, 1, 1, 1)), tiny.keys(24)
    by_order = apply(model, params, jnp.zeros((24, 0)), x_BHWC, method="log_likelihood_by_order")
    found = apply(model, params, x_BHWC, keys).log_prob_B
    order_B = symmetries.random(keys, model.orders)
    assert set(order_B.tolist()) == {0, 1, 2, 3}
    np.testing.assert_allclose(found, by_order[jnp.arange(24), order_B], rtol=1e-5)


def test_an_evaluation_reports_the_mixture_and_each_order():
    model, params = build(2, latent__name="none", **PIXELS)
    settings = tiny.config("sweep", SQUARE, eval__seeds=(0,), eval__batch_size=4)
    run = evaluate.Evaluator(model, parallel.choose_devices(1), settings)
    images = np.random.default_rng(0).integers(0, 2, (10, *SQUARE)).astype(np.uint8) * 255
    means = run(params["params"], images, full=True).means
    by_order = apply(
        model,
        params,
        jnp.zeros((10, 0)),
        images / np.float32(255),
        method="log_likelihood_by_order",
    )
    mixture = jax.nn.logsumexp(by_order, axis=1) - math.log(2)
    inputs = (jnp.zeros((10, 0)), images / np.float32(255))
    maps = apply(model, params, *inputs, method="log_prob_maps")
    assert maps.shape == (10, 2, 4, 4)
    np.testing.assert_allclose(maps.sum(axis=(2, 3)), by_order, rtol=1e-5)
    assert means["nll_static"] == pytest.approx(-float(mixture.mean()), rel=1e-5)
    for order in range(2):
        expected = -float(by_order[:, order].mean())
        assert means[f"nll_order{order}_static"] == pytest.approx(expected, rel=1e-5)
        assert f"nll_order{order}_static_se" in means


def test_importance_samples_take_the_orders_in_turn():
    model, params = build(2, latent__name="gaussian", **PIXELS)
    x_BHWC, keys = tiny.binary(SQUARE), tiny.keys()
    posterior = apply(model, params, x_BHWC, method="posterior")
    z_BZ = apply(model, params, posterior, keys, method="sample_posterior")
    by_order_BO = apply(model, params, z_BZ, x_BHWC, method="log_likelihood_by_order")
    for k in range(4):
        terms = apply(model, params, posterior, x_BHWC, keys, k, method="importance_terms")
        np.testing.assert_allclose(terms.log_prob_B, by_order_BO[:, k % 2], rtol=1e-5)
    settings = tiny.config("sweep", SQUARE, orders=2, eval__importance_samples=3)
    with pytest.raises(ConfigError, match="importance_samples must be a multiple of .*orders=2"):
        check(settings)


@pytest.mark.parametrize(
    "orders, shape, message",
    [(3, SQUARE, "must be 1, 2, 4 or 8, not 3"), (2, (4, 6, 1), "square images.*4x6")],
)
def test_orders_that_do_not_exist_are_refused(orders, shape, message):
    with pytest.raises(ConfigError, match=message):
        build(orders, shape)

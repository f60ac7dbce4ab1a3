"""Rounded products: what they are, what they are exchanged for, and that nothing else changes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from rnnae import objective
from rnnae.errors import ConfigError
from rnnae.models import MODELS
from rnnae.nn import precision
from rnnae.nn.matmul import product
from rnnae.nn.recurrence import Stack
from tests import tiny


def rounded(x):
    return np.asarray(jnp.asarray(x).astype(jnp.bfloat16).astype(jnp.float32), np.float64)


@pytest.mark.parametrize("inputs", [1, 7, 32])
def test_a_product_and_its_gradients_are_of_rounded_operands(inputs):
    generator = np.random.default_rng(0)
    x, w, dy = (
        generator.normal(size=shape).astype(np.float32)
        for shape in ((5, inputs), (inputs, 6), (5, 6))
    )
    y, pull = jax.vjp(lambda x, w: product(x, w, jnp.bfloat16), x, w)
    dx, dw = pull(jnp.asarray(dy))
    np.testing.assert_allclose(y, rounded(x) @ rounded(w), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(dx, rounded(dy) @ rounded(w).T, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(dw, rounded(x).T @ rounded(dy), rtol=1e-4, atol=1e-5)
    assert all(array.dtype == jnp.float32 for array in (y, dx, dw))
    assert np.abs(y - x @ w).max() > 1e-4  # or the test above says nothing


@pytest.mark.parametrize("rows", [1, 7, 211, 400])  # 211 is prime
@pytest.mark.parametrize("inputs, outputs", [(5, 9), (9, 5), (3, 300), (300, 3), (4, 1)])
def test_the_gradient_of_weights_is_the_same_in_parts(rows, inputs, outputs):
    generator = np.random.default_rng(0)
    shapes = (rows, inputs), (inputs, outputs), (rows, outputs)
    x, w, dy = (generator.normal(size=shape).astype(np.float32) for shape in shapes)
    y, pull = jax.vjp(lambda x, w: product(x, w, jnp.float32), x, w)
    dx, dw = pull(jnp.asarray(dy))
    for found, expected in ((y, x @ w), (dx, dy @ w.T), (dw, x.T @ dy)):
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("bias", [True, False])
def test_dense_layers_and_no_others_are_exchanged(bias):
    x = jax.random.normal(jax.random.key(0), (2, 3, 8))
    dense, norm = nn.Dense(4, use_bias=bias), nn.LayerNorm()
    for layer in (dense, norm):
        params = tiny.random_like(layer.init(jax.random.key(0), x))
        exact = layer.apply(params, x)
        with precision.of_products("float32"):
            assert np.array_equal(layer.apply(params, x), exact)
        with precision.of_products("bfloat16"):
            found = layer.apply(params, x)
        np.testing.assert_allclose(found, exact, rtol=0.02, atol=0.03)
        assert np.array_equal(found, exact) == (layer is norm)


@pytest.mark.parametrize("name", ["simple", "gru", "lstm", "slstm", "min_gru", "lru"])
def test_a_cell_rounds_in_a_step_as_its_layer_does(name):
    stack = Stack(name, 8)
    x_TBI = jax.random.normal(jax.random.key(0), (4, 2, 8))
    params = tiny.random_like(stack.init(jax.random.key(1), x_TBI))
    exact = stack.apply(params, x_TBI)[1]
    with precision.of_products("bfloat16"):
        found = stack.apply(params, x_TBI)[1]
        carries = stack.zero_carries(2)
        for x_BI, h_BD in zip(x_TBI, found, strict=True):
            carries, stepped_BD = stack.apply(params, carries, x_BI, method="step")
            np.testing.assert_allclose(h_BD, stepped_BD, rtol=1e-3, atol=1e-4)
    # The first state is zero: only later steps multiply by it, of cells that do.
    assert np.abs(found[1:] - exact[1:]).max() > 1e-3


@pytest.mark.parametrize("name", MODELS)
def test_gradients_of_a_model_stay_close(name):
    """Also through `nn.scan`, where the layers are traced later."""
    model, params = tiny.build(name, latent__name="gaussian", likelihood__name="bernoulli")

    def loss(params, choice):
        with precision.of_products(choice):
            terms = model.apply(params, tiny.binary(), tiny.keys())
        return jnp.sum(objective.per_example(terms)["loss"])

    exact, found = (
        jax.jit(jax.grad(loss), static_argnums=1)(params, p) for p in precision.PRECISIONS
    )
    exact, found = (
        jnp.concatenate([x.ravel() for x in jax.tree.leaves(g)]) for g in (exact, found)
    )
    error = jnp.linalg.norm(found - exact) / jnp.linalg.norm(exact)
    assert 1e-4 < error < 0.05


def test_an_unknown_precision_names_the_choices():
    with pytest.raises(ConfigError, match="precision must be one of float32, bfloat16"):
        precision.of_products("float16")

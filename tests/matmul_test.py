"""Matmuls round their operands only if the layer has that matmul_dtype. Others are in float32."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from rnnae import build, objective
from rnnae.latents import LATENTS
from rnnae.likelihoods import LIKELIHOODS
from rnnae.models import completion
from rnnae.nn.cells import CELLS
from rnnae.nn.matmul import MATMUL_DTYPES, Dense, matmul
from rnnae.nn.recurrence import Stack
from tests import tiny

HIGHEST = jax.lax.Precision.HIGHEST


def rounded(x):
    return np.asarray(jnp.asarray(x).astype(jnp.bfloat16).astype(jnp.float32), np.float64)


@pytest.mark.parametrize("inputs", [1, 7, 32])
def test_a_matmul_and_its_gradients_have_rounded_operands(inputs):
    generator = np.random.default_rng(0)
    x, w, dy = (
        generator.normal(size=shape).astype(np.float32)
        for shape in ((5, inputs), (inputs, 6), (5, 6))
    )
    y, pullback = jax.vjp(lambda x, w: matmul(x, w, jnp.bfloat16), x, w)
    dx, dw = pullback(jnp.asarray(dy))
    np.testing.assert_allclose(y, rounded(x) @ rounded(w), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(dx, rounded(dy) @ rounded(w).T, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(dw, rounded(x).T @ rounded(dy), rtol=1e-4, atol=1e-5)
    assert all(array.dtype == jnp.float32 for array in (y, dx, dw))
    assert np.abs(y - x @ w).max() > 1e-4  # otherwise nothing was rounded


@pytest.mark.parametrize("rows", [1, 7, 211, 400])  # 211 is prime
@pytest.mark.parametrize("inputs, outputs", [(5, 9), (9, 5), (3, 300), (300, 3), (4, 1)])
def test_the_weight_gradient_by_blocks_of_rows_equals_one_matmul(rows, inputs, outputs):
    generator = np.random.default_rng(0)
    shapes = (rows, inputs), (inputs, outputs), (rows, outputs)
    x, w, dy = (generator.normal(size=shape).astype(np.float32) for shape in shapes)
    y, pullback = jax.vjp(lambda x, w: matmul(x, w, jnp.float32), x, w)
    dx, dw = pullback(jnp.asarray(dy))
    for found, expected in ((y, x @ w), (dx, dy @ w.T), (dw, x.T @ dy)):
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("shape", [(8,), (3, 8), (2, 3, 8), (0, 8)])
@pytest.mark.parametrize("bias", [True, False])
def test_a_dense_layer_equals_the_dense_layer_of_flax(bias, shape):
    """With the same initial values and parameter names, and in float32 the same outputs."""
    x = jax.random.normal(jax.random.key(0), shape)
    ours, theirs = (kind(4, use_bias=bias) for kind in (Dense, nn.Dense))
    params = theirs.init(jax.random.key(1), x)
    jax.tree.map(np.testing.assert_array_equal, ours.init(jax.random.key(1), x), params)
    params = tiny.random_like(params)
    exact = theirs.apply(params, x)
    np.testing.assert_allclose(ours.apply(params, x), exact, rtol=1e-5, atol=1e-6)
    found = ours.clone(matmul_dtype=jnp.bfloat16).apply(params, x)
    np.testing.assert_allclose(found, exact, rtol=0.02, atol=0.03)
    assert not x.size or not np.allclose(found, exact, rtol=1e-5, atol=1e-6)


def test_an_unnamed_dense_layer_has_the_name_that_flax_gives_its_own():
    class Two(nn.Module):
        kind: type

        @nn.compact
        def __call__(self, x):
            return self.kind(2)(self.kind(3)(x))

    ours, theirs = (
        Two(kind).init(jax.random.key(0), jnp.ones((1, 4))) for kind in (Dense, nn.Dense)
    )
    jax.tree.map(np.testing.assert_array_equal, ours, theirs)


@pytest.mark.parametrize("name", ["simple", "gru", "lstm", "slstm", "min_gru", "lru"])
def test_a_step_rounds_as_the_scan_does(name):
    stack = Stack(name, 8, matmul_dtype=jnp.bfloat16)
    x_TBI = jax.random.normal(jax.random.key(0), (4, 2, 8))
    params = tiny.random_like(stack.init(jax.random.key(1), x_TBI))
    exact = Stack(name, 8).apply(params, x_TBI)[1]
    found = stack.apply(params, x_TBI)[1]
    carries = stack.zero_carries(2)
    for x_BI, h_BD in zip(x_TBI, found, strict=True):
        carries, stepped_BD = stack.apply(params, carries, x_BI, method="step")
        np.testing.assert_allclose(h_BD, stepped_BD, rtol=1e-3, atol=1e-4)
    # The first state is zero: in cells with a recurrent kernel only later steps multiply by it.
    assert np.abs(found[1:] - exact[1:]).max() > 1e-3


@pytest.mark.parametrize("name", tiny.GENERATIVE)
def test_gradients_of_a_model_in_bfloat16_stay_close(name):
    changes = {"latent__name": "gaussian", "likelihood__name": "bernoulli"}
    _, params = tiny.build(name, **changes)

    def gradient(precision):
        model = build.build_model(tiny.config(name, **changes), precision)

        def loss(params):
            terms = model.apply(params, tiny.binary(), tiny.keys())
            return jnp.sum(objective.per_example(terms)["loss"])

        return jnp.concatenate(
            [x.ravel() for x in jax.tree.leaves(jax.jit(jax.grad(loss))(params))]
        )

    exact, found = map(gradient, MATMUL_DTYPES)
    error = jnp.linalg.norm(found - exact) / jnp.linalg.norm(exact)
    assert 1e-4 < error < 0.05


def matmuls(jaxpr):
    """Every dot_general of a jaxpr, also inside loops, branches and custom gradients."""
    for equation in jaxpr.eqns:
        if equation.primitive.name == "dot_general":
            yield equation
        for value in equation.params.values():
            for inner in value if isinstance(value, tuple | list) else (value,):
                inner = getattr(inner, "jaxpr", inner)
                if hasattr(inner, "eqns"):
                    yield from matmuls(inner)


def traced(model):
    """The jaxprs of all public methods of a model, and of the gradient of its terms."""
    shapes = jax.eval_shape(model.init, jax.random.key(0), tiny.binary(), tiny.keys())
    z_BZ = jnp.zeros((3, model.latent_dimensions))
    x_BHWC, key_B, label_B = tiny.binary(), tiny.keys(), jnp.arange(3)
    inputs = {
        "__call__": (x_BHWC, key_B, label_B),
        "encode": (x_BHWC,),
    }
    if model.generative:
        method = "decode_mean" if model.has_mean else "decode_sample"
        inputs[method] = (z_BZ, key_B, label_B)
    if model.has_prior:
        inputs["sample_prior"] = (key_B,)
    if model.latent.variational:
        posterior = jax.eval_shape(
            functools.partial(model.apply, method="posterior"), shapes, x_BHWC
        )
        inputs["log_posterior"] = (posterior, z_BZ)
    if "frames" in model.capabilities:
        inputs["frames"] = (z_BZ, label_B)
    if "complete" in model.capabilities:
        given = jnp.ones(x_BHWC.shape[:3], bool), jnp.zeros(3, jnp.int32)
        inputs[completion.log_prob_of_given] = (z_BZ, x_BHWC, *given, label_B)
        inputs[completion.complete] = (z_BZ[:, None], key_B, x_BHWC, *given, label_B)
    for method, arguments in inputs.items():
        function = functools.partial(model.apply, method=method)
        yield jax.make_jaxpr(function)(shapes, *arguments).jaxpr

    def loss(params):
        terms = model.apply(params, x_BHWC, key_B, label_B)
        return jnp.sum(terms.kl_BTZ) - jnp.sum(terms.log_prob_B)

    yield jax.make_jaxpr(jax.grad(loss))(shapes).jaxpr


VARIANTS = [
    *({"name": name} for name in ("draw", "sweep")),
    *({"cell": cell} for cell in CELLS),
    *({"latent__name": name} for name in LATENTS if name != "none"),
    {"latent__name": "gaussian", "latent__posterior": "autoregressive"},
    *({"likelihood__name": name, "order": "patches"} for name in LIKELIHOODS),
    {"autoregressive": True, "decoder_direction": "forward"},
    {"name": "sweep", "latent__name": "none", "cell": "gru"},
    {"name": "draw", "read_size": 0, "write_size": 0, "learned_prior": True},
    {"name": "draw", "likelihood__name": "logistic_mixture"},
]
CHECKED = [
    *({"name": name, "classes": 3} for name in (*tiny.GENERATIVE, "classifier")),
    *({"name": name} for name in ("mlp", "sequence")),
    *map(tiny.slow, VARIANTS),
]


@pytest.mark.parametrize("changes", CHECKED, ids=str)
def test_every_matmul_has_an_explicit_precision(changes):
    """float32 matmuls must not depend on the default precision of the device."""
    for name, dtype in MATMUL_DTYPES.items():
        found = []
        for jaxpr in traced(build.build_model(tiny.config(**changes), name)):
            for equation in matmuls(jaxpr):
                operands = {variable.aval.dtype for variable in equation.invars}
                found.append(operands)
                if operands == {jnp.dtype(jnp.bfloat16)}:
                    assert equation.params["preferred_element_type"] == jnp.float32
                else:
                    assert operands == {jnp.dtype(jnp.float32)}
                    assert equation.params["precision"] == (HIGHEST, HIGHEST), equation
        assert ({jnp.dtype(jnp.bfloat16)} in found) == (dtype == jnp.bfloat16)

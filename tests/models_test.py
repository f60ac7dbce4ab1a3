"""What every model promises, and what the sequence autoencoder's options do."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rnnae.cells import CELLS
from rnnae.config import default
from rnnae.errors import ConfigError
from rnnae.models import MODELS, model
from rnnae.scan_order import ORDERS

SHAPE = (4, 6, 1)


def build(name="sequence", shape=SHAPE, seed=0, **changes):
    """(model, params) of a tiny model with its config's defaults but for `changes`."""
    fields = default(name).model.to_dict() | {"latent_size": 5} | changes
    if name == "sequence":
        fields = {**fields, "patch": 2} | {"width": 4} | changes
    fields.pop("name")
    built = model(name, shape, **fields)
    x_BHWC = images(shape)
    return built, jax.jit(built.init)(jax.random.key(seed), x_BHWC)


def images(shape=SHAPE, batch=3):
    return jax.random.uniform(jax.random.key(9), (batch, *shape))


def reconstruct(built, params, x_BHWC):
    z_BZ = built.apply(params, x_BHWC, method="encode")
    return built.apply(params, z_BZ, jax.random.key(0), method="decode")


@pytest.mark.parametrize("shape", [SHAPE, (4, 6, 3)])
@pytest.mark.parametrize("name", MODELS)
def test_interface(name, shape):
    built, params = build(name, shape)
    terms = built.apply(params, images(shape))
    assert terms.log_prob_B.shape == terms.kl_B.shape == (3,)
    assert built.apply(params, images(shape), method="encode").shape == (3, 5)
    mean = reconstruct(built, params, images(shape))
    assert mean.shape == (3, *shape)
    # The training loss is of the very image that decode gives back.
    expected = -jnp.sum((images(shape) - mean) ** 2, axis=(1, 2, 3))
    np.testing.assert_allclose(terms.log_prob_B, expected, rtol=1e-4)


@pytest.mark.parametrize("name", MODELS)
def test_examples_do_not_mix(name):
    built, params = build(name)
    changed = built.apply(params, images().at[0].set(0.0)).log_prob_B
    same = built.apply(params, images()).log_prob_B
    np.testing.assert_allclose(changed[1:], same[1:], rtol=1e-5)
    assert abs(changed[0] - same[0]) > 1e-4


@pytest.mark.parametrize(
    "changes",
    [{"order": order} for order in ORDERS]
    + [{"cell": cell} for cell in CELLS]
    + [{"feed": feed} for feed in ("initial_state", "every_step")]
    + [
        {"readout": "last"},
        {"layers": 2},
        {"layers": 2, "residual": False},
        {"encoder_direction": "backward", "decoder_direction": "forward"},
        {"own_output": True, "decoder_direction": "forward"},
        {"likelihood": "bernoulli"},
    ],
    ids=str,
)
def test_every_option_has_a_gradient_in_every_parameter(changes):
    built, params = build(**changes)

    def loss(params):
        return -built.apply(params, images()).log_prob_B.sum()

    gradients = jax.jit(jax.grad(loss))(params)
    for path, gradient in jax.tree_util.tree_leaves_with_path(gradients):
        assert np.isfinite(gradient).all()
        assert np.abs(gradient).max() > 0, jax.tree_util.keystr(path)


@pytest.mark.parametrize("likelihood", ["squared_error", "bernoulli"])
def test_running_free_equals_teacher_forcing_on_its_own_tokens(likelihood):
    built, params = build(
        own_output=True, decoder_direction="forward", likelihood=likelihood, layers=2
    )

    def free(model, z_BZ):
        def choose(p_BP, key):
            p_BHWP = p_BP.reshape(-1, 1, model.scan.token_size, 1)
            return model.pixels.sample(p_BHWP, key).reshape(-1, model.scan.token_size)

        p_TBP, x_TBI = model.decoder.run_free(z_BZ, jax.random.key(4), choose)
        return p_TBP, x_TBI, model.decoder(z_BZ, x_TBI)

    z_BZ = jax.random.normal(jax.random.key(5), (3, 5))
    sequential, tokens, parallel = built.apply(params, z_BZ, method=free)
    np.testing.assert_allclose(sequential, parallel, rtol=1e-4, atol=1e-5)
    if likelihood == "bernoulli":
        assert set(np.unique(tokens)) <= {0.0, 1.0}


def test_teacher_forcing_is_causal():
    built, params = build(own_output=True, decoder_direction="forward")

    def tokens(model, z_BZ, x_BHWC):
        return model.decoder(z_BZ, model.scan.to_tokens(x_BHWC))

    z_BZ = jnp.ones((3, 5))
    before = built.apply(params, z_BZ, images(), method=tokens)
    after = built.apply(params, z_BZ, images().at[:, 1].add(1.0), method=tokens)
    moved = np.abs(after - before).max(axis=(1, 2)) > 1e-7
    assert moved.tolist() == [False, False, True, True]


@pytest.mark.parametrize("feed", ["initial_state", "every_step", "both"])
def test_the_code_reaches_the_image(feed):
    built, params = build(feed=feed)
    z_BZ = jax.random.normal(jax.random.key(5), (2, 5))
    first, second = built.apply(params, z_BZ, jax.random.key(0), method="decode")
    assert np.abs(first - second).max() > 1e-4


@pytest.mark.parametrize(
    "changes, words",
    [
        ({"feed": "always"}, "initial_state, every_step, both"),
        ({"readout": "first"}, "last, all"),
        ({"order": "patches", "patch": 5}, "divide"),
        ({"own_output": True}, "decoder_direction='forward'"),
        ({"cell": "lstn"}, "simple, gru, lstm"),
        ({"latent": "discrete"}, "deterministic"),
    ],
)
def test_what_cannot_be_is_refused(changes, words):
    with pytest.raises(ConfigError, match=words):
        build(**changes)


def test_unknown_model_and_unknown_hyperparameter():
    with pytest.raises(ConfigError, match="mlp, sequence"):
        model("cnn", SHAPE)
    with pytest.raises(TypeError, match="wdith"):
        model("mlp", SHAPE, wdith=3)

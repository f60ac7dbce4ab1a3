"""The interface of all models, and the options of the sequence autoencoder."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rnnae.errors import ConfigError
from rnnae.latents import LATENTS
from rnnae.likelihoods import LIKELIHOODS
from rnnae.nn.cells import CELLS
from rnnae.scan_order import ORDERS
from tests.tiny import GENERATIVE, SHAPE, apply, binary, build, images, keys


def reconstruct(model, params, x_BHWC):
    z_BZ = apply(model, params, x_BHWC, method="encode")
    decode = "decode_mean" if model.has_mean else "decode_sample"
    return apply(model, params, z_BZ, keys(), method=decode)


@pytest.mark.parametrize("shape", [SHAPE, (4, 6, 3)])
@pytest.mark.parametrize("name", GENERATIVE)
def test_outputs_have_the_shapes_of_the_interface(name, shape):
    model, params = build(name, shape)
    terms = apply(model, params, images(shape), keys())
    assert terms.log_prob_B.shape == terms.log_ratio_B.shape == (3,)
    assert terms.kl_BTZ.ndim == 3
    z_BZ = apply(model, params, images(shape), method="encode")
    assert z_BZ.shape == (3, model.latent_dimensions)
    assert reconstruct(model, params, images(shape)).shape == (3, *shape)


AUTOREGRESSIVE = {"autoregressive": True, "decoder_direction": "forward"}


@pytest.mark.parametrize(
    "changes",
    [
        *({"name": name} for name in GENERATIVE),
        *({**AUTOREGRESSIVE, "likelihood__name": name} for name in ("gaussian", "bernoulli")),
    ],
    ids=str,
)
def test_a_model_has_a_mean_or_declares_that_it_has_none(changes):
    """decode_mean does not depend on keys; decode_sample does, and binary
    likelihoods give binary pixels."""
    model, params = build(**changes)
    z_BZ = 0.5 * jnp.ones((3, model.latent_dimensions))
    samples = [
        apply(model, params, z_BZ, keys(seed=seed), method="decode_sample") for seed in (1, 2)
    ]
    assert np.abs(samples[0] - samples[1]).max() > 0.1
    if model.likelihood.binary:
        assert set(np.unique(samples)) <= {0.0, 1.0}
    if not model.has_mean:
        with pytest.raises(NotImplementedError, match="no closed form"):
            apply(model, params, z_BZ, keys(), method="decode_mean")
        return
    means = [apply(model, params, z_BZ, keys(seed=seed), method="decode_mean") for seed in (1, 2)]
    assert np.array_equal(*means)


@pytest.mark.parametrize("name", ["sequence", "mlp", "draw"])
def test_the_mean_image_is_the_mean_of_sampled_images(name):
    model, params = build(name, likelihood__name="bernoulli")
    z_BZ = jnp.broadcast_to(
        jnp.linspace(-1, 1, model.latent_dimensions), (4000, model.latent_dimensions)
    )
    samples = apply(model, params, z_BZ, keys(4000), method="decode_sample")
    mean = apply(model, params, z_BZ[:1], keys(1), method="decode_mean")[0]
    np.testing.assert_allclose(samples.mean(axis=0), mean, atol=0.04)


def test_a_sample_of_an_autoregressive_density_follows_its_own_densities():
    """Every sampled token is a few sigmas at most from its mean given the sampled tokens before
    it."""
    model, params = build(**AUTOREGRESSIVE, likelihood__sigma=0.2)
    z_BZ = jnp.ones((3, 5))
    sample = apply(model, params, z_BZ, keys(), method="decode_sample")
    given = apply(model, params, z_BZ, sample, method="decode_teacher_forced")
    standardised = (sample - model.likelihood.mean(given)) / 0.2
    assert 0.5 < float(standardised.std()) < 1.5 and np.abs(standardised).max() < 5


@pytest.mark.parametrize("name", ["sequence", "mlp"])
def test_the_log_likelihood_is_the_squared_error_of_the_mean_image(name):
    model, params = build(name)
    mean = reconstruct(model, params, images())
    expected = -jnp.sum((images() - mean) ** 2, axis=(1, 2, 3)) - 24 * np.log(np.pi) / 2
    log_prob_B = apply(model, params, images(), keys()).log_prob_B
    np.testing.assert_allclose(log_prob_B, expected, rtol=1e-4)


@pytest.mark.parametrize("name", GENERATIVE)
def test_only_an_autoregressive_model_can_be_without_a_latent(name):
    if name == "sweep":
        model, params = build(name, latent__name="none")
        terms = apply(model, params, binary(), keys())
        assert not terms.kl_BTZ.any() and (terms.log_prob_B < 0).all()
    else:
        with pytest.raises(ConfigError, match="config file of the sweep model"):
            build(name, latent__name="none")


@pytest.mark.parametrize("name", GENERATIVE)
def test_examples_and_their_keys_do_not_mix(name):
    model, params = build(name, latent__name="gaussian")
    whole = apply(model, params, binary(), keys())
    changed = apply(model, params, binary().at[0].set(0.0), keys().at[0].set(jax.random.key(1)))
    for a, b in zip(whole, changed, strict=True):
        np.testing.assert_allclose(a[1:], b[1:], rtol=1e-5, atol=1e-6)
    assert abs(whole.log_prob_B[0] - changed.log_prob_B[0]) > 1e-4
    assert abs(whole.log_ratio_B[0] - changed.log_ratio_B[0]) > 1e-6


@pytest.mark.parametrize(
    "likelihood, latent",
    [(likelihood, "gaussian") for likelihood in LIKELIHOODS]
    + [("logistic_mixture", latent) for latent in LATENTS if latent not in ("gaussian", "none")],
)
def test_every_likelihood_and_every_latent_has_finite_gradients(likelihood, latent):
    order = "patches" if likelihood == "categorical" else "rows"
    model, params = build(likelihood__name=likelihood, latent__name=latent, order=order)

    def loss(params):
        terms = apply(model, params, binary(), keys())
        return jnp.sum(terms.kl_BTZ) - jnp.sum(terms.log_prob_B)

    gradients = jax.jit(jax.grad(loss))(params)
    for path, gradient in jax.tree_util.tree_leaves_with_path(gradients):
        assert np.isfinite(gradient).all(), jax.tree_util.keystr(path)


@pytest.mark.parametrize(
    "changes",
    [{"order": order} for order in ORDERS]
    + [{"cell": cell} for cell in CELLS]
    + [{"latent_input": source} for source in ("initial_state", "every_step")]
    + [
        {"readout": "last"},
        {"layers": 2},
        {"layers": 2, "connections": "skip"},
        {"encoder_direction": "backward", "decoder_direction": "forward"},
        {"autoregressive": True, "decoder_direction": "forward"},
        {"latent__name": "gaussian"},
        {"latent__name": "gaussian", "latent__posterior": "autoregressive", "latent__chunk": 1},
        {"latent__name": "autoregressive", "latent__chunk": 1},
        {"latent__name": "mixture"},
        {"latent__name": "vamp"},
        {"name": "mlp"},
        {"name": "sweep"},
        {"name": "sweep", "latent__name": "none"},
        {"name": "sweep", "condition": "add", "sweeps_above": "backward", "segment": 1},
    ],
    ids=str,
)
def test_every_option_has_a_gradient_in_every_parameter(changes):
    model, params = build(**changes)

    def loss(params):
        terms = apply(model, params, binary(), keys())
        return jnp.sum(terms.kl_BTZ) - jnp.sum(terms.log_prob_B)

    gradients = jax.jit(jax.grad(loss))(params)
    for path, gradient in jax.tree_util.tree_leaves_with_path(gradients):
        assert np.isfinite(gradient).all()
        assert np.abs(gradient).max() > 0, jax.tree_util.keystr(path)


@pytest.mark.parametrize("likelihood", ["gaussian", "bernoulli", "categorical"])
def test_decoding_free_running_equals_teacher_forcing_on_its_own_tokens(likelihood):
    model, params = build(
        autoregressive=True,
        decoder_direction="forward",
        likelihood__name=likelihood,
        order="patches",
        layers=2,
    )

    def free(model, z_BZ):
        next_token = model.sampled_token if model.likelihood.discrete else model.mean_token
        p_TBP, x_TBI = model.decoder.decode_free_running(z_BZ, keys(), next_token)
        mean_BHWC = model.likelihood.mean(model.params_order.token_to_image(p_TBP[-1]))
        return p_TBP, x_TBI, model.decoder(z_BZ, x_TBI), mean_BHWC

    z_BZ = jax.random.normal(jax.random.key(5), (3, 5))
    sequential, tokens, parallel, mean_BHWC = apply(model, params, z_BZ, method=free)
    np.testing.assert_allclose(sequential, parallel, rtol=1e-4, atol=1e-5)
    if likelihood != "gaussian":
        assert set(np.unique(tokens)) <= {0.0, 1.0}
    else:  # with a density, the decoder reads its own means, not samples
        np.testing.assert_allclose(tokens[-1], mean_BHWC.reshape(3, -1), rtol=1e-5)


def test_sampled_tokens_have_the_probability_that_training_gives_them():
    """The sum over steps of log p(token | previous tokens) is log p(image) by teacher forcing."""
    model, params = build(
        autoregressive=True, decoder_direction="forward", likelihood__name="bernoulli"
    )

    def both(model, z_BZ):
        p_TBP, x_TBI = model.decoder.decode_free_running(z_BZ, keys(), model.sampled_token)
        x_BHWC = model.tokens.to_image(x_TBI)
        sequential_B = model.likelihood.log_prob(model.params_order.to_image(p_TBP), x_BHWC)
        return sequential_B, model.likelihood.log_prob(
            model.decode_teacher_forced(z_BZ, x_BHWC), x_BHWC
        )

    z_BZ = jax.random.normal(jax.random.key(5), (3, 5))
    sequential_B, parallel_B = apply(model, params, z_BZ, method=both)
    np.testing.assert_allclose(sequential_B, parallel_B, atol=1e-4)


def test_teacher_forcing_is_causal():
    model, params = build(autoregressive=True, decoder_direction="forward")

    def tokens(model, z_BZ, x_BHWC):
        return model.decoder(z_BZ, model.tokens.to_tokens(x_BHWC))

    z_BZ = jnp.ones((3, 5))
    before = apply(model, params, z_BZ, images(), method=tokens)
    after = apply(model, params, z_BZ, images().at[:, 1].add(1.0), method=tokens)
    moved = np.abs(after - before).max(axis=(1, 2)) > 1e-7
    assert moved.tolist() == [False, False, True, True]


@pytest.mark.parametrize("latent_input", ["initial_state", "every_step", "both"])
def test_the_image_depends_on_the_latent(latent_input):
    model, params = build(latent_input=latent_input)
    z_BZ = jax.random.normal(jax.random.key(5), (2, 5))
    first, second = apply(model, params, z_BZ, keys(2), method="decode_mean")
    assert np.abs(first - second).max() > 1e-4


@pytest.mark.parametrize(
    "changes, words",
    [
        ({"latent_input": "always"}, "initial_state, every_step, both"),
        ({"readout": "first"}, "last, all"),
        ({"encoder_direction": "bakward"}, "model.encoder_direction.*did you mean 'backward'"),
        ({"decoder_direction": "bakward"}, "model.decoder_direction.*did you mean 'backward'"),
        ({"order": "patches", "patch": 5}, "divide"),
        ({"autoregressive": True}, "decoder_direction='forward'"),
        ({"cell": "lstn"}, "simple, gru, lstm.*did you mean 'lstm'"),
        ({"latent__name": "discrete"}, "deterministic, gaussian"),
        ({"latent__name": "autoregressive", "latent__chunk": 2}, "chunk=2 does not divide"),
        ({"likelihood__name": "categorical"}, "block=2 does not divide the 1x6 pixels"),
        ({"name": "draw", "latent__name": "vamp"}, "needs config.latent.name=gaussian"),
        ({"name": "draw", "shape": (4, 6, 4)}, "canvas=3 is less than the image's 4"),
    ],
)
def test_invalid_combinations_are_refused(changes, words):
    if changes.get("shape"):
        changes = changes | {"likelihood__name": "logistic_mixture"}
    with pytest.raises(ConfigError, match=words):
        build(**changes)


def test_an_unknown_option_is_an_error():
    with pytest.raises((AttributeError, KeyError, TypeError), match="wdith"):
        build("mlp", wdith=3)

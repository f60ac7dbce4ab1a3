"""The class that a decoder is told: it reaches the image, and an unknown class exists."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rnnae.config import check
from rnnae.errors import ConfigError
from tests import tiny
from tests.tiny import apply, binary, build, keys

CLASSES = 3
LABELS = jnp.array([0, 1, 2, -1])
AUTOREGRESSIVE = {"autoregressive": True, "decoder_direction": "forward"}
WITHOUT_LATENT = {"name": "sweep", "blocks": 1, "latent__name": "none"}
WITH_LATENT = {"name": "sweep", "blocks": 1}
VARIANTS = [
    {"name": "mlp"},
    {**AUTOREGRESSIVE, "latent_input": "initial_state", "likelihood__name": "bernoulli"},
    WITHOUT_LATENT,
]
LONGER_VARIANTS = [
    *({"latent_input": source} for source in ("initial_state", "every_step", "both")),
    {"name": "draw"},
    {"name": "draw", "read_size": 0, "write_size": 0, "learned_prior": True},
    WITH_LATENT,
    {**WITH_LATENT, "condition": "add", "sweeps_above": "none"},
    {**WITHOUT_LATENT, "condition": "add"},
]


def slow(*values):
    """Parameters of tests that are longer than their use in every run of the tests."""
    return [pytest.param(value, marks=pytest.mark.slow) for value in values]


def same_image():
    """One image, once for each of LABELS."""
    return jnp.broadcast_to(binary(batch=1), (4, *tiny.SHAPE))


def leaves(params):
    return {
        jax.tree_util.keystr(path): leaf
        for path, leaf in jax.tree_util.tree_leaves_with_path(params)
    }


@pytest.mark.parametrize("changes", [*VARIANTS, *slow(*LONGER_VARIANTS)], ids=str)
def test_every_class_has_an_effect_and_a_gradient(changes):
    """Classes differ from each other and from an unknown class. Each has a gradient in its row of
    every kernel that reads it, and every other parameter has one too."""
    model, params = build(**changes, classes=CLASSES)
    z_BZ = 0.5 * jnp.ones((4, model.latent_dimensions))

    def decode(params, label_B):
        return model.apply(params, z_BZ, same_image(), label_B, method="decode_teacher_forced")

    def loss(params):
        terms = model.apply(params, same_image(), keys(4), LABELS)
        # At sampled latents the likelihood can be flat, so there is a term at given latents too.
        outputs = jnp.sum(jnp.sin(decode(params, LABELS)))
        return outputs + jnp.sum(terms.kl_BTZ) - jnp.sum(terms.log_prob_B)

    @jax.jit
    def everything(params):
        return jax.grad(loss)(params), decode(params, LABELS), decode(params, None)

    gradients, decoded, unknown = everything(params)
    np.testing.assert_array_equal(decoded[3], unknown[3])
    for one, other in itertools.combinations(decoded, 2):
        assert np.abs(one - other).max() > 1e-3
    plain, told = leaves(build(**changes)[1]), 0
    for path, gradient in leaves(gradients).items():
        assert np.isfinite(gradient).all() and np.abs(gradient).max() > 0, path
        inputs = len(plain[path]) if path in plain else 0
        if "kernel" in path and len(gradient) == inputs + CLASSES:
            assert (np.abs(gradient[inputs:]).max(axis=1) > 0).all(), path
            told += 1
        else:
            assert path not in plain or gradient.shape == plain[path].shape
    assert told


@pytest.mark.parametrize("name", ["mlp", "sequence", *slow("draw", "sweep")])
def test_without_classes_the_program_ignores_the_label(name):
    model, params = build(name)

    def program(*label_B):
        lowered = jax.jit(lambda params: model.apply(params, binary(), keys(), *label_B))
        return lowered.lower(params).as_text()

    assert program() == program(jnp.array([0, 1, -1]))


@pytest.mark.parametrize("changes", [WITHOUT_LATENT, *slow(WITH_LATENT)], ids=str)
def test_probabilities_of_every_image_sum_to_one_given_any_class(changes):
    shape = (2, 3, 1)
    model, params = build(shape=shape, patch=1, likelihood__block=1, classes=CLASSES, **changes)
    every = np.array(list(itertools.product((0.0, 1.0), repeat=6)), np.float32)
    x_BHWC = jnp.tile(jnp.asarray(every.reshape(-1, *shape)), (4, 1, 1, 1))
    z_BZ = jnp.broadcast_to(
        jnp.linspace(-1, 1, model.latent_dimensions), (256, model.latent_dimensions)
    )
    label_B = jnp.repeat(LABELS, 64)

    def log_prob(model):
        params_BHWP = model.decode_teacher_forced(z_BZ, x_BHWC, label_B)
        return model.likelihood.log_prob(params_BHWP, x_BHWC)

    log_p = apply(model, params, method=log_prob).reshape(4, 64)
    np.testing.assert_allclose(jax.nn.logsumexp(log_p, axis=1), 0, atol=1e-4)
    assert (np.abs(np.exp(log_p[1:]) - np.exp(log_p[:1])).sum(axis=1) > 1e-2).all()


def test_a_decoder_that_is_told_the_class_is_causal():
    """A token changes all parameters after it and none before."""
    model, params = build(**WITHOUT_LATENT, patch=1, likelihood__block=1, classes=CLASSES)
    positions = [0, 9, 17]
    x_BHWC = same_image()
    for example, at in enumerate(positions):
        x_BHWC = x_BHWC.at[example, at // 6, at % 6].add(1.0)
    z_BZ, label_B = jnp.zeros((4, 0)), jnp.full(4, 1)
    decoded = apply(model, params, z_BZ, x_BHWC, label_B, method="decode_teacher_forced")
    for example, at in enumerate(positions):
        moved = (np.abs(decoded[example] - decoded[3]) > 1e-7).any(axis=-1).ravel()
        assert not moved[: at + 1].any() and moved[at + 1 :].all()


def test_the_latent_of_draw_depends_on_the_class_and_agrees_with_its_terms():
    """The log ratio of the terms is log p(z | y) - log q(z | x, y) of the sampled latent."""
    model, params = build("draw", classes=CLASSES, learned_prior=True)
    x_BHWC = same_image()

    def both(model):
        z_BZ = model.sample_posterior(x_BHWC, keys(4), LABELS)
        log_q_B = model.log_posterior(x_BHWC, z_BZ, LABELS)
        state, log_p_B = model.start(4), 0.0
        for z in model.split_steps(z_BZ):
            log_p_B += model.step_prior(state.decoder[0], z).log_prob(z).sum(axis=-1)
            state = model.decoder_step(state, z, LABELS)[0]
        params_BHWP = model.decode_free_running(z_BZ, keys(4), LABELS)
        log_prob_B = model.likelihood.log_prob(params_BHWP, x_BHWC)
        means = model.encode(x_BHWC, LABELS), model.frames(z_BZ, LABELS)[0][-1]
        decoded = model.decode_mean(z_BZ, keys(4), LABELS)
        return log_p_B - log_q_B, log_prob_B, model(x_BHWC, keys(4), LABELS), means, decoded

    log_ratio_B, log_prob_B, terms, (mean_BZ, frame), decoded = apply(model, params, method=both)
    np.testing.assert_allclose(terms.log_ratio_B, log_ratio_B, rtol=1e-3, atol=1e-3)
    np.testing.assert_allclose(terms.log_prob_B, log_prob_B, rtol=1e-4)
    np.testing.assert_allclose(frame, decoded, rtol=1e-5)
    assert np.abs(mean_BZ[:3] - mean_BZ[3:]).max(axis=1).min() > 1e-3


@pytest.mark.parametrize("classes, words", [(-1, "0 or more, not -1"), (1, "0, or 2 or more")])
def test_an_impossible_number_of_classes_is_refused(classes, words):
    with pytest.raises(ConfigError, match=f"config.model.classes must be {words}"):
        check(tiny.config(classes=classes))

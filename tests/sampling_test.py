"""Temperature and guidance: samples come from the distribution that their formulas give."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rnnae.errors import ConfigError
from rnnae.models import Sampling
from rnnae.models.sampling import MODEL_DISTRIBUTION
from tests import tiny
from tests.conditioning_test import AUTOREGRESSIVE, CLASSES, LABELS, WITH_LATENT, WITHOUT_LATENT
from tests.conditioning_test import slow as slow_values
from tests.tiny import apply, build, keys

BINARY = {"likelihood__name": "bernoulli", "classes": CLASSES}
SEQUENCE = {**AUTOREGRESSIVE, **BINARY, "latent_input": "initial_state"}
SWEEP = {**WITHOUT_LATENT, "classes": CLASSES}


def latents(model, batch=4):
    return jax.random.normal(jax.random.key(0), (batch, model.latent_dimensions))


@pytest.mark.parametrize(
    "changes",
    [
        SEQUENCE,
        SWEEP,
        {"name": "mlp", **BINARY},
        *slow_values(
            BINARY,
            {"name": "draw", **BINARY},
            {**WITH_LATENT, "classes": CLASSES},
            {**WITHOUT_LATENT, **BINARY, "patch": 1},
        ),
    ],
    ids=str,
)
def test_tokens_are_sampled_from_the_guided_and_tempered_distribution(changes):
    """The logits of every token, given the sampled tokens before it, are
    ((1 + w) l(y) - w l(unknown)) / T with both l by teacher forcing on the sampled image."""
    model, params = build(**changes)
    z_BZ, sampling = latents(model), Sampling(temperature=0.7, guidance=1.5)

    def everything(model):
        x_BHWC = model.decode_sample(z_BZ, keys(4), LABELS, sampling=sampling)
        sampled = model.decode_free_running(z_BZ, keys(4), LABELS, sampling=sampling)
        given = model.decode_teacher_forced(z_BZ, x_BHWC, LABELS)
        return x_BHWC, sampled, given, model.decode_teacher_forced(z_BZ, x_BHWC)

    x_BHWC, sampled, given, unknown = apply(model, params, method=everything)
    assert x_BHWC.shape == (4, *tiny.SHAPE) and set(np.unique(x_BHWC)) <= {0.0, 1.0}
    np.testing.assert_allclose(sampled, (2.5 * given - 1.5 * unknown) / 0.7, rtol=1e-4, atol=1e-4)
    assert np.abs(given - unknown).max() > 1e-2


@pytest.mark.parametrize("changes", [SWEEP, *slow_values(SEQUENCE)], ids=str)
def test_without_temperature_and_guidance_the_model_is_sampled(changes):
    """Bit for bit. And guidance towards an unknown class changes no random number."""
    model, params = build(**changes)
    z_BZ, unknown = latents(model), jnp.full(4, -1)

    def sample(model, sampling=MODEL_DISTRIBUTION):
        return model.decode_sample(z_BZ, keys(4), unknown, sampling=sampling)

    def samples(model):
        return sample(model), sample(model, Sampling(guidance=2.0))

    def program(sampling):
        method = functools.partial(sample, sampling=sampling)
        return jax.jit(functools.partial(model.apply, method=method)).lower(params).as_text()

    plain, guided = apply(model, params, method=samples)
    np.testing.assert_array_equal(plain, guided)
    assert program(Sampling(1, 0)) == program(MODEL_DISTRIBUTION)


@pytest.mark.parametrize("changes", [SWEEP, *slow_values(SEQUENCE)], ids=str)
def test_a_small_temperature_gives_the_most_probable_value_of_every_token(changes):
    model, params = build(**changes)
    z_BZ, sampling = latents(model), Sampling(temperature=1e-4)

    def everything(model, key_B):
        x_BHWC = model.decode_sample(z_BZ, key_B, LABELS, sampling=sampling)
        params_BHWP = model.decode_teacher_forced(z_BZ, x_BHWC, LABELS)
        tempered = model.likelihood.temper(params_BHWP, 1e-4)
        return x_BHWC, model.likelihood.log_prob(tempered, x_BHWC)

    (one, log_prob_B), (other, _) = (
        apply(model, params, keys(4, seed=seed), method=everything) for seed in (1, 2)
    )
    np.testing.assert_array_equal(one, other)
    np.testing.assert_allclose(log_prob_B, 0, atol=1e-2)


@pytest.mark.slow
def test_a_guided_completion_keeps_the_given_rows():
    model, params = build(**SWEEP)
    z_BZ, x_BHWC, sampling = latents(model), tiny.binary(batch=4), Sampling(guidance=1.0)

    def complete(model):
        order_B = jnp.zeros(4, jnp.int32)
        given_BHW = jnp.zeros(x_BHWC.shape[:3], bool).at[:, :2].set(True)
        known = model.known_tokens(x_BHWC, given_BHW, order_B)
        params_BHWP, found, _ = model.sample_tokens(
            z_BZ, keys(4), LABELS, known, order_B, sampling=sampling
        )
        given = model.decode_teacher_forced(z_BZ, found, LABELS)
        return params_BHWP, found, 2 * given - model.decode_teacher_forced(z_BZ, found)

    params_BHWP, found, expected = apply(model, params, method=complete)
    np.testing.assert_array_equal(found[:, :2], x_BHWC[:, :2])
    np.testing.assert_allclose(params_BHWP, expected, rtol=1e-4, atol=1e-4)


def test_the_mean_image_is_guided_and_its_temperature_is_that_of_the_latent():
    model, params = build("mlp", **BINARY)
    z_BZ = latents(model)

    def means(model):
        decode = functools.partial(model.decode_mean, z_BZ, keys(4), LABELS)
        settings = Sampling(), Sampling(temperature=0.5), Sampling(guidance=2.0)
        return [decode(sampling=sampling) for sampling in settings]

    plain, tempered, guided = apply(model, params, method=means)
    np.testing.assert_array_equal(plain, tempered)
    moved = np.abs(guided - plain).max(axis=(1, 2, 3))
    assert moved[:3].min() > 1e-2 and moved[3] < 1e-5


@pytest.mark.parametrize("learned_prior", [False, True])
def test_the_temperature_of_draw_scales_the_noise_of_its_prior(learned_prior):
    model, params = build("draw", learned_prior=learned_prior, steps=2)

    def samples(model):
        return [model.sample_prior(keys(), temperature) for temperature in (1e-9, 0.5, 1.0)]

    mean, half, whole = apply(model, params, method=samples)
    first = slice(0, model.latent.size)  # the first glimpse has the same prior at every temperature
    expected = (mean[:, first] + whole[:, first]) / 2
    np.testing.assert_allclose(half[:, first], expected, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(mean, jnp.broadcast_to(mean[:1], mean.shape), atol=1e-6)
    assert np.abs(whole - mean).max() > 0.1


@pytest.mark.parametrize(
    "changes, sampling, words",
    [
        ({"likelihood__name": "bernoulli"}, {"guidance": 1.0}, "told the class.*model.classes"),
        ({"classes": 3}, {"guidance": 1.0}, "likelihood.name=bernoulli or categorical"),
        (
            {**SWEEP, "likelihood__name": "logistic_mixture", "patch": 1},
            {"guidance": 1.0},
            "likelihood.name=bernoulli or categorical",
        ),
        (SWEEP, {"guidance": -0.5}, "guidance must be 0 or more"),
        (SWEEP, {"temperature": 0.0}, "temperature must be positive"),
        (SEQUENCE, {"temperature": float("inf")}, "temperature must be positive and finite"),
    ],
    ids=str,
)
def test_impossible_sampling_is_refused(changes, sampling, words):
    model, params = build(**changes)
    method = functools.partial(model.decode_sample.__func__, sampling=Sampling(**sampling))
    with pytest.raises(ConfigError, match=words):
        jax.eval_shape(
            functools.partial(model.apply, method=method), params, latents(model), keys(4)
        )

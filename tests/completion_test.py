"""Completions follow the conditional distribution that enumeration gives, for any mask."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rnnae.errors import ConfigError
from rnnae.evaluation import completion
from rnnae.evaluation.trained_run import TrainedRun
from rnnae.likelihoods import likelihood
from rnnae.models import particles
from rnnae.models.completion import log_prob_of_given
from tests import tiny
from tests.tiny import apply, slow

SQUARE = (4, 4, 1)
PIXELS = {"patch": 1, "likelihood__block": 1}
TOP, LEFT, BOTTOM = (np.zeros((4, 4), bool) for _ in range(3))
TOP[:2], LEFT[:, :2], BOTTOM[2:] = True, True, True
SCATTERED = np.array([[1, 0, 0, 1], [0, 1, 0, 1], [0, 0, 1, 0], [1, 1, 0, 1]], bool)
EVERY = np.array(list(itertools.product((0, 1), repeat=8)), bool)  # of the 8 missing pixels


def build(name="sweep", shape=SQUARE, **changes):
    changes = {"latent__name": "none", "blocks": 1, **changes} if name == "sweep" else changes
    model, variables = tiny.build(name, shape, **changes)
    return TrainedRun(model, variables["params"], tiny.config(name, shape, **changes), 0)


def completed(image_HWC, mask_HW):
    """All images with the given pixels of an image, and those of 8 missing ones that stand in the
    order of EVERY."""
    images = np.repeat(image_HWC[None], len(EVERY), axis=0)
    images[:, ~mask_HW] = 255 * EVERY[..., None].astype(np.uint8)
    return images


def chi_square(images, every, probabilities):
    """The statistic, which has 255 degrees of freedom, of images that must be among `every`."""
    index = {image.tobytes(): i for i, image in enumerate(every)}
    found = np.bincount([index[image.tobytes()] for image in images], minlength=len(every))
    expected = len(images) * probabilities / probabilities.sum()
    return np.sum((found - expected) ** 2 / expected)


@pytest.mark.parametrize(
    "mask, changes, method",
    [
        (TOP, {}, "exact"),
        slow(BOTTOM, PIXELS, "particles"),
        slow(BOTTOM, {"orders": 4}, "exact"),
        slow(LEFT, PIXELS | {"orders": 2, "input_window": True}, "exact"),
        slow(LEFT, PIXELS, "particles"),
        slow(SCATTERED, {}, "particles"),
    ],
)
def test_completions_follow_the_conditional_distribution(mask, changes, method, monkeypatch):
    monkeypatch.setattr(completion, "_AT_ONCE", 1 << 15)  # the model is tiny
    run = build(**changes)
    image = 255 * np.random.default_rng(3).integers(0, 2, SQUARE).astype(np.uint8)
    count = 10_000
    images = np.repeat(image[None], count, axis=0)
    found = run.complete(images, mask, seed=4, particles=32)
    assert found.method == method and (found.images_NHWC[:, mask] == image[mask]).all()
    every = completed(image, mask)
    order, _ = completion.find_order(mask, run.model.orders, run.model.token_height)
    if run.model.orders > 1:
        inputs = np.zeros((256, 0), np.float32), every
        nats_NO = run.apply("log_likelihood_by_order", *inputs)
        log_prob_N = nats_NO[:, order]
    else:
        log_prob_N = run.log_prob(every)
    assert chi_square(found.images_NHWC, every, np.exp(log_prob_N)) < 255 + 5 * np.sqrt(2 * 255)
    assert log_prob_N.std() > 0.5  # so that a sampler of another distribution would be noticed


def test_the_weight_of_a_particle_is_the_probability_of_what_is_given():
    """And a particle is never resampled alone. With everything given it is the likelihood."""
    for changes in ({}, {"likelihood__name": "softmax", "chain": 3, "orders": 2}):
        run = build(**changes)
        x_BHWC, keys, order_B = tiny.binary(SQUARE), tiny.keys(), jnp.zeros(3, jnp.int32)

        def weigh(model, x_BHWC, keys, order_B=order_B):
            known = model.known_tokens(x_BHWC, jnp.ones((3, 4, 4), bool), order_B)
            z_BZ, start = jnp.zeros((3, 0)), particles.start(3, 1)
            return model.sample_tokens(
                z_BZ, keys, None, known, order_B, particles=start, resample_key_N=keys
            )

        def expected(model, x_BHWC, order_B=order_B):
            ones = jnp.ones((3, 4, 4), bool)
            return log_prob_of_given(model, jnp.zeros((3, 0)), x_BHWC, ones, order_B)

        variables = {"params": run.params}
        _, found, state = apply(run.model, variables, x_BHWC, keys, method=weigh)
        np.testing.assert_array_equal(found, x_BHWC)
        log_prob_B = apply(run.model, variables, x_BHWC, method=expected)
        np.testing.assert_allclose(state.log_weight_NK[:, 0], log_prob_B, rtol=1e-4)


def test_an_image_of_which_nothing_is_given_is_a_sample():
    run = build(classes=3)
    images, label = np.zeros((5, *SQUARE), np.uint8), [0, 1, 2, 0, 1]
    found = run.complete(images, np.zeros((4, 4), bool), seed=2, label=label)
    assert found.method == "exact"
    assert np.array_equal(found.images_NHWC, run.sample(5, seed=2, label=label))
    assert run.complete(images[:0], TOP).images_NHWC.shape == (0, *SQUARE)


def test_every_image_has_its_own_mask_and_values_of_missing_pixels_do_not_matter():
    run = build(orders=2, **PIXELS)
    images = 255 * np.asarray(tiny.binary(SQUARE), np.uint8)
    masks = np.stack([TOP, LEFT, SCATTERED])
    found = run.complete(np.where(masks[..., None], images, 77), masks, particles=4)
    assert found.method == "particles"
    assert (found.images_NHWC[masks] == images[masks]).all()
    assert ((found.effective_N >= 1) & (found.effective_N <= 4)).all()


@pytest.mark.parametrize(
    "order, mask, found",
    [(1, TOP, (0, True)), (2, LEFT, (1, True)), (1, LEFT, (0, False)), (4, BOTTOM, (2, True))],
)
def test_the_order_is_that_in_which_the_given_part_comes_first(order, mask, found):
    for side in (1, 2):
        assert completion.find_order(mask, order, side) == found
    assert completion.find_order(~mask & mask, order, 1) == (0, True)


def test_a_token_of_which_a_part_is_given_needs_particles():
    mask = np.zeros((4, 4), bool)
    mask[0] = True
    assert completion.find_order(mask, 1, 1) == (0, True)
    assert completion.find_order(mask, 1, 2) == (0, False)


def test_a_latent_is_resampled_by_the_probability_of_the_given_part(monkeypatch):
    run = build(latent__name="gaussian")
    images, calls = np.zeros((3, *SQUARE), np.uint8), []
    latents_NKZ = run.sample_latents(3 * 4, seed=5).reshape(3, 4, 5)
    real, candidates = TrainedRun.apply, iter(range(4))

    def apply_with_fake_weights(self, method, *inputs, **options):
        if method is log_prob_of_given:  # candidate n is the one of image n
            return np.where(np.arange(3) == next(candidates), 0.0, -1e9)
        calls.append((method, inputs[0]))
        return real(self, method, *inputs, **options)

    monkeypatch.setattr(TrainedRun, "apply", apply_with_fake_weights)
    found = run.complete(images, TOP, seed=5, particles=4)
    assert found.method == "exact" and (found.effective_N == 1).sum() == 3
    assert np.array_equal(calls[-1][1][:, 0], latents_NKZ[np.arange(3), np.arange(3)])


@pytest.mark.slow
def test_particles_with_a_latent_follow_the_conditional_distribution(monkeypatch):
    monkeypatch.setattr(completion, "_AT_ONCE", 1 << 15)
    run = build(latent__name="gaussian", latent__size=2)
    image = np.full(SQUARE, 255, np.uint8)
    every = completed(image, SCATTERED)
    # The mean over latents of the prior.
    latents_KZ, x_NHWC = run.sample_latents(2000, seed=9), every / np.float32(255)
    log_prob = jax.jit(
        jax.vmap(
            lambda z_Z: run.model.apply(
                {"params": run.params}, jnp.tile(z_Z, (256, 1)), x_NHWC, method="log_likelihood"
            )
        )
    )
    log_prob_N = jax.nn.logsumexp(log_prob(latents_KZ), axis=0)
    found = run.complete(np.repeat(image[None], 10_000, axis=0), SCATTERED, 1, particles=64)
    assert chi_square(found.images_NHWC, every, np.exp(log_prob_N)) < 255 + 5 * np.sqrt(2 * 255)


def test_particles_are_resampled_in_proportion_to_their_weights():
    log_weight_NK = jnp.log(jnp.array([[0.7, 0.1, 0.1, 0.1], [0.25, 0.25, 0.25, 0.25]]))
    state, keys = particles.start(2, 4), tiny.keys(2)
    counts = np.zeros(8)
    for row in range(200):
        after, parent_B = particles.reweigh(state, log_weight_NK.ravel(), keys, jnp.int32(row))
        counts += np.bincount(parent_B, minlength=8)
    assert np.array_equal(counts[4:], [200] * 4)  # equal weights are left alone
    np.testing.assert_allclose(counts[:4] / 800, [0.7, 0.1, 0.1, 0.1], atol=0.02)
    np.testing.assert_allclose(after.effective_N, [1 / 0.52, 4], rtol=1e-5)
    np.testing.assert_allclose(after.log_weight_NK[0], 0)
    np.testing.assert_allclose(after.log_weight_NK[1], np.log(0.25), rtol=1e-5)


def test_paths_are_traced_back_through_their_parents():
    parent_RB = np.random.default_rng(0).integers(0, 5, (4, 5))
    found = particles.trace_back(jnp.asarray(parent_RB))
    for b in range(5):
        path, at = [], b
        for parent_B in parent_RB[::-1]:
            at = parent_B[at]
            path.insert(0, at)
        assert np.array_equal(found[:, b], path)


@pytest.mark.parametrize("name", ["bernoulli", "categorical", "softmax", "logistic_mixture"])
def test_what_is_drawn_beside_given_pixels_has_its_conditional_probability(name):
    kind = likelihood(name, channels=1)
    params_BHWP = tiny.random_like({"p": jnp.zeros((1, 1, 1, kind.parameters))})["p"]
    side = kind.block
    given_BHWC = jnp.zeros((1, side, side, 1), bool).at[0, 0, 0].set(True)
    x_BHWC, keys = jnp.ones((1, side, side, 1)), tiny.keys(4000)
    found, log_prob = jax.jit(jax.vmap(kind.sample_given, in_axes=(None, 0, None, None)))(
        params_BHWP, keys[:, None], x_BHWC, given_BHWC
    )
    assert (found[:, 0, 0, 0] == 1).all() and np.ptp(log_prob) < 1e-5
    drawn = jax.jit(jax.vmap(kind.sample, in_axes=(None, 0)))(params_BHWP, keys[:, None])
    has_it = np.asarray(drawn[:, 0, 0, 0] == 1).all(axis=-1)
    p = float(jnp.exp(log_prob[0, 0]))
    assert abs(has_it.mean() - p) < 5 * np.sqrt(p * (1 - p) / 4000) + 1e-9
    assert np.abs(found.mean(axis=0) - drawn[has_it].mean(axis=0)).max() < 0.1


@pytest.mark.parametrize("name", ["sequence", slow("mlp"), slow("draw")])
def test_other_models_complete_by_pseudo_gibbs_sampling(name, monkeypatch):
    monkeypatch.setattr(completion, "GIBBS_STEPS", 3)
    run = build(name)
    images = np.round(255 * np.asarray(tiny.images(SQUARE))).astype(np.uint8)
    if run.config.data.binarise != "none":
        images = 255 * (images > 127).astype(np.uint8)
    if not run.model.has_prior:
        run = run.with_mixture(np.tile(images, (10, 1, 1, 1)), components=1)
    found = run.complete(images, SCATTERED, seed=1)
    assert found.method == "pseudo-Gibbs" and np.isnan(found.effective_N).all()
    assert (found.images_NHWC[:, SCATTERED] == images[:, SCATTERED]).all()
    assert np.array_equal(found.images_NHWC, run.complete(images, SCATTERED, 1).images_NHWC)
    if run.model.latent.variational:  # else only the start is random, and is soon forgotten
        other = run.complete(images, SCATTERED, 2).images_NHWC
        assert not np.array_equal(found.images_NHWC, other)


@pytest.mark.parametrize("mask", [np.ones((4, 4)), np.ones((3, 4), bool), np.ones((2, 4, 4), bool)])
def test_a_mask_of_another_shape_or_type_is_refused(mask):
    with pytest.raises(ConfigError, match=r"the mask must be bool of shape \(4, 4\)"):
        build().complete(np.zeros((3, *SQUARE), np.uint8), mask)

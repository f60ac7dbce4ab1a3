"""Training on labels: what a conditional model learns, and what is reported of it."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rnnae import build, state
from rnnae.devices import parallel
from rnnae.evaluation import evaluate
from rnnae.training.step import drop_labels, make_train_step
from rnnae.types import Batch
from tests import tiny

SHAPE, STEPS, BATCH = (2, 2, 1), 400, 64
EVERY = np.array([*itertools.product((0, 255), repeat=4)], np.uint8).reshape(16, *SHAPE)
# The probability of a white pixel in each class. Pixels are independent given the class.
WHITE = np.array([[0.9, 0.6, 0.2, 0.1], [0.2, 0.1, 0.7, 0.9]])


def true_nll():
    """-log p(x | y) of every image and class, (16, 2)."""
    x = EVERY.reshape(16, 1, 4) / 255
    return -np.log(np.where(x == 1, WHITE[None], 1 - WHITE[None])).sum(axis=-1)


def data(count=20_000, seed=0):
    generator = np.random.default_rng(seed)
    label_N = generator.integers(0, 2, count).astype(np.int32)
    white = generator.random((count, 4)) < WHITE[label_N]
    return (255 * white).astype(np.uint8).reshape(count, *SHAPE), label_N


def configured(classes):
    return tiny.config(
        "sweep",
        SHAPE,
        classes=classes,
        width=8,
        patch=1,
        blocks=1,
        latent__name="none",
        likelihood__name="bernoulli",
        data__label_dropout=0.3,
        optim__learning_rate=0.02,
        optim__warmup_steps=10,
        eval__importance_samples=0,
        eval__batch_size=16,
    )


@functools.cache
def program(classes):
    config = configured(classes)
    model, (optimizer, rate) = build.build_model(config), build.build_optimizer(config, STEPS)
    step = make_train_step(config, optimizer, rate, jax.devices()[0])
    step = functools.partial(step, positions_B=jnp.arange(BATCH), average=lambda tree: tree)

    @jax.jit
    def trained(images, label_N):
        parts = (x[: STEPS * BATCH].reshape(STEPS, BATCH, *x.shape[1:]) for x in (images, label_N))
        start = state.create(model, optimizer, SHAPE, seed=0)
        return jax.lax.scan(step, start, Batch(*parts))[0].ema

    return model, trained


def fit(images, label_N, classes=2):
    """(model, parameters) after one pass over the images."""
    model, trained = program(classes)
    return model, trained(*(np.resize(x, (STEPS * BATCH, *x.shape[1:])) for x in (images, label_N)))


def measured(fitted, images, label_N, classes=2):
    model, params = fitted
    evaluator = evaluate.Evaluator(model, parallel.choose_devices(1), configured(classes))
    return evaluator(params, images, label_N, full=True).means


@pytest.fixture(scope="module")
def known():
    return fit(*data())


def test_every_conditional_probability_is_learned(known):
    model, params = known
    for label in range(2):
        terms = tiny.apply(
            model, {"params": params}, EVERY / 255.0, tiny.keys(16), jnp.full(16, label)
        )
        probabilities = np.exp(np.asarray(terms.log_prob_B))
        assert probabilities.sum() == pytest.approx(1, abs=1e-5)
        np.testing.assert_allclose(probabilities, np.exp(-true_nll()[:, label]), atol=0.03)
    unlabelled = tiny.apply(model, {"params": params}, EVERY / 255.0, tiny.keys(16))
    mixture = np.exp(-true_nll()).mean(axis=1)
    np.testing.assert_allclose(np.exp(np.asarray(unlabelled.log_prob_B)), mixture, atol=0.03)


def test_reported_numbers_are_those_of_the_true_distribution(known):
    images, label_N = data(2000, seed=1)
    found = measured(known, images, label_N)
    index = (images.reshape(-1, 4) // 255) @ [8, 4, 2, 1]
    given = true_nll()[index]
    rule = np.mean(given.argmin(axis=1) == label_N)
    assert found["bayes_accuracy_static"] == pytest.approx(rule, abs=0.01)
    own = given[np.arange(2000), label_N].mean()
    assert found["nll_given_class_static"] == pytest.approx(own, abs=0.03)
    alone = -np.log(np.exp(-given).mean(axis=1)).mean()
    assert found["nll_static"] == pytest.approx(alone, abs=0.03)
    assert found["nll_unlabelled_static"] == pytest.approx(alone, abs=0.03)
    assert found["bayes_accuracy_static_se"] == pytest.approx(
        np.sqrt(rule * (1 - rule) / 2000), 0.1
    )


def test_shuffled_labels_gain_nothing():
    images, label_N = data()
    shuffled = np.random.default_rng(2).permutation(label_N)
    held_out, own = data(2000, seed=1)
    found = measured(fit(images, shuffled), held_out, np.random.default_rng(3).permutation(own))
    gain = found["nll_unlabelled_static"] - found["nll_given_class_static"]
    assert abs(gain) < 0.02
    assert found["bayes_accuracy_static"] == pytest.approx(0.5, abs=0.05)


@pytest.mark.slow
def test_a_constant_label_equals_no_label():
    images, label_N = data()
    held_out, own = data(2000, seed=1)
    same = measured(fit(images, 0 * label_N), held_out, 0 * own)
    none = measured(fit(images, label_N, classes=0), held_out, None, classes=0)
    error = none["nll_static_se"]
    assert same["nll_given_class_static"] == pytest.approx(none["nll_static"], abs=error)
    assert not any("class" in name or "unlabelled" in name for name in none)


def test_labels_are_dropped_by_the_example_and_the_step():
    label_B = jnp.full(10_000, 1)

    def dropped(seed, fraction):
        key_B = jax.random.split(jax.random.key(seed), 10_000)
        return np.asarray(drop_labels(label_B, key_B, fraction) == -1)

    assert dropped(0, 0.3).mean() == pytest.approx(0.3, abs=0.02)
    assert (dropped(0, 0.3) != dropped(1, 0.3)).any()
    assert not dropped(0, 0.0).any() and dropped(0, 1.0).all()


def test_names_of_a_conditional_model_with_a_latent():
    model, params = tiny.build(classes=3, latent__name="gaussian", likelihood__name="bernoulli")
    settings = tiny.config(eval__importance_samples=2, eval__seeds=(0, 1), eval__batch_size=3)
    settings.eval.mutual_information_images = 0
    images = np.random.default_rng(0).integers(0, 2, (5, *tiny.SHAPE)).astype(np.uint8) * 255
    label_N = np.array([0, 1, 2, 0, 1], np.int32)
    run = evaluate.Evaluator(model, parallel.choose_devices(1), settings)
    named = run(params["params"], images, label_N, full=True).means
    kinds = ("bound_given_class_static", "nll_given_class_static_is2", "nll_static_is2")
    kinds += ("nll_unlabelled_static_is2", "bayes_accuracy_static_is2")
    for kind in kinds:
        assert {kind, f"{kind}_se", f"{kind}_seed0", f"{kind}_seed1"} <= named.keys()
    quick = run(params["params"], images, label_N).means
    assert "bound_given_class_static" in quick and not any("accuracy" in name for name in quick)

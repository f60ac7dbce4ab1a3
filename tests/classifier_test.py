"""The recurrent classifier: log p(label | x), shifted images, its features, and what it refuses."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rnnae.errors import ConfigError
from rnnae.evaluation.features import Features
from rnnae.models.classifier import shifted
from rnnae.records.weights import Weights
from tests import tiny


@pytest.fixture(scope="module")
def classifier():
    return tiny.build("classifier")


def test_probabilities_of_the_classes_sum_to_one(classifier):
    model, variables = classifier
    x_BHWC = tiny.images()
    log_prob = [
        tiny.apply(model, variables, x_BHWC, jnp.full(3, label), method="log_prob")
        for label in range(3)
    ]
    np.testing.assert_allclose(np.exp(log_prob).sum(axis=0), 1, rtol=1e-5)
    logits_BY = tiny.apply(model, variables, x_BHWC, method="logits")
    assert (np.argmax(log_prob, axis=0) == np.argmax(logits_BY, axis=1)).all()


def test_an_image_without_a_label_has_no_gradient(classifier):
    model, variables = classifier

    @jax.jit
    def gradients(label_B):
        def loss(variables):
            return -model.apply(variables, tiny.images(), tiny.keys(), label_B).log_prob_B.sum()

        return jax.tree.leaves(jax.grad(loss)(variables))

    assert not any(x.any() for x in gradients(jnp.full(3, -1)))
    assert all(x.any() for x in gradients(jnp.array([-1, 2, 0])))


def test_both_ends_of_the_image_are_seen_in_both_directions(classifier):
    model, variables = classifier
    x_BHWC = tiny.images()
    features = tiny.apply(model, variables, x_BHWC, method="encode_features")
    assert features.shape == (3, 8)
    for row in (0, -1):
        changed = x_BHWC.at[:, row].set(1 - x_BHWC[:, row])
        moved = tiny.apply(model, variables, changed, method="encode_features")
        assert (np.abs(moved - features).max(axis=1) > 1e-3).all()


def test_a_shifted_image_is_one_of_the_translations_of_the_image():
    x_BHWC = jnp.broadcast_to(tiny.images(batch=1), (500, *tiny.SHAPE))
    found = np.asarray(shifted(x_BHWC, tiny.keys(500), 1))
    padded = np.pad(np.asarray(x_BHWC[0]), ((1, 1), (1, 1), (0, 0)))
    height, width, _ = tiny.SHAPE
    translations = {
        padded[y : y + height, x : x + width].tobytes(): 0 for y in range(3) for x in range(3)
    }
    for image in found:
        translations[image.tobytes()] += 1  # KeyError for any other image
    assert min(translations.values()) > 500 / 9 / 2
    assert shifted(x_BHWC, None, 0) is x_BHWC


def test_training_terms_are_of_shifted_images_and_evaluation_is_not(classifier):
    model, variables = classifier
    x_BHWC, label_B = tiny.images(), jnp.array([0, 1, 2])
    plain = tiny.apply(model, variables, x_BHWC, label_B, method="log_prob")
    moved = shifted(x_BHWC, tiny.keys(), model.options.shift)
    expected = tiny.apply(model, variables, moved, label_B, method="log_prob")
    terms = tiny.apply(model, variables, x_BHWC, tiny.keys(), label_B)
    np.testing.assert_allclose(terms.log_prob_B, expected, rtol=1e-5)
    assert np.abs(terms.log_prob_B - plain).max() > 1e-3
    assert not terms.kl_BTZ.size and not terms.log_ratio_B.any()


def test_features_depend_neither_on_the_batch_nor_on_the_devices(classifier):
    model, variables = classifier
    weights = Weights(model, variables["params"], None, 0)
    images = np.random.default_rng(0).integers(0, 256, (600, *tiny.SHAPE)).astype(np.uint8)
    one, two = Features("tiny", weights, most=1), Features("tiny", weights, most=2)
    whole_ND = one(images)
    assert whole_ND.shape == (600, 8)
    np.testing.assert_allclose(two(images), whole_ND, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(one(images[-5:]), whole_ND[-5:], rtol=1e-5, atol=1e-6)
    assert (one.predict(images) == two.predict(images)).all()


def test_a_classifier_needs_classes_and_no_latent():
    with pytest.raises(ConfigError, match="config.model.classes"):
        tiny.build("classifier", classes=0)
    with pytest.raises(ConfigError, match="config.latent.name=none"):
        tiny.build("classifier", latent__name="gaussian")

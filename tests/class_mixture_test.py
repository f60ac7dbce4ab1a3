"""A mixture for each class, and the class that a user asks for."""

import numpy as np
import pytest

from rnnae.errors import ConfigError
from rnnae.evaluation import classes
from rnnae.evaluation.mixture import Mixture
from rnnae.evaluation.trained_run import TrainedRun
from tests import tiny

CENTRES = np.array([[0.0, 0.0], [10.0, 0.0], [0.0, 10.0]])
LABELS = np.repeat([0, 1, 2, -1], [60, 100, 40, 10]).astype(np.int32)
LATENTS = (
    np.random.default_rng(0).normal(size=(len(LABELS), 2)) + np.r_[CENTRES, [[5, 5]]][LABELS]
).astype(np.float32)
NAMES = ("cat", "dog", "7")


@pytest.fixture(scope="module")
def mixture():
    return Mixture.fit_classes(LATENTS, LABELS, components=6, seed=0)


def nearest(latents):
    return np.argmin(((latents[:, None] - CENTRES[None]) ** 2).sum(axis=-1), axis=1)


def test_a_class_has_its_share_of_the_components_and_of_the_weight(mixture):
    assert np.bincount(mixture.label_M).tolist() == [2, 2, 2]
    weights = [mixture.weights_M[mixture.label_M == label].sum() for label in range(3)]
    np.testing.assert_allclose(weights, [0.3, 0.5, 0.2])


def test_a_class_with_a_single_latent_is_that_latent():
    latents_NZ, label_N = LATENTS[:61], LABELS[:61]  # 60 of the first class, one of the second
    mixture = Mixture.fit_classes(latents_NZ, label_N, components=4, seed=0)
    drawn_NZ = mixture.sample(20, seed=1, label_N=np.ones(20, np.int32))
    np.testing.assert_allclose(drawn_NZ, np.tile(LATENTS[60], (20, 1)), rtol=1e-5)


def test_latents_are_of_the_class_that_was_asked_for(mixture):
    asked = np.resize(np.array([2, 0, 1], np.int32), 300)
    assert (nearest(mixture.sample(300, seed=1, label_N=asked)) == asked).all()
    any_class = nearest(mixture.sample(4000, seed=1, label_N=np.full(4000, -1, np.int32)))
    np.testing.assert_allclose(np.bincount(any_class) / 4000, [0.3, 0.5, 0.2], atol=0.03)


def test_components_of_a_class_are_drawn_by_their_weights(mixture):
    asked = np.zeros(4000, np.int32)
    chosen = mixture._components_of(asked, np.random.default_rng(0).random(4000))
    own = mixture.weights_M[:2] / mixture.weights_M[:2].sum()
    np.testing.assert_allclose(np.bincount(chosen) / 4000, own, atol=0.03)


def test_a_lower_temperature_keeps_latents_nearer_to_their_means(mixture):
    asked = np.ones(500, np.int32)
    wide, narrow, none = (mixture.sample(500, 3, asked, t) for t in (1.0, 0.5, 0.0))
    np.testing.assert_allclose(narrow, (wide + none) / 2, atol=1e-5)
    assert len(np.unique(none, axis=0)) == 2  # the means of its two components


def test_without_a_class_the_draws_are_those_of_a_mixture_without_classes(mixture):
    plain = Mixture(mixture.weights_M, mixture.means_MZ, mixture.factors_MZZ)
    assert (mixture.sample(50, 4) == plain.sample(50, 4)).all()


def test_classes_are_saved_and_loaded(mixture, tmp_path):
    mixture.save(tmp_path / "m.npz", step=3, weights="w")
    loaded = Mixture.load(tmp_path / "m.npz", 3, "w")
    assert (loaded.label_M == mixture.label_M).all()
    damaged = Mixture(mixture.weights_M, mixture.means_MZ, mixture.factors_MZZ, np.zeros(2))
    damaged.save(tmp_path / "m.npz", step=3, weights="w")
    assert Mixture.load(tmp_path / "m.npz", 3, "w") is None


@pytest.mark.parametrize("text, label", [("cat", 0), ("1", 1), ("7", 2), ("2", 2)])
def test_a_class_is_found_by_its_name_or_its_number(text, label):
    assert classes.parse(text, NAMES) == label


@pytest.mark.parametrize(
    "text, names, message",
    [
        ("bird", NAMES, "there is no class 'bird': the classes are 0 cat, 1 dog, 2 7"),
        ("-1", NAMES, "no class '-1'"),
        ("10", tuple(map(str, range(10))), "no class '10': the classes are 0 to 9"),
        ("0", (), "the images of this run have no classes"),
    ],
)
def test_another_class_is_one_line_with_the_classes(text, names, message):
    with pytest.raises(ConfigError, match=message):
        classes.parse(text, names)


def test_labels_are_one_for_all_or_one_for_each():
    assert classes.as_array(None, 3, NAMES) is None
    assert classes.as_array(2, 3, NAMES).tolist() == [2, 2, 2]
    assert classes.as_array([0, -1, 1], 3, NAMES).tolist() == [0, -1, 1]
    for label in (3, -2, [0, 1], 1.0, "cat", [[0], [1], [2]]):
        with pytest.raises(ConfigError):
            classes.as_array(label, 3, NAMES)


def images(count):
    return np.random.default_rng(0).integers(0, 256, (count, *tiny.SHAPE)).astype(np.uint8)


@pytest.fixture(scope="module", params=["deterministic", "gaussian"])
def run(request):
    """A run with a mixture for each of two classes, whose model is told none."""
    latent = {"latent__name": request.param}
    config = tiny.config("mlp", data__class_names=("a", "b"), **latent)
    model, variables = tiny.build("mlp", **latent)
    run = TrainedRun(model, variables["params"], config, step=0)
    return run.with_mixture(images(20), 2, np.array([0, 1] * 10, np.int32))


def test_new_images_are_of_the_mixture_of_their_class_also_beside_a_prior(run):
    expected = run.class_mixture.sample(3, 4, np.ones(3, np.int32))
    np.testing.assert_array_equal(run.sample_latents(3, 4, label=1), expected)
    np.testing.assert_array_equal(run.sample(3, 4, label=1), run.decode(expected, 4))


def test_a_label_that_the_model_cannot_be_told_is_refused_and_not_dropped(run):
    latents_NZ, mask = run.sample_latents(2, label=1), np.zeros(tiny.SHAPE[:2], bool)
    calls = [
        lambda: run.encode(images(2), label=1),
        lambda: run.decode(latents_NZ, label=1),
        lambda: run.reconstruct(images(2), label=[0, 1]),
        lambda: run.complete(images(2), mask, label=1),
    ]
    if run.model.has_prior:
        calls.append(lambda: run.log_prob(images(2), label=1))
    for call in calls:
        with pytest.raises(ConfigError, match="is told no class .*: leave out the label"):
            call()

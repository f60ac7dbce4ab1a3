"""Transformed training images, and a model that is told how they were transformed."""

import jax.numpy as jnp
import numpy as np
import pytest

from rnnae.data.augmentation import AUGMENTATIONS, Augmentation, sample_parameters, transform
from rnnae.errors import ConfigError
from rnnae.records.writer import read_metrics
from rnnae.training.train import train
from tests import runs, tiny
from tests.end_to_end_test import assert_resumes
from tests.tiny import apply

SHIFT, AFFINE = AUGMENTATIONS["shift"], AUGMENTATIONS["affine"]
DYNAMIC = {"data__augment": "affine", "data__binarise": "dynamic"}


@pytest.mark.parametrize("augmentation", [SHIFT, AFFINE], ids=["shift", "affine"])
def test_an_image_with_all_parameters_zero_is_unchanged(augmentation):
    x_BHWC = tiny.images((7, 6, 3))
    zero_BA = jnp.zeros((3, augmentation.parameters))
    np.testing.assert_array_equal(transform(augmentation, x_BHWC, zero_BA), x_BHWC)


def test_shifts_move_whole_pixels_down_and_to_the_right():
    x_BHWC = tiny.images((7, 6, 1))
    moved = transform(SHIFT, x_BHWC, jnp.asarray([[0.5, -1.0]] * 3))
    np.testing.assert_array_equal(moved[:, 1:, :4], x_BHWC[:, :-1, 2:])
    assert not moved[:, 0].any() and not moved[:, :, 4:].any()


def test_turns_scales_and_shears():
    """A cross of two bars: a quarter turn swaps them, and a larger one is longer."""
    x_HW = jnp.zeros((9, 9)).at[3:6, 4].set(0.6).at[4, 1:8].set(1.0)
    x_BHWC = x_HW[None, :, :, None]

    def transformed(most):
        every = jnp.ones((1, 5))
        return np.asarray(transform(Augmentation(most), x_BHWC, every))[0, :, :, 0]

    turned = transformed((0, 0, np.pi / 2, 0, 0))
    np.testing.assert_allclose(turned, np.rot90(x_HW), atol=1e-2)
    larger = transformed((0, 0, 0, np.log(1.5), 0))
    assert larger.sum() == pytest.approx(1.5**2 * float(x_HW.sum()), rel=0.25)
    sheared = transformed((0, 0, 0, 0, 1.0))
    assert sheared[4, 1:8].tolist() == [1.0] * 7
    np.testing.assert_allclose([sheared[3, 3], sheared[5, 5]], 0.6, atol=1e-2)


@pytest.mark.parametrize("augmentation", [SHIFT, AFFINE], ids=["shift", "affine"])
def test_a_fraction_of_the_images_is_transformed(augmentation):
    keys = tiny.keys(2000)
    parameters_BA = np.asarray(sample_parameters(augmentation, keys, 0.4))
    assert parameters_BA.shape == (2000, augmentation.parameters)
    assert np.abs(parameters_BA).max() <= 1 and parameters_BA.min() < -0.9
    changed = parameters_BA.any(axis=1).mean()
    # One of the 25 shifts is the one by nothing.
    assert changed == pytest.approx(0.4 * (24 / 25 if augmentation is SHIFT else 1), abs=0.04)
    assert abs(parameters_BA.mean()) < 0.05
    again = sample_parameters(augmentation, keys[7:9], 0.4)
    np.testing.assert_array_equal(again, parameters_BA[7:9])  # of the key of the image only


@pytest.mark.slow
def test_evaluation_asks_for_images_as_they_are():
    model, params = tiny.build("sweep", (4, 4, 1), orders=2, classes=3, **DYNAMIC)
    x_BHWC, keys, label_B = tiny.binary((4, 4, 1)), tiny.keys(), jnp.asarray([0, 1, 2])
    zero_BA = jnp.zeros((3, 5))

    def in_training(told_BA):
        return np.asarray(apply(model, params, x_BHWC, keys, label_B, told_BA).log_prob_B)

    as_it_is = in_training(zero_BA)
    np.testing.assert_array_equal(as_it_is, in_training(None))
    assert (np.abs(as_it_is - in_training(zero_BA.at[:, 2].set(1.0))) > 1e-3).all()
    posterior = apply(model, params, x_BHWC, method="posterior")
    z_BZ = apply(model, params, posterior, keys, method="sample_posterior")
    by_order_BO = apply(model, params, z_BZ, x_BHWC, label_B, method="log_likelihood_by_order")
    nearest_B = np.abs(by_order_BO - as_it_is[:, None]).min(axis=1)
    np.testing.assert_allclose(nearest_B, 0, atol=1e-4)


def test_affine_transformations_of_binary_images_need_dynamic_binarisation():
    with pytest.raises(ConfigError, match="config.data.binarise=dynamic"):
        tiny.build("sweep", data__augment="affine")
    tiny.build("sweep", data__augment="shift")
    with pytest.raises(ConfigError, match="only config.model.name=sweep can train with"):
        tiny.build("mlp", data__augment="shift")
    with pytest.raises(ConfigError, match="none, shift, affine"):
        tiny.build("mlp", data__augment="shifts")


@pytest.mark.exhaustive
def test_a_run_in_two_orders_resumes_bit_for_bit_and_equals_two_devices(tmp_path, monkeypatch):
    changes = {
        **DYNAMIC,
        "eval__splits": ("train", "test"),
        "latent__name": "none",
        "likelihood__name": "categorical",
        "model__blocks": 1,
        "model__orders": 2,
    }
    config = runs.config(tmp_path, "sweep", **changes)
    metrics = assert_resumes(config, tmp_path, monkeypatch, 7)[1]
    train(runs.config(tmp_path, "sweep", devices=2, **changes), tmp_path / "two")
    last = [read_metrics(tmp_path / name)[-1] for name in ("unbroken", "two")]
    assert "test/nll_order1_dynamic" in metrics and "train/nll_dynamic" in last[0]
    assert last[1] == pytest.approx(last[0], rel=1e-3)
    assert (tmp_path / "two" / "pictures" / "orders.png").exists()

import jax
import jax.numpy as jnp
import numpy as np

from rnnae.data import binarisation


def test_protocol_of_grey_and_binary_images():
    grey = np.full((3, 2, 2, 1), 200, np.uint8)
    assert binarisation.protocol(grey, "dynamic") == "dynamic"
    assert binarisation.protocol(grey, "none") == "8bit"
    binary = np.where(grey > 3, np.uint8(255), np.uint8(0))
    assert binarisation.protocol(binary, "none") == "static"
    assert binarisation.protocol(binary, "dynamic") == "static"
    one_grey_image = np.concatenate([np.tile(binary, (400, 1, 1, 1)), grey])
    assert binarisation.protocol(one_grey_image, "none") == "8bit"


def test_the_dynamic_protocol_evaluates_one_fixed_binarisation():
    x = np.random.default_rng(0).integers(0, 256, (50, 8, 8, 1)).astype(np.uint8)
    once = binarisation.evaluation_images(x, "dynamic", 3)
    assert set(np.unique(once)) == {0, 255}
    assert np.array_equal(once, binarisation.evaluation_images(x, "dynamic", 3))
    assert not np.array_equal(once, binarisation.evaluation_images(x, "dynamic", 4))
    assert binarisation.evaluation_images(x, "none", 3) is x
    assert abs(once.mean() - x.mean()) < 5
    assert np.array_equal(once, binarisation.binarise_once(x, 3))


def test_to_unit_gives_intensities():
    x = binarisation.to_unit(np.array([0, 51, 255], np.uint8))
    assert x.dtype == jnp.float32
    np.testing.assert_allclose(x, [0.0, 0.2, 1.0], rtol=1e-6)


def test_binarise_is_bernoulli_and_depends_on_each_examples_key_alone():
    x_BHWC = jnp.broadcast_to(
        jnp.asarray([0.0, 0.25, 0.9, 1.0])[:, None, None, None], (4, 99, 99, 1)
    )
    key_B = jax.random.split(jax.random.key(0), 4)
    b_BHWC = binarisation.binarise(x_BHWC, key_B)
    assert b_BHWC.dtype == jnp.float32 and set(np.unique(b_BHWC)) == {0.0, 1.0}
    means = b_BHWC.mean((1, 2, 3))
    np.testing.assert_allclose(means, [0, 0.25, 0.9, 1], atol=0.015)
    assert means[0] == 0 and means[3] == 1
    np.testing.assert_array_equal(binarisation.binarise(x_BHWC[2:], key_B[2:]), b_BHWC[2:])


def test_binarise_once_is_bernoulli_and_fixed_by_the_seed():
    images = np.broadcast_to(np.arange(256, dtype=np.uint8)[:, None, None, None], (256, 64, 64, 1))
    once = binarisation.binarise_once(images, 0)
    assert once.dtype == np.uint8 and set(np.unique(once)) == {0, 255}
    assert (once[0] == 0).all() and (once[255] == 255).all()
    np.testing.assert_allclose(once.mean((1, 2, 3)), np.arange(256), atol=255 * 0.5 / 64 * 4.5)
    np.testing.assert_array_equal(once, binarisation.binarise_once(images, 0))
    assert (once != binarisation.binarise_once(images, 1)).any()
    assert (once[128].reshape(-1)[:16] > 0).astype(int).tolist() == [
        # fmt: off
        0,
        1,
        1,
        1,
        1,
        1,
        1,
        1,
        1,
        0,
        1,
        0,
        1,
        0,
        1,
        1,
        # fmt: on
    ]

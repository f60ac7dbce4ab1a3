"""Every likelihood is normalised, finite, differentiable, and sampled by its probabilities."""

import dataclasses
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from rnnae.config import default
from rnnae.errors import ConfigError
from rnnae.likelihoods import LIKELIHOODS, Categorical, LogisticMixture, likelihood
from tests import tiny

OPTIONS = {k: v for k, v in default().likelihood.items() if k != "name"}
DISCRETE = [name for name in LIKELIHOODS if likelihood(name, 1).discrete]
DENSITIES = [name for name in LIKELIHOODS if name not in DISCRETE]


def params(pixels, shape=(2, 4, 4), batch=2, seed=0, scale=2.0):
    height, width = shape[1] // pixels.block, shape[2] // pixels.block
    size = (batch, height, width, pixels.parameters)
    return scale * jax.random.normal(jax.random.key(seed), size)


def all_images(height, width, channels, levels):
    """All possible images, (levels ** values, H, W, C)."""
    values = np.array(list(itertools.product(range(levels), repeat=height * width * channels)))
    return (values / (levels - 1)).reshape(-1, height, width, channels).astype(np.float32)


def log_prob_of_all(pixels, one_BHWP, images):
    tiled = jnp.broadcast_to(one_BHWP, (len(images), *one_BHWP.shape[1:]))
    return np.asarray(jax.jit(pixels.log_prob)(tiled, images), np.float64)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", LIKELIHOODS)
def test_mean_and_sample_are_images(name, channels):
    pixels = likelihood(name, channels)
    drawn = jax.jit(pixels.sample)(params(pixels), tiny.keys(2))
    mean = jax.jit(pixels.mean)(params(pixels))
    assert drawn.shape == mean.shape == (2, 4, 4, channels)
    assert float(mean.min()) >= 0 and float(mean.max()) <= 1
    if pixels.discrete:
        levels = 1 if pixels.binary else 255
        np.testing.assert_allclose(drawn * levels, np.round(drawn * levels), atol=1e-4)
        assert float(drawn.min()) >= 0 and float(drawn.max()) <= 1


@pytest.mark.parametrize(
    "pixels, size",
    [
        (likelihood("bernoulli", 1), (2, 3, 1)),
        (likelihood("bernoulli", 2), (2, 2, 2)),
        (Categorical(1, block=1), (2, 3, 1)),
        (Categorical(1, block=2), (2, 4, 1)),
        (Categorical(2, block=2), (2, 2, 2)),
        (Categorical(1, block=3), (3, 3, 1)),
        (LogisticMixture(1, components=5), (1, 1, 1)),
        (LogisticMixture(1, components=3, levels=4), (2, 2, 1)),
        (LogisticMixture(2, components=3, levels=6), (1, 1, 2)),
        (LogisticMixture(3, components=4, levels=8), (1, 1, 3)),
    ],
    ids=str,
)
def test_sums_to_one_over_every_image(pixels, size):
    levels = 2 if pixels.binary else pixels.levels
    images = all_images(*size, levels)
    for seed, scale in ((0, 1.0), (1, 4.0)):
        one = params(pixels, (0, size[0], size[1]), batch=1, seed=seed, scale=scale)
        total = np.exp(log_prob_of_all(pixels, one, images)).sum()
        assert total == pytest.approx(1, rel=2e-5)


@pytest.mark.parametrize("spread", [0.05, 0.5**0.5])
@pytest.mark.parametrize("name", DENSITIES)
def test_a_density_integrates_to_one_and_is_sampled_from(name, spread):
    (option,) = {field.name for field in dataclasses.fields(LIKELIHOODS[name])} & {*OPTIONS}
    pixels = likelihood(name, 1, **{option: spread})
    one = jnp.full((1, 1, 1, 1), 0.3)
    x = np.linspace(-9, 10, 200_001, dtype=np.float32).reshape(-1, 1, 1, 1)
    density = np.exp(log_prob_of_all(pixels, one, x)) * 19 / 200_000
    assert density.sum() == pytest.approx(1, rel=1e-4)
    samples = jax.jit(pixels.sample)(jnp.broadcast_to(one, (20_000, 1, 1, 1)), tiny.keys(20_000))
    below = np.interp(np.asarray(samples).ravel(), x.ravel(), np.cumsum(density))
    assert stats.kstest(below, "uniform").pvalue > 1e-4


@pytest.mark.parametrize("name", LIKELIHOODS)
def test_every_option_is_a_key_of_the_config_with_the_same_default(name):
    fields = {field.name: field.default for field in dataclasses.fields(LIKELIHOODS[name])}
    for key, value in fields.items():
        if key not in ("channels", "levels"):  # of the images
            assert OPTIONS[key] == value


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", ["softmax", "logistic_mixture"])
def test_fourier_features_tell_neighbouring_levels_apart(name, channels):
    levels = np.arange(256)[:, None].repeat(channels, 1)
    x_BHWC = jnp.asarray(levels.reshape(16, 16, 1, channels) / 255, jnp.float32)
    plain, waves = (likelihood(name, channels, frequencies=n) for n in (0, 8))
    inputs = np.asarray(waves.to_inputs(x_BHWC)).reshape(256, -1)
    assert inputs.shape[1] == plain.to_inputs(x_BHWC).shape[-1] + 16 * channels
    np.testing.assert_allclose(waves.from_inputs(waves.to_inputs(x_BHWC)), x_BHWC, atol=1e-6)
    middle = inputs[2:250]  # beyond, the edges of the softmax are told apart anyway
    assert np.linalg.norm(np.diff(middle, axis=0), axis=1).min() > 1


def test_gaussian_is_the_squared_error_and_its_constant():
    pixels = likelihood("gaussian", 1)
    p = params(pixels)
    x = tiny.images((4, 4, 1), batch=2)
    squared = ((np.asarray(x) - 1 / (1 + np.exp(-np.asarray(p)))) ** 2).sum(axis=(1, 2, 3))
    expected = -squared - 16 * np.log(np.pi) / 2
    np.testing.assert_allclose(pixels.log_prob(p, x), expected, rtol=1e-5)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", LIKELIHOODS)
def test_extreme_pixels_and_parameters_have_finite_values_and_gradients(name, channels):
    pixels = likelihood(name, channels)
    side = pixels.block
    levels = (0.0, 1.0) if pixels.binary else (0.0, 1 / 255, 128 / 255, 1.0)

    @jax.jit
    def both(p, x):
        return jax.value_and_grad(lambda p: pixels.log_prob(p, x).sum())(p)

    for extreme, pixel in itertools.product((1.0, 40.0, 1e4), levels):
        x = jnp.full((1, side, side, channels), pixel)
        for sign in (-1, 1, 0):
            p = jnp.full((1, 1, 1, pixels.parameters), extreme * (sign or 1))
            if not sign:  # alternating signs
                p = p.at[..., ::2].multiply(-1)
            value, gradient = both(p, x)
            assert np.isfinite(value), (extreme, pixel, sign)
            assert np.isfinite(gradient).all(), (extreme, pixel, sign)


@pytest.mark.parametrize(
    "pixels, size",
    [
        (likelihood("bernoulli", 1), (1, 3, 1)),
        (Categorical(1, block=2), (2, 2, 1)),
        (Categorical(2, block=1), (1, 1, 2)),
        (LogisticMixture(1, components=3, levels=12), (1, 1, 1)),
        (LogisticMixture(3, components=2, levels=3), (1, 1, 3)),
    ],
    ids=str,
)
def test_samples_follow_log_prob(pixels, size):
    """A chi-square test over all images, 60,000 samples; one false alarm in about 10,000 tests."""
    from scipy.stats import chi2

    count, levels = 60_000, 2 if pixels.binary else pixels.levels
    images = all_images(*size, levels)
    one = params(pixels, (0, size[0], size[1]), batch=1, seed=3, scale=1.0)
    expected = count * np.exp(log_prob_of_all(pixels, one, images))
    tiled = jnp.broadcast_to(one, (count, *one.shape[1:]))
    drawn = np.asarray(jax.jit(pixels.sample)(tiled, tiny.keys(count, seed=5)))
    digits = np.round(drawn.reshape(count, -1) * (levels - 1)).astype(int)
    index = digits @ levels ** np.arange(digits.shape[1])[::-1]
    observed = np.bincount(index, minlength=len(images))
    rare = expected < 10
    o = np.append(observed[~rare], observed[rare].sum())
    e = np.append(expected[~rare], expected[rare].sum())
    statistic = ((o - e)[e > 0] ** 2 / e[e > 0]).sum()
    assert statistic < chi2.ppf(1 - 1e-4, len(o) - 1)


@pytest.mark.parametrize("name", LIKELIHOODS)
def test_the_mean_is_the_mean_of_samples(name):
    pixels = likelihood(name, 1)
    one = params(pixels, (0, 2, 2), batch=1, scale=0.7)
    tiled = jnp.broadcast_to(one, (20_000, *one.shape[1:]))
    drawn = jax.jit(pixels.sample)(tiled, tiny.keys(20_000))
    error = np.abs(drawn.mean(axis=0) - jax.jit(pixels.mean)(one)[0]) / (
        drawn.std(axis=0) / 20_000**0.5
    )
    assert error.max() < 4.5


def test_the_mean_of_colour_images_is_the_mean_of_samples():
    """With narrow components inside the range, so that nothing is clipped. The coefficients make
    green and blue depend on the channels before them."""
    pixels = LogisticMixture(3, components=2)
    one = params(pixels, (0, 2, 2), batch=1, scale=0.3).at[..., 8:14].set(-3.0)  # log scales
    one = one.at[..., 14:].set(1.0)  # coefficients
    drawn = jax.jit(pixels.sample)(
        jnp.broadcast_to(one, (20_000, *one.shape[1:])), tiny.keys(20_000)
    )
    difference = drawn.mean(axis=0) - jax.jit(pixels.mean)(one)[0]
    assert np.abs(difference / (drawn.std(axis=0) / 20_000**0.5)).max() < 4.5


def test_a_channel_of_the_mixture_depends_on_earlier_channels():
    """Red changes the gradient by the means of green and blue. Blue changes neither."""
    pixels = LogisticMixture(3, components=1)
    p = params(pixels, (0, 1, 1), batch=1)
    x = jnp.full((1, 1, 1, 3), 100 / 255)

    @jax.jit
    def gradient(x):
        return jax.grad(lambda p: pixels.log_prob(p, x)[0])(p)

    def gradient_of(channel, x):
        mean_slots = slice(1, 4)  # after the one logit
        return gradient(x)[0, 0, 0, mean_slots][channel]

    red, blue = x.at[..., 0].add(0.2), x.at[..., 2].add(0.2)
    assert gradient_of(2, red) != gradient_of(2, x)
    assert gradient_of(0, blue) == gradient_of(0, x)
    assert gradient_of(1, blue) == gradient_of(1, x)


@pytest.mark.parametrize("channels", [1, 3])
def test_an_image_added_to_the_location_of_a_narrow_mixture_is_its_mean(channels):
    pixels = likelihood("logistic_mixture", channels, components=3)
    x_BHWC = tiny.images((4, 6, channels)) * 0.8 + 0.1
    narrow = jnp.zeros((3, 4, 6, pixels.parameters)).at[..., 3 * (1 + channels) :].set(-6.0)
    narrow = narrow.at[..., 3 * (1 + 2 * channels) :].set(0.0)
    np.testing.assert_allclose(pixels.mean(pixels.add_location(narrow, x_BHWC)), x_BHWC, atol=1e-3)


@pytest.mark.parametrize(
    "pixels, size", [(likelihood("bernoulli", 2), (1, 2, 2)), (Categorical(1, block=2), (2, 4, 1))]
)
def test_a_tempered_distribution_of_logits_is_a_normalised_power(pixels, size):
    images = all_images(*size, 2)
    one = params(pixels, (0, *size[:2]), batch=1)
    power = log_prob_of_all(pixels, one, images) / 0.4
    found = log_prob_of_all(pixels, pixels.temper(one, 0.4), images)
    np.testing.assert_allclose(found, power - np.logaddexp.reduce(power), rtol=1e-4, atol=1e-4)


def test_a_tempered_mixture_has_narrower_components_and_sharper_weights():
    """Exactly, over all levels of one pixel: two narrow components far from each other."""
    pixels, weights = LogisticMixture(1, components=2), np.array([0.3, 0.7])
    one = jnp.array([*np.log(weights), -0.5, 0.5, -3.5, -3.5], jnp.float32).reshape(1, 1, 1, 6)
    levels = all_images(1, 1, 1, 256)

    def weight_and_variance(params_BHWP):
        p, x = np.exp(log_prob_of_all(pixels, params_BHWP, levels)), levels.ravel()
        dark = p[x < 0.5] / p[x < 0.5].sum()
        x = x[x < 0.5]
        return p[: len(x)].sum(), dark @ x**2 - (dark @ x) ** 2

    (weight, variance), (tempered, narrower) = map(
        weight_and_variance, (one, pixels.temper(one, 0.5))
    )
    assert weight == pytest.approx(0.3, rel=1e-3)
    assert tempered == pytest.approx(0.3**2 / (0.3**2 + 0.7**2), rel=1e-3)
    assert narrower == pytest.approx(variance / 4, rel=0.03)
    flat = one.at[..., 4:].set(20.0)  # beyond the limit of the scales, which is 7
    expected = one.at[..., :2].divide(0.5).at[..., 4:].set(7 + np.log(0.5))
    np.testing.assert_allclose(
        log_prob_of_all(pixels, pixels.temper(flat, 0.5), levels),
        log_prob_of_all(pixels, expected, levels),
        rtol=1e-5,
    )


@pytest.mark.parametrize("name", LIKELIHOODS)
def test_an_example_depends_on_its_own_key_and_parameters(name):
    pixels = likelihood(name, 1)
    p = params(pixels, batch=3)
    sample = jax.jit(pixels.sample)
    drawn, single = sample(p, tiny.keys(3)), sample(p[1:2], tiny.keys(3)[1:2])
    np.testing.assert_allclose(drawn[1:2], single, rtol=1e-6)


def test_unknown_likelihood_lists_the_choices():
    with pytest.raises(ConfigError, match=f"{', '.join(LIKELIHOODS)}.*did you mean 'bernoulli'"):
        likelihood("bernouli", 1)
    with pytest.raises(ConfigError, match="block must be 1, 2 or 3"):
        likelihood("categorical", 1, block=5)


def test_an_option_that_the_likelihood_does_not_have_is_refused():
    with pytest.raises(ConfigError, match="block=3 has no .*bernoulli.*: none; leave it at 2"):
        likelihood("bernoulli", 1, block=3)
    with pytest.raises(ConfigError, match="components=5 .*gaussian, whose options are: sigma"):
        likelihood("gaussian", 1, sigma=0.1, components=5)
    with pytest.raises(ConfigError, match="likelihood.sgima=0.1 has no effect"):
        likelihood("gaussian", 1, sgima=0.1)
    assert likelihood("bernoulli", 1, **OPTIONS) == likelihood("bernoulli", 1)

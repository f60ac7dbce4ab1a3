"""The KL, log ratio and samples of every latent agree with each other and with plain formulas."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from rnnae.config import default
from rnnae.errors import ConfigError
from rnnae.latents import LATENTS, STANDARD_NORMAL, Normal, latent, normal_noise
from tests import tiny
from tests.tiny import apply

SIZE, FEATURES = 6, 7
VARIATIONAL = [name for name, kind in LATENTS.items() if kind.variational]
INFERRED = [(name, "diagonal") for name in VARIATIONAL]
INFERRED += [(name, "autoregressive") for name in VARIATIONAL if name != "vamp"]


def test_a_latent_without_dimensions_has_no_kl():
    module, params, _, (posterior, z_BZ, (kl_BTZ, log_ratio_B)) = setup("none")
    assert z_BZ.shape == (4, 0) and not kl_BTZ.any() and not log_ratio_B.any()
    assert module.size == 0 and not jax.tree.leaves(params)
    prior = apply(
        module,
        params,
        tiny.keys(4),
        method=lambda module, keys: module.sample_prior(keys, encode_features),
    )
    assert prior.shape == (4, 0)


def encode_features(x_BHWC):
    """An encoder for VampPrior's learned images."""
    return jnp.tanh(x_BHWC.reshape(x_BHWC.shape[0], -1)[:, :FEATURES] * 3 - 1)


def kl_and_log_ratio(latent, posterior, z_BZ):
    return latent.kl_and_log_ratio(posterior, z_BZ, encode_features)


def options_of(name, posterior_family="diagonal"):
    """Small values of the options that the latent has, defaults for the others."""
    options = default().latent.to_dict() | {"size": SIZE, "posterior": posterior_family}
    del options["name"]
    if name in ("mixture", "vamp"):
        options["components"] = 5
    if "autoregressive" in (name, posterior_family):
        options |= {"chunk": 2, "width": 3}
    return options


def setup(name, batch=4, posterior_family="diagonal"):
    module = latent(name, (4, 4, 1), **options_of(name, posterior_family))
    features_BD = jax.random.normal(jax.random.key(1), (batch, FEATURES))

    def everything(latent, features_BD):
        posterior = latent.posterior(features_BD)
        z_BZ = latent.sample_posterior(posterior, tiny.keys(batch))
        return posterior, z_BZ, latent.kl_and_log_ratio(posterior, z_BZ, encode_features)

    shapes = jax.eval_shape(
        functools.partial(module.init, method=everything), jax.random.key(0), features_BD
    )
    params = tiny.random_like(shapes)
    return module, params, features_BD, apply(module, params, features_BD, method=everything)


def log_prior(module, params, z_BZ):
    """log p(z) from `kl_and_log_ratio`, with the standard normal as the posterior."""
    zero = Normal(jnp.zeros_like(z_BZ), jnp.zeros_like(z_BZ))
    _, log_ratio_B = apply(module, params, zero, z_BZ, method=kl_and_log_ratio)
    return log_ratio_B + jnp.sum(STANDARD_NORMAL.log_prob(z_BZ), axis=-1)


def test_normal_against_scipy():
    normal = Normal(jnp.array([0.3, -1.0]), jnp.array([0.2, -0.7]))
    scale = np.exp(normal.log_scale)
    z = jnp.array([1.0, 0.4])
    np.testing.assert_allclose(normal.log_prob(z), stats.norm.logpdf(z, normal.mean, scale), 1e-5)
    prior = Normal(jnp.array([0.1, 0.5]), jnp.array([-0.3, 0.4]))
    grid = np.linspace(-12, 12, 200_001)
    for i in range(2):
        q = stats.norm(float(normal.mean[i]), float(scale[i]))
        p = stats.norm(float(prior.mean[i]), float(np.exp(prior.log_scale[i])))
        integral = np.trapezoid(q.pdf(grid) * (q.logpdf(grid) - p.logpdf(grid)), grid)
        assert float(normal.kl(prior)[i]) == pytest.approx(integral, rel=1e-4)


def test_the_kl_to_the_standard_normal_equals_the_formula_of_the_paper():
    """Kingma & Welling (2014), appendix B: -1/2 sum (1 + log s^2 - m^2 - s^2)."""
    module, params, features_BD, (posterior, _, (kl_BTZ, _)) = setup("gaussian")
    variance = np.exp(2 * np.asarray(posterior.log_scale))
    expected = -0.5 * (1 + np.log(variance) - np.asarray(posterior.mean) ** 2 - variance)
    np.testing.assert_allclose(kl_BTZ[:, 0], expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    "name, posterior_family",
    [(name, q) for name, q in INFERRED if name in ("gaussian", "autoregressive")],
)
def test_a_kl_in_closed_form_is_the_mean_of_the_sampled_log_ratio(name, posterior_family):
    module, params, features_BD, _ = setup(name, 1, posterior_family)
    count = 20_000
    tiled_BD = jnp.broadcast_to(features_BD, (count, FEATURES))

    def terms(latent, features_BD):
        posterior = latent.posterior(features_BD)
        return latent.kl_and_log_ratio(
            posterior, latent.sample_posterior(posterior, tiny.keys(count)), encode_features
        )

    kl_BTZ, log_ratio_B = apply(module, params, tiled_BD, method=terms)
    kl_B = np.asarray(jnp.sum(kl_BTZ, axis=(1, 2)))
    error = (-log_ratio_B - kl_B).std() / count**0.5 + 1e-4
    assert abs(float(np.mean(-log_ratio_B - kl_B))) < 4.5 * error
    assert kl_B.mean() > 0


@pytest.mark.parametrize("name", VARIATIONAL)
def test_samples_of_the_prior_follow_its_density(name):
    """The mean of q / p over samples of p is 1 for any density q, here a fitted Gaussian."""
    module, params, *_ = setup(name)
    count = 40_000
    z_BZ = apply(
        module,
        params,
        tiny.keys(count),
        method=lambda module, keys: module.sample_prior(keys, encode_features),
    )
    q = stats.multivariate_normal(np.mean(z_BZ, axis=0), 0.3 * np.cov(np.asarray(z_BZ).T))
    ratio = np.exp(q.logpdf(np.asarray(z_BZ)) - np.asarray(log_prior(module, params, z_BZ)))
    assert abs(ratio.mean() - 1) < 4.5 * ratio.std() / count**0.5
    assert ratio.std() / count**0.5 < 0.1  # otherwise the line above tests nothing


@pytest.mark.parametrize("name", VARIATIONAL)
def test_a_temperature_scales_the_noise_of_the_prior(name):
    """The component of a mixture is chosen as before. A chunk of an autoregressive prior also
    depends on the chunks before it, so only its first one is linear in the temperature."""
    module, params, *_ = setup(name)

    def samples(module):
        return [
            module.sample_prior(tiny.keys(20), encode_features, *temperature)
            for temperature in ((), (1.0,), (0.5,), (1e-9,))
        ]

    default, whole, half, mean = apply(module, params, method=samples)
    np.testing.assert_array_equal(default, whole)
    linear = slice(0, module.chunk if name == "autoregressive" else SIZE)
    expected = (mean + whole)[:, linear] / 2
    np.testing.assert_allclose(half[:, linear], expected, rtol=1e-4, atol=1e-5)
    count = module.components if "components" in module.options else 1
    assert len(np.unique(np.round(mean, 4), axis=0)) <= count < len(np.unique(whole, axis=0))


@pytest.mark.parametrize("name", VARIATIONAL)
def test_the_posterior_is_normalised_and_its_samples_follow_it(name):
    module, params, features_BD, (posterior, z_BZ, _) = setup(name)
    expected = stats.norm.logpdf(z_BZ, posterior.mean, np.exp(posterior.log_scale)).sum(axis=-1)
    found = apply(module, params, posterior, z_BZ, method="log_posterior")
    np.testing.assert_allclose(found, expected, rtol=1e-4)
    noise = normal_noise(tiny.keys(4), SIZE)
    np.testing.assert_allclose(z_BZ, posterior.reparameterize(noise), rtol=1e-5)


def given(latent, posterior, z_BZ):
    return latent.conditional_posterior(posterior, z_BZ)


def test_samples_of_the_autoregressive_posterior_have_its_density():
    module, params, _, (posterior, z_BZ, _) = setup("gaussian", 4, "autoregressive")
    q = apply(module, params, posterior, z_BZ, method=given)
    np.testing.assert_allclose(
        z_BZ, q.reparameterize(normal_noise(tiny.keys(4), SIZE)), rtol=1e-4, atol=1e-5
    )
    expected = stats.norm.logpdf(z_BZ, q.mean, np.exp(q.log_scale)).sum(axis=-1)
    found = apply(module, params, posterior, z_BZ, method="log_posterior")
    np.testing.assert_allclose(found, expected, rtol=1e-4)
    mean_BZ = apply(module, params, posterior, method="mean")
    at_mean = apply(module, params, posterior, mean_BZ, method=given)
    np.testing.assert_allclose(mean_BZ, at_mean.mean, rtol=1e-4, atol=1e-5)


def test_the_autoregressive_posterior_of_a_chunk_depends_on_earlier_chunks_only():
    module, params, _, (posterior, z_BZ, _) = setup("gaussian", 4, "autoregressive")

    def parameters(z_BZ):
        return np.stack(apply(module, params, posterior, z_BZ, method=given))

    moved = np.abs(parameters(z_BZ.at[:, 2:4].add(1.0)) - parameters(z_BZ)).max(axis=(0, 1)) > 1e-6
    assert moved.tolist() == [False] * 4 + [True] * 2


@pytest.mark.parametrize("name", ["vamp", "deterministic"])
def test_a_combination_that_does_not_exist_is_refused(name):
    with pytest.raises(ConfigError, match=f"{name} needs config.latent.posterior=diagonal"):
        setup(name, 4, "autoregressive")
    with pytest.raises(ConfigError, match="config.latent.posterior must be one of diagonal"):
        setup(name, 4, "diagnoal")


def test_the_autoregressive_prior_of_a_chunk_depends_on_earlier_chunks_only():
    module, params, features_BD, (posterior, z_BZ, _) = setup("autoregressive")

    def kl(z_BZ):
        return apply(module, params, posterior, z_BZ, method=kl_and_log_ratio)[0]

    moved = np.abs(kl(z_BZ.at[:, 2:4].add(1.0)) - kl(z_BZ)).max(axis=(0, 2)) > 1e-6
    assert moved.tolist() == [False, False, True]


def test_mixture_prior_against_a_loop():
    module, params, _, (posterior, z_BZ, _) = setup("mixture")
    p = params["params"]
    weights = np.exp(p["logits"]) / np.exp(p["logits"]).sum()
    parts = [
        w * stats.norm.pdf(z_BZ, mean, np.exp(log_scale)).prod(axis=-1)
        for w, mean, log_scale in zip(weights, p["means"], p["log_scales"], strict=True)
    ]
    np.testing.assert_allclose(log_prior(module, params, z_BZ), np.log(sum(parts)), rtol=1e-3)


def test_vamp_prior_against_a_loop():
    module, params, _, (_, z_BZ, _) = setup("vamp")
    parts = []
    for image in params["params"]["pseudo_inputs"]:
        features_BD = encode_features(jax.nn.sigmoid(image)[None])
        q = apply(module, params, features_BD, method=lambda module, x_BD: module.posterior(x_BD))
        parts.append(stats.norm.pdf(z_BZ, q.mean, np.exp(q.log_scale)).prod(axis=-1))
    expected = np.log(np.mean(parts, axis=0))
    np.testing.assert_allclose(log_prior(module, params, z_BZ), expected, rtol=1e-3)


def test_a_deterministic_latent_has_no_kl():
    _, _, _, (posterior, z_BZ, (kl_BTZ, log_ratio_B)) = setup("deterministic")
    assert kl_BTZ.sum() == 0 and not log_ratio_B.any()
    np.testing.assert_array_equal(z_BZ, posterior.mean)


@pytest.mark.parametrize("name", LATENTS)
def test_extreme_features_are_finite(name):
    module, params, features_BD, _ = setup(name)

    def total(features_BD):
        def both(latent, features_BD):
            posterior = latent.posterior(features_BD)
            return latent.kl_and_log_ratio(
                posterior, latent.sample_posterior(posterior, tiny.keys(4)), encode_features
            )

        kl_BTZ, log_ratio_B = apply(module, params, features_BD, method=both)
        return jnp.sum(kl_BTZ) + jnp.sum(log_ratio_B)

    value, gradient = jax.value_and_grad(total)(1e3 * features_BD)
    assert np.isfinite(value) and np.isfinite(gradient).all()


@pytest.mark.parametrize(
    "name, option, own",
    [
        ("gaussian", {"components": 7}, "size"),
        ("gaussian", {"chunk": 2}, "size"),
        ("mixture", {"width": 3}, "size, components"),
        ("autoregressive", {"components": 7}, "size, chunk, width"),
        ("gaussian", {"breadth": 1}, "size"),
    ],
)
def test_an_option_that_the_latent_does_not_have_is_refused(name, option, own):
    (key,) = option
    with pytest.raises(ConfigError, match=f"latent.{key}=.*no effect.*{name}.* are: {own}"):
        latent(name, (4, 4, 1), **options_of(name) | option)
    latent("none", (4, 4, 1), **options_of("none") | {"components": 7, "size": 3})


def test_one_flag_switches_the_latent_of_any_config_off():
    other = latent("none", (4, 4, 1), **options_of("none") | {"posterior": "autoregressive"})
    assert other == latent("none", (4, 4, 1), **options_of("none")) and other.size == 0

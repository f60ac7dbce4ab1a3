"""Reported numbers against a model whose likelihood is known, and their names."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from rnnae.devices import parallel
from rnnae.errors import ConfigError
from rnnae.evaluation import evaluate, per_image
from rnnae.evaluation.metrics import IMAGE_METRICS, SPLIT_METRICS, format_metrics
from rnnae.latents import Normal, StandardNormalPrior, normal_noise
from rnnae.likelihoods import likelihood
from rnnae.models import Autoencoder
from tests import tiny

SHAPE, SIZE, SIGMA = (2, 3, 1), 2, 0.4
LOADINGS = 0.5 * np.random.default_rng(0).normal(size=(6, SIZE)).astype(np.float32)
MEAN = np.full(6, 0.5, np.float32)
IMAGES = np.random.default_rng(1).integers(0, 256, (37, *SHAPE)).astype(np.uint8)


class Identity(type(likelihood("gaussian", 1))):
    """A Gaussian whose mean is the parameter itself."""

    def mean(self, params_BHWP):
        return params_BHWP


class LinearGaussian(Autoencoder):
    """x = W z + 0.5 + sigma noise. The scale of the posterior is `wider` times the true one."""

    wider: float = 1.3

    def posterior(self, x_BHWC):
        precision = np.eye(SIZE) + LOADINGS.T @ LOADINGS / SIGMA**2
        covariance = np.linalg.inv(precision)
        centred = x_BHWC.reshape(x_BHWC.shape[0], -1) - MEAN[None]
        mean_BZ = centred @ jnp.asarray(LOADINGS @ covariance / SIGMA**2, jnp.float32)
        # This covariance is diagonal, and the true one is not. So the posterior is wrong twice.
        log_scale = jnp.asarray(np.log(self.wider * np.sqrt(np.diag(covariance))), jnp.float32)
        return Normal(mean_BZ, jnp.broadcast_to(log_scale, mean_BZ.shape))

    def decode_teacher_forced(self, z_BZ, x_BHWC, label_B=None):
        return (z_BZ @ jnp.asarray(LOADINGS.T) + MEAN[None]).reshape(-1, *SHAPE)


def linear_gaussian():
    latent = StandardNormalPrior(
        size=SIZE, components=1, chunk=1, width=1, posterior_family="diagonal"
    )
    return LinearGaussian(SHAPE, Identity(1, sigma=SIGMA), latent, None)


def true_log_prob():
    """log p(x) of every image: x ~ N(0.5, W W' + sigma^2)."""
    covariance = LOADINGS @ LOADINGS.T + SIGMA**2 * np.eye(6)
    return stats.multivariate_normal(MEAN, covariance).logpdf(IMAGES.reshape(37, 6) / 255)


def evaluator(model, devices=1, microbatch=0, **changes):
    changes = {"importance_samples": 3, "mutual_information_images": 0, "batch_size": 8} | changes
    settings = tiny.config(**{f"eval__{key}": value for key, value in changes.items()})
    settings.cpu_microbatch = microbatch
    return evaluate.Evaluator(model, parallel.choose_devices(devices), settings)


def scores(samples, seed=0):
    evaluate_split = evaluator(linear_gaussian(), batch_size=16, mutual_information_images=0)
    return evaluate_split.scores({}, IMAGES, seed=seed, samples=samples).per_image


def test_the_estimate_rises_to_the_true_likelihood_from_below():
    exact = -true_log_prob()
    bound = scores(0)
    draws = [scores(0, seed)["loss"] for seed in range(20)]
    estimates = {k: scores(k)["nll"] for k in (1, 8, 64, 2000)}
    means = {k: v.mean() for k, v in estimates.items()}
    # L_1 is the bound with a sample of the ratio instead of its expectation.
    spread = np.std([d.mean() for d in draws])
    assert means[1] == pytest.approx(np.mean(draws), abs=6 * max(spread, 0.02) + 0.1)
    assert means[1] > means[8] > means[64] > means[2000] - 0.005
    noise = 4 * (estimates[2000] - exact).std() / math.sqrt(37)
    assert means[2000] == pytest.approx(exact.mean(), abs=noise + 0.002)
    assert means[2000] > exact.mean() - noise - 0.002
    assert bound["loss"].mean() > exact.mean()


def test_every_image_approaches_its_own_likelihood():
    np.testing.assert_allclose(scores(2000)["nll"], -true_log_prob(), atol=0.15)


@pytest.mark.parametrize(
    "devices, size, microbatch", [(1, 5, 0), (1, 37, 0), (2, 64, 0), (2, 12, 4)]
)
def test_batch_size_devices_and_parts_change_no_result(devices, size, microbatch):
    model, params = tiny.build(latent__name="gaussian", likelihood__name="bernoulli")
    images = np.random.default_rng(0).integers(0, 2, (11, *tiny.SHAPE)).astype(np.uint8) * 255
    first, other = (
        evaluator(model, d, m, batch_size=s, importance_samples=10, mutual_information_images=11)(
            params["params"], images, full=True
        ).means
        for d, m, s in ((1, 0, 11), (devices, microbatch, size))
    )
    assert other == pytest.approx(first, rel=1e-5)
    assert "nll_static_is10" in first and "mutual_information" in first


def test_mutual_information_against_every_pair():
    """log q(z_i | x_i) - log of the mean over j of q(z_i | x_j), z_i drawn."""
    model = linear_gaussian()
    made = evaluator(model, mutual_information_images=7)
    found = made.scores({}, IMAGES, seed=3).split_metrics["mutual_information"]
    q = model.apply({}, IMAGES[:7] / np.float32(255), method="posterior")
    z_SZ = np.asarray(
        q.reparameterize(normal_noise(per_image.example_keys(3, jnp.arange(7)), SIZE))
    )
    log_q = stats.norm.logpdf(z_SZ[:, None], q.mean[None], np.exp(q.log_scale)[None]).sum(axis=-1)
    expected = np.mean(np.diag(log_q) - np.log(np.exp(log_q).mean(axis=1)))
    assert found == pytest.approx(expected, rel=1e-4)


def test_names_include_the_protocol_and_every_seed():
    model, params = tiny.build(latent__name="gaussian", likelihood__name="bernoulli")
    grey = np.random.default_rng(0).integers(0, 256, (8, *tiny.SHAPE)).astype(np.uint8)
    settings = tiny.config(
        eval__seeds=(3, 4),
        eval__importance_samples=2,
        eval__mutual_information_images=0,
        eval__batch_size=8,
        data__binarise="dynamic",
    )
    run = evaluate.Evaluator(model, parallel.choose_devices(1), settings)
    named = run(params["params"], grey, full=True).means
    both = [named[f"nll_dynamic_is2_seed{seed}"] for seed in (3, 4)]
    assert named["nll_dynamic_is2"] == pytest.approx(np.mean(both))
    assert both[0] != both[1]
    assert named["bound_dynamic_se"] > 0
    assert not any("bits" in name or "8bit" in name for name in named)
    unweighted = run(params["params"], grey).means
    assert unweighted["bound_dynamic"] == pytest.approx(named["bound_dynamic_seed3"], rel=1e-6)
    assert not any(name.startswith("nll") for name in unweighted)


def test_bits_per_dim_of_8_bit_images():
    model, params = tiny.build(latent__name="gaussian", likelihood__name="logistic_mixture")
    grey = np.random.default_rng(0).integers(0, 256, (8, *tiny.SHAPE)).astype(np.uint8)
    named = evaluator(model, importance_samples=3)(params["params"], grey, full=True).means
    expected = named["nll_8bit_is3"] / 24 / math.log(2)
    assert named["bits_per_dim_8bit_is3"] == pytest.approx(expected)


def test_one_image_has_no_standard_error():
    model, params = tiny.build(latent__name="gaussian", likelihood__name="logistic_mixture")
    grey = np.full((1, *tiny.SHAPE), 100, np.uint8)
    named = evaluator(model, importance_samples=2)(params["params"], grey, full=True).means
    assert "bits_per_dim_8bit_is2" in named and not any(name.endswith("_se") for name in named)
    assert "KL" in format_metrics(named)


def test_a_deterministic_latent_has_no_bound():
    model, params = tiny.build()
    grey = np.random.default_rng(0).integers(0, 256, (8, *tiny.SHAPE)).astype(np.uint8)
    named = evaluator(model)(params["params"], grey, full=True).means
    assert set(named) == {"loss", "reconstruction", "kl", *IMAGE_METRICS}
    x = grey / np.float32(255)
    z_BZ = tiny.apply(model, params, jnp.asarray(x), method="encode")
    decoded = tiny.apply(model, params, z_BZ, tiny.keys(8), method="decode_mean")
    assert named["mse"] == pytest.approx(float(np.mean((x - decoded) ** 2)), rel=1e-4)
    expected = 24 * named["mse"] + 12 * np.log(np.pi)
    assert named["loss"] == pytest.approx(expected, rel=1e-5)


def test_a_model_without_a_latent_has_an_exact_likelihood():
    model, params = tiny.build("sweep", latent__name="none")
    images = np.random.default_rng(0).integers(0, 2, (8, *tiny.SHAPE)).astype(np.uint8) * 255
    named = evaluator(model)(params["params"], images, full=True).means
    terms = tiny.apply(model, params, images / np.float32(255), tiny.keys(8))
    assert named["nll_static"] == pytest.approx(-float(terms.log_prob_B.mean()), rel=1e-5)
    expected = float(terms.log_prob_B.std(ddof=1)) / 8**0.5
    assert named["nll_static_se"] == pytest.approx(expected, rel=1e-4)
    assert not {"mse", "active_units", "bound_static"} & set(named)
    assert format_metrics(named).startswith("nll_static ") and "KL" not in format_metrics(named)


def test_active_units_are_the_dimensions_that_vary():
    model, params = tiny.build(latent__name="gaussian", likelihood__name="bernoulli")
    head = params["params"]["latent"]["head"]
    head["kernel"] = head["kernel"].at[:, 1].set(0.0)
    images = np.random.default_rng(0).integers(0, 2, (60, *tiny.SHAPE)).astype(np.uint8) * 255
    named = evaluator(model, mutual_information_images=60)(params["params"], images).means
    assert named["active_units"] == 4
    assert 0 < named["mutual_information"] <= math.log(60)


@pytest.mark.parametrize("name", SPLIT_METRICS)
def test_a_metric_of_a_split_is_reported_and_printed(name):
    model, params = tiny.build(latent__name="gaussian", likelihood__name="bernoulli")
    images = np.random.default_rng(0).integers(0, 2, (9, *tiny.SHAPE)).astype(np.uint8) * 255
    named = evaluator(model, mutual_information_images=9)(params["params"], images).means
    assert math.isfinite(named[name])
    assert name.replace("_", " ") in format_metrics(named)


def test_the_kl_of_every_step_adds_up():
    model, params = tiny.build("draw", steps=4)
    images = np.random.default_rng(0).integers(0, 2, (9, *tiny.SHAPE)).astype(np.uint8) * 255
    means, kl_T, _ = evaluator(model)(params["params"], images)
    assert kl_T.shape == (4,) and (kl_T > 0).all()
    assert kl_T.sum() == pytest.approx(means["kl"], rel=1e-5)


def test_a_binary_likelihood_of_grey_images_is_refused():
    model, _ = tiny.build(likelihood__name="bernoulli")
    grey = np.full((3, *tiny.SHAPE), 100, np.uint8)
    with pytest.raises(ConfigError, match="these are grey: set config.data.binarise=dynamic"):
        evaluate.check_protocol(model, grey, "none")
    evaluate.check_protocol(model, grey, "dynamic")
    evaluate.check_protocol(model, np.where(grey > 1, 255, 0).astype(np.uint8), "none")


def test_signals_are_checked_every_few_importance_samples(monkeypatch):
    """A signal need not wait for the whole batch."""
    model, params = tiny.build(latent__name="gaussian", likelihood__name="bernoulli")
    images = np.zeros((4, *tiny.SHAPE), np.uint8)
    calls = []
    monkeypatch.setattr(evaluate.signals, "check", calls.append)
    evaluator(model, importance_samples=80, batch_size=4)(params["params"], images, full=True)
    assert len(calls) >= 10


def test_the_key_of_an_image_depends_on_its_position_only():
    ours = per_image.example_keys(jnp.int32(3), jnp.arange(5))
    again = per_image.example_keys(jnp.int32(3), jnp.arange(2, 5))
    assert jax.random.key_data(ours[2:]).tolist() == jax.random.key_data(again).tolist()

"""What holds for every line of `SAMPLE_METRICS`: names, directions and refused input."""

import numpy as np
import pytest

from rnnae.errors import ConfigError, NonFiniteError
from rnnae.evaluation import sample_metrics as metrics
from tests.sample_metrics_test import NEIGHBOURS, normal


def test_accuracy_of_asked_classes():
    asked_N = np.arange(100) % 10
    predicted_N = np.where(np.arange(100) < 90, asked_N, asked_N + 1)
    value, error = metrics.class_accuracy(predicted_N, asked_N)
    assert value == 0.9 and error == pytest.approx((0.9 * 0.1 / 99) ** 0.5)
    assert metrics.class_accuracy(asked_N, asked_N) == (1, 0)
    with pytest.raises(ConfigError, match="at least 2 images, not 1: draw more"):
        metrics.class_accuracy(asked_N[:1], asked_N[:1])
    with pytest.raises(ValueError, match=r"\(100,\) and \(9,\)"):
        metrics.class_accuracy(asked_N, asked_N[:9])


@pytest.mark.parametrize(
    "count, name", [(10_000, "10k"), (1000, "1k"), (512, "512"), (12_500, "12500")]
)
def test_names_include_the_features_and_the_number_of_images(count, name):
    assert metrics.metric_name("frechet", "rows64", count) == f"frechet_rows64_{name}"


def test_reported_names():
    names = list(metrics.measure(normal(100), normal(50, seed=1), "rows64"))
    assert names[:3] == ["frechet_rows64_50", "kid_rows64_50", "kid_rows64_50_se"]
    assert {name.split("_")[0] for name in names} == set(metrics.SAMPLE_METRICS)


@pytest.mark.parametrize("name", metrics.SAMPLE_METRICS)
def test_a_metric_prefers_samples_of_the_real_distribution(name):
    """In the direction that it declares, over samples far from the real ones."""
    metric = metrics.SAMPLE_METRICS[name]
    good, bad = (
        np.atleast_1d(metric.function(normal(400), normal(400, seed=1) + shift))[0]
        for shift in (0, 5)
    )
    assert np.isfinite([good, bad]).all()
    assert {"lower": good < bad, "higher": good > bad}[metric.better]


@pytest.mark.parametrize("name", metrics.SAMPLE_METRICS)
def test_bad_input_is_refused(name):
    function, good_ND = metrics.SAMPLE_METRICS[name].function, normal(30)
    for pair in ((good_ND, good_ND[:1]), (good_ND[:1], good_ND), (good_ND, good_ND[:0])):
        with pytest.raises(ConfigError, match=r"needs at least \d \w+ images, not \d: use more"):
            function(*pair)
    for value in (np.nan, np.inf):
        damaged_ND = good_ND.copy()
        damaged_ND[3, 1] = value
        for pair in ((good_ND, damaged_ND), (damaged_ND, good_ND)):
            with pytest.raises(NonFiniteError, match="infinite or NaN"):
                function(*pair)
    with pytest.raises(ValueError, match="not 4 and 3"):
        function(good_ND, good_ND[:, :3])
    with pytest.raises(ValueError, match=r"must be \(N, D\), not \(30,\)"):
        function(good_ND, good_ND[:, 0])


@pytest.mark.parametrize("name", NEIGHBOURS)
def test_k_neighbours_need_more_than_k_images(name):
    few_ND = normal(4)
    assert np.isfinite(NEIGHBOURS[name](few_ND, few_ND, k=3))
    with pytest.raises(ConfigError, match="at least 5 real images, not 4"):
        NEIGHBOURS[name](few_ND, few_ND, k=4)


def test_the_error_of_kid_needs_two_blocks():
    assert np.isfinite(metrics.kid(normal(4), normal(4, seed=1))).all()
    with pytest.raises(ConfigError, match="kernel distance needs at least 4 new images, not 3"):
        metrics.kid(normal(4), normal(3))

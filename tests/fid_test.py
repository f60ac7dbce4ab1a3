"""The metrics of `sample_metrics` against torch-fidelity, and the FID that it computes.

Most of this needs the extra `bench` and is skipped without it. torch-fidelity gets Inception
weights that are random: the published ones are a download.
"""

import sys

import numpy as np
import pytest

from rnnae.errors import ConfigError
from rnnae.evaluation import sample_metrics as metrics
from rnnae.evaluation.fid import torch_fidelity_frechet

# What torch and torchvision warn about themselves.
pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(scope="module")
def fidelity():
    return pytest.importorskip("torch_fidelity", reason="needs the extra `bench`")


@pytest.fixture(scope="module")
def features():
    """Real and new features, (1500, 64), not negative, as those behind a ReLU."""
    generator = np.random.default_rng(0)
    mix_DD = generator.normal(size=(64, 64)) / 8
    real_ND, new_ND = (generator.normal(size=(1500, 64)) @ mix_DD for _ in range(2))
    return np.maximum(real_ND, 0), np.maximum(1.05 * new_ND + 0.1, 0)


def test_frechet_agrees_with_torch_fidelity(fidelity, features):
    import torch
    from torch_fidelity import metric_fid

    statistics = [metric_fid.fid_features_to_statistics(torch.from_numpy(f)) for f in features]
    theirs = metric_fid.fid_statistics_to_metric(*statistics, verbose=False)
    expected = theirs["frechet_inception_distance"]
    assert metrics.frechet(*features) == pytest.approx(expected, rel=1e-9)


def test_kid_agrees_with_torch_fidelity(fidelity, features):
    """The estimate of one block; their blocks overlap and are drawn by other random numbers."""
    import torch
    from torch_fidelity import metric_kid

    def theirs(subsets, size):
        found = metric_kid.kid_features_to_metric(
            *map(torch.from_numpy, features),
            kid_subsets=subsets,
            kid_subset_size=size,
            verbose=False,
        )
        return found["kernel_inception_distance_mean"]

    assert metrics._mmd(*features) == pytest.approx(theirs(1, 1500), rel=1e-9)
    value, error = metrics.kid(*features)
    assert abs(value - theirs(100, 1000)) < 3 * error


@pytest.mark.parametrize("save_cpu_ram", [False, True])
def test_precision_and_recall_agree_with_torch_fidelity(fidelity, features, save_cpu_ram):
    import torch
    from torch_fidelity import metric_prc

    real_ND, new_ND = map(torch.from_numpy, features)
    theirs = metric_prc.prc_features_to_metric(
        new_ND, real_ND, save_cpu_ram=save_cpu_ram, verbose=False
    )
    assert 0.1 < theirs["precision"] < theirs["recall"] - 0.05 < 0.95  # not exchanged
    assert metrics.precision(*features) == pytest.approx(theirs["precision"], abs=1e-6)
    assert metrics.recall(*features) == pytest.approx(theirs["recall"], abs=1e-6)


@pytest.fixture(scope="module")
def inception(fidelity):
    from torch_fidelity import feature_extractor_inceptionv3

    class Random(feature_extractor_inceptionv3.FeatureExtractorInceptionV3):
        def load_state_dict(self, weights):
            """Keeps the weights that the layers were initialised with."""

    import torch

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch, "load", lambda *arguments, **options: None)
        torch.manual_seed(0)
        return Random("random", ["2048"], feature_extractor_weights_path="none")


def images(count, seed, channels=3):
    shape = (count, 16, 16, channels)
    return np.random.default_rng(seed).integers(0, 256, shape, np.uint8) // (1 + seed)


@pytest.mark.slow
def test_fid_is_the_frechet_distance_of_the_inception_features(inception, tmp_path):
    import torch

    path = tmp_path / "weights.pth"
    torch.save(inception.state_dict(), path)
    sets = images(12, 0), images(9, 1)
    value = torch_fidelity_frechet(*sets, path)
    features = [inception(torch.from_numpy(i.transpose(0, 3, 1, 2)))[0].numpy() for i in sets]
    assert value == pytest.approx(metrics.frechet(*features), rel=1e-3)
    assert value > 10 * torch_fidelity_frechet(sets[0], sets[0], path)


def test_files_that_are_not_the_weights_are_refused(fidelity, tmp_path):
    import torch

    path = tmp_path / "weights.pth"
    sets = images(2, 0), images(2, 1)
    with pytest.raises(ConfigError, match="no such file; give the path of weights-inception"):
        torch_fidelity_frechet(*sets, path)
    path.write_bytes(b"not weights")
    with pytest.raises(ConfigError, match="weights.pth: not a file of weights"):
        torch_fidelity_frechet(*sets, path)
    torch.save({"layer": torch.zeros(3)}, path)
    with pytest.raises(ConfigError, match="weights of another network"):
        torch_fidelity_frechet(*sets, path)
    torch.save(print, path)
    with pytest.raises(ConfigError, match="not a file of weights"):
        torch_fidelity_frechet(*sets, path)


def test_without_torch_fidelity_a_line_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch_fidelity", None)
    with pytest.raises(ConfigError, match=r'is not installed: pip install "rnnae\[fid\]"'):
        torch_fidelity_frechet(images(2, 0), images(2, 1), "weights.pth")


@pytest.mark.parametrize(
    "bad, words",
    [
        (images(2, 0, channels=1), "RGB images"),
        (images(2, 0).astype(np.float32), "not float32"),
        (images(1, 0), "at least 2 images"),
    ],
)
def test_images_without_an_fid_are_refused(bad, words):
    for sets in ((bad, images(2, 0)), (images(2, 0), bad)):
        with pytest.raises(ConfigError, match=words):
            torch_fidelity_frechet(*sets, "weights.pth")

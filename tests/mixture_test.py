"""The ex-post density is scikit-learn's, and its samples follow it."""

import dataclasses
import os

import numpy as np
import pytest
from sklearn.mixture import GaussianMixture
from threadpoolctl import threadpool_limits

from rnnae.evaluation.mixture import Mixture


def latents(count=3000, size=3, seed=0):
    """Two clusters, one correlated, with very different scales by dimension."""
    generator = np.random.default_rng(seed)
    spread = np.array([[1.0, 0.8, 0.0], [0.0, 0.5, 0.0], [0.0, 0.0, 1.0]])[:size, :size]
    near = generator.normal(size=(count // 2, size)) @ spread
    far = 0.3 * generator.normal(size=(count - count // 2, size)) + 4
    return (np.concatenate([near, far]) * np.array([1.0, 20.0, 0.1])[:size]).astype(np.float32)


def test_density_agrees_with_scikit_learn():
    data = latents()
    mixture = Mixture.fit(data, 2, seed=0)
    covariances = mixture.factors_MZZ @ mixture.factors_MZZ.transpose(0, 2, 1)
    theirs = GaussianMixture(2)
    theirs.weights_, theirs.means_, theirs.covariances_ = (
        mixture.weights_M,
        mixture.means_MZ,
        covariances,
    )
    theirs.precisions_cholesky_ = np.linalg.cholesky(np.linalg.inv(covariances))
    np.testing.assert_allclose(
        mixture.log_prob(data[::100]), theirs.score_samples(data[::100]), rtol=1e-5, atol=1e-5
    )


def test_density_integrates_to_one():
    data = latents(size=1)
    mixture = Mixture.fit(data, 2, seed=0)
    x = np.linspace(-12, 14, 20_001)
    assert np.trapezoid(np.exp(mixture.log_prob(x[:, None])), x) == pytest.approx(1, abs=1e-4)


def test_samples_have_the_moments_of_the_latents():
    data = latents()
    drawn = Mixture.fit(data, 2, seed=0).sample(20_000, seed=1)
    scale = data.std(axis=0)
    np.testing.assert_allclose(drawn.mean(0) / scale, data.mean(0) / scale, atol=0.05)
    np.testing.assert_allclose(np.corrcoef(drawn.T), np.corrcoef(data.T), atol=0.05)
    assert drawn.dtype == np.float32


def test_samples_depend_on_the_seed_and_survive_saving(tmp_path):
    mixture, path = Mixture.fit(latents(), 4, seed=0), tmp_path / "mixture.npz"
    assert Mixture.load(path, 7, "a") is None
    mixture.save(path, 7, "a")
    assert Mixture.load(path, 8, "a") is None and Mixture.load(path, 7, "b") is None
    again = Mixture.load(path, 7, "a")
    assert np.array_equal(mixture.sample(9, 5), again.sample(9, 5))
    assert not np.array_equal(mixture.sample(9, 5), mixture.sample(9, 6))


def test_a_mixture_of_an_older_version_still_loads(tmp_path):
    mixture = Mixture.fit(latents(), 4, seed=0)
    arrays = dataclasses.asdict(mixture)
    del arrays["label_M"]
    np.savez(tmp_path / "mixture.npz", step=7, **arrays)
    again = Mixture.load(tmp_path / "mixture.npz", 7, "a")
    assert np.array_equal(mixture.sample(9, 5), again.sample(9, 5))


def test_a_damaged_mixture_counts_as_none_and_is_said(tmp_path, capsys):
    mixture, path = Mixture.fit(latents(), 4, seed=0), tmp_path / "mixture.npz"
    mixture.save(path, 7, "a")
    whole, refused = path.read_bytes(), 0
    flips = [bytearray(whole) for _ in range(0, len(whole), 5)]
    for index, flipped in enumerate(flips):
        flipped[5 * index] ^= 1 << index % 8
    for content in (b"", b"[]", whole[: len(whole) // 2], bytes(len(whole)), *flips):
        path.write_bytes(content)
        loaded, said = Mixture.load(path, 7, "a"), capsys.readouterr().out
        if loaded is None:
            refused += 1
            assert not said or (said.count("\n") == 1 and "is damaged and not used" in said)
        else:
            assert np.array_equal(loaded.sample(9, 5), mixture.sample(9, 5))
    assert refused > len(flips) // 2
    path.unlink()
    for make in (
        path.mkdir,
        lambda: (path.rmdir(), path.symlink_to(path)),
        lambda: (path.unlink(), os.mkfifo(path)),
    ):
        make()
        assert Mixture.load(path, 7, "a") is None and "damaged" in capsys.readouterr().out


def test_few_latents_get_fewer_components():
    assert len(Mixture.fit(latents(20), 100, seed=0).weights_M) == 3
    assert len(Mixture.fit(latents(4), 100, seed=0).weights_M) == 1


def test_the_number_of_threads_does_not_change_the_mixture():
    data = np.random.default_rng(0).normal(size=(2000, 128)).astype(np.float32)
    mixtures = []
    for threads in (1, 2):
        with threadpool_limits(threads):
            mixtures.append(Mixture.fit(data, 4, seed=0))
    for name in ("weights_M", "means_MZ", "factors_MZZ"):
        assert np.array_equal(*(getattr(mixture, name) for mixture in mixtures)), name

"""The methods of a trained run, as a notebook calls them."""

import dataclasses
import json
import shutil

import jax
import numpy as np
import pytest

from rnnae import build, state
from rnnae.config import default
from rnnae.data import binarisation
from rnnae.errors import CheckpointError, ConfigError
from rnnae.evaluation import batched, loading, modes, trained_run
from rnnae.evaluation.evaluate import Evaluator
from rnnae.records.checkpoint import Checkpoints
from rnnae.training.train import train
from tests import runs, tiny


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    directory = tmp_path_factory.mktemp("trained")
    train(runs.config(directory), directory / "run")
    return directory


@pytest.fixture(scope="module")
def run(trained):
    return loading.load(trained / "run")


def images(count=7):
    return np.random.default_rng(0).integers(0, 256, (count, 8, 8, 1)).astype(np.uint8)


def test_all_methods_give_the_documented_shapes_and_dtypes(run):
    assert run.encode(images()).shape == (7, 4)
    for result, count in (
        (run.reconstruct(images()), 7),
        (run.decode(run.encode(images())), 7),
        (run.interpolate(images()[0], images()[1], 5), 5),
        (run.sample(9, seed=3), 9),
        (run.reconstruct(images()[:0]), 0),
    ):
        assert result.shape == (count, 8, 8, 1) and result.dtype == np.uint8


def test_chunks_do_not_change_results(run):
    many = images(1203)
    np.testing.assert_allclose(run.encode(many)[1100:], run.encode(many[1100:]), atol=1e-5)


@pytest.mark.slow
def test_two_devices_draw_the_same_images_as_one(run, monkeypatch):
    """At most `config.devices` devices are used."""
    one = run.config.copy_and_resolve_references()
    one.devices = 1
    both = run.config.copy_and_resolve_references()
    both.devices = 0
    latents = [dataclasses.replace(run, config=c).encode(images(40)) for c in (one, both)]
    np.testing.assert_allclose(*latents, rtol=1e-5, atol=1e-6)
    drawn = [dataclasses.replace(run, config=c).decode(latents[0]) for c in (one, both)]
    assert np.abs(np.subtract(*drawn, dtype=int)).max() <= 1
    model, params = tiny.build("sweep")
    drawn = [
        trained_run.TrainedRun(model, params["params"], c, 0).sample(40, seed=1)
        for c in (one, both)
    ]
    assert np.array_equal(*drawn) and len(np.unique(drawn[0], axis=0)) > 35
    monkeypatch.setattr(batched.parallel, "map_examples", lambda function, devices: len(devices))
    over_devices = batched._over_devices.__wrapped__
    assert [over_devices(run.model, "decode_mean", (), (), most, 32) for most in (0, 1)] == [2, 1]


def test_interpolation_runs_from_one_reconstruction_to_the_other(run):
    strip = run.interpolate(images()[0], images()[1], 4)
    assert np.array_equal(strip[[0, -1]], run.reconstruct(images()[:2]))


def test_a_run_of_a_machine_with_more_devices_is_measured_with_those_that_there_are():
    model, variables = tiny.build("mlp", latent__name="gaussian")
    images_NHWC = np.random.default_rng(0).integers(0, 256, (3, *tiny.SHAPE)).astype(np.uint8)
    found = []
    for devices in (0, 100):
        config = tiny.config("mlp", latent__name="gaussian")
        config.devices = devices
        run = trained_run.TrainedRun(model, variables["params"], config, step=0)
        found.append(run.log_prob(images_NHWC, samples=0))
    np.testing.assert_array_equal(*found)


def test_samples_depend_on_the_seed(run):
    assert np.array_equal(run.sample(5, seed=1), run.sample(5, seed=1))
    assert not np.array_equal(run.sample(5, seed=1), run.sample(5, seed=2))


@pytest.mark.parametrize("seed", [-1, 2**31, 2**32, 0.5])
def test_a_seed_that_could_equal_another_is_refused(run, seed):
    calls = [
        lambda: run.sample(4, seed=seed),
        lambda: run.sample_latents(4, seed=seed),
        lambda: run.decode(np.zeros((2, 4), np.float32), seed=seed),
        lambda: run.complete(images(2), np.zeros(images().shape[1:3], bool), seed),
    ]
    for call in calls:
        with pytest.raises(ConfigError, match="seed must be an integer from 0 to 2,147,483,647"):
            call()


def test_a_run_is_loaded_from_a_home_directory(trained, monkeypatch):
    monkeypatch.setenv("HOME", str(trained.parent))
    assert loading.load(f"~/{trained.name}/run").step > 0


def test_wrong_images_are_refused(run):
    with pytest.raises(ConfigError, match=r"uint8 of shape \(N, 8, 8, 1\)"):
        run.encode(images().astype(np.float32))
    with pytest.raises(ConfigError, match="not uint8"):
        run.encode(images()[:, :4])
    binary = dataclasses.replace(run, config=run.config.copy_and_resolve_references())
    binary.config.data.binarise = "dynamic"
    with pytest.raises(ConfigError, match=r"these are grey: rnnae.data.binarisation.binarise_once"):
        binary.encode(images())
    assert binary.encode(binarisation.binarise_once(images(), seed=0)).shape == (7, 4)


def test_wrong_latents_and_numbers_are_refused(run):
    for wrong in (np.zeros((2, 5), np.float32), np.zeros((2, 4)), np.zeros(4, np.float32), [0.0]):
        with pytest.raises(ConfigError, match=r"latents must be float32 of shape \(N, 4\), not"):
            run.decode(wrong)
    for call, wrong, words in [
        (run.encode, [], "not a list"),
        (run.sample, -1, "0 or more, not -1"),
    ]:
        with pytest.raises(ConfigError, match=words):
            call(wrong)


def test_the_best_checkpoint_is_loaded_and_a_missing_one_is_refused(trained, tmp_path):
    assert loading.load(trained / "run", "best").encode(images()).shape == (7, 4)
    (tmp_path / "config.json").write_text((trained / "run" / "config.json").read_text())
    for kind, words in [("latest", "train it first"), ("best", "nothing was validated")]:
        with pytest.raises(CheckpointError, match=words):
            loading.load(tmp_path, kind)
    with pytest.raises(ConfigError, match="did you mean 'best'"):
        loading.load(tmp_path, "bets")


@pytest.mark.slow
def test_the_best_checkpoint_has_the_lowest_validation_loss(tmp_path, monkeypatch):
    workdir = tmp_path / "run"
    config, losses = runs.config(tmp_path), {6: 3.0, 12: 1.0, 18: 2.0}
    evaluate, found = Evaluator.__call__, iter(losses.values())

    def evaluating(self, params, images, label_N, *, full):
        report = evaluate(self, params, images, label_N, full=full)
        if not full:  # a validation
            report.means["loss"] = next(found)
        return report

    monkeypatch.setattr(Evaluator, "__call__", evaluating)
    train(config, workdir)
    assert Checkpoints(workdir).steps("best") == [12]
    best, latest = (loading.load(workdir, which).params for which in ("best", "latest"))
    model, (optimizer, _) = build.build_model(config), build.build_optimizer(config, 1)
    like = state.create(model, optimizer, model.image_shape, config.seed)
    expected = Checkpoints(workdir).restore(like, "best")
    assert int(expected.step) == 12
    for a, b, c in zip(*map(jax.tree.leaves, (best, expected.ema, latest)), strict=True):
        assert np.array_equal(a, b) and not np.array_equal(a, c)


def test_latents_of_several_chunks_differ_and_decode_as_in_one_chunk(run):
    latents = run.sample_latents(520, seed=1)
    whole, one = run.decode(latents)[510:], run.decode(latents[510:])
    assert np.abs(whole.astype(int) - one).max() <= 1  # rounding to 8 bits
    assert not np.array_equal(latents[:20], latents[500:])


@pytest.mark.slow
def test_draw_samples_its_prior_and_has_frames(tmp_path):
    config = default("draw")
    config.update_from_flattened_dict(
        {
            **{k: v for k, v in runs.overrides(tmp_path).items() if k != "model.width"},
            "data.binarise": "dynamic",
            "likelihood.name": "bernoulli",
            "latent.name": "gaussian",
            "model.width": 6,
            "model.steps": 3,
            "train.epochs": 1,
            "eval.importance_samples": 3,
            "eval.seeds": (0, 1),
            "eval.mutual_information_images": 5,
        }
    )
    result = train(config, tmp_path / "run")
    assert {"test/nll_dynamic_is3", "test/nll_dynamic_is3_seed1"} <= result.keys()
    assert not (tmp_path / "run" / "mixture.npz").exists()
    pictures = {p.name for p in (tmp_path / "run" / "pictures").iterdir()}
    assert {"generated.png", "canvas.gif", "error_by_glimpse.png"} <= pictures
    run = loading.load(tmp_path / "run")
    assert run.sample(4, seed=1).shape == (4, 8, 8, 1) and run.sample_latents(4).shape == (4, 12)
    frames, where = run.frames(run.sample_latents(4, seed=1))
    assert frames.shape == (3, 4, 8, 8, 1) and where.shape == (3, 4, 3)
    assert np.array_equal(frames[-1], run.sample(4, seed=1))
    assert trained_run._frames(run.model) is trained_run._frames(
        run.model
    )  # compiled once for all figures
    again = modes.evaluate(config, tmp_path / "run")
    assert again["test/nll_dynamic_is3"] == pytest.approx(result["test/nll_dynamic_is3"])


@pytest.mark.slow
@pytest.mark.parametrize("latent", [pytest.param("none", marks=pytest.mark.exhaustive), "gaussian"])
def test_a_sweep_completes_images_with_and_without_a_latent(tmp_path, latent):
    config = default("sweep")
    config.update_from_flattened_dict(
        {
            **runs.overrides(tmp_path),
            "data.binarise": "dynamic",
            "likelihood.name": "categorical",
            "latent.name": latent,
            "model.blocks": 1,
            "model.encoder_blocks": 1,
            "optim.name": "muon",
            "train.epochs": 1,
            "eval.importance_samples": 2,
            "eval.mutual_information_images": 5,
        }
    )
    result = train(config, tmp_path / "run")
    exact, reconstructed = "test/nll_dynamic" in result, "test/mse" in result
    assert (exact, reconstructed) == ((True, False) if latent == "none" else (False, True))
    pictures = {p.name for p in (tmp_path / "run" / "pictures").iterdir()}
    assert {"generated.png", "completions.png", "curves.png"} <= pictures
    assert ("reconstructions.png" in pictures) == ("same_latent.png" in pictures) == reconstructed
    run = loading.load(tmp_path / "run")
    given = 255 * (images(3) > 127).astype(np.uint8)
    mask = np.zeros(given.shape[1:3], bool)
    mask[:4] = True
    completed, method, effective_N = run.complete(given, mask, seed=1)
    assert method == "exact" and (effective_N >= 1).all()
    assert np.array_equal(completed[:, :4], given[:, :4])
    assert not np.array_equal(completed, run.complete(given, mask, seed=2).images_NHWC)
    assert np.array_equal(run.complete(given, mask | True).images_NHWC, given)
    again = modes.evaluate(config, tmp_path / "run")
    name = "test/nll_dynamic" if exact else "test/nll_dynamic_is2"
    assert again[name] == pytest.approx(result[name], rel=1e-5)


def test_guidance_needs_the_class_of_every_image():
    changes = {"classes": 3, "latent__name": "gaussian", "likelihood__name": "bernoulli"}
    model, variables = tiny.build("mlp", **changes)
    config = tiny.config("mlp", data__class_names=("a", "b", "c"), **changes)
    run = trained_run.TrainedRun(model, variables["params"], config, step=0)
    for label in (None, -1, [0, -1, 1]):
        with pytest.raises(ConfigError, match="guidance needs the class of the new images"):
            run.sample(3, label=label, guidance=1.0)
    assert not np.array_equal(run.sample(3, label=1, guidance=9.0), run.sample(3, label=1))


def test_what_only_some_models_can_do_is_refused_to_others(run):
    with pytest.raises(ConfigError, match="config.model.name=draw"):
        run.frames(run.sample_latents(2))
    with pytest.raises(ConfigError, match="config.model.name=sweep has the log-probability"):
        run.log_prob_maps(images())


def test_a_run_of_another_version_is_refused(tmp_path):
    saved = json.loads(default().to_json())
    saved["model"]["residual"] = True
    (tmp_path / "config.json").write_text(json.dumps(saved))
    with pytest.raises(ConfigError, match="config.model.residual is unknown; use the commit"):
        loading.load(tmp_path)


def test_a_config_without_the_shape_of_its_images_is_damaged(tmp_path):
    (tmp_path / "config.json").write_text('{"model": {"name": "sequence"}, "seed": 0}')
    with pytest.raises(ConfigError, match="config.json is damaged"):
        loading.load(tmp_path)


def test_a_mixture_is_loaded_only_with_the_weights_that_it_was_fitted_to(trained, tmp_path):
    shutil.copytree(trained / "run", tmp_path / "run")
    mixture = loading.load(tmp_path / "run").mixture
    mixture.save(tmp_path / "run" / "mixture.npz", 17, "")
    assert loading.load(tmp_path / "run").mixture is None

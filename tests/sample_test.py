"""A trained run as a notebook uses it, and evaluation's numbers."""

import dataclasses
import json
import shutil

import jax
import numpy as np
import pytest

from rnnae import state
from rnnae.config import default, saved_config
from rnnae.data import pipeline
from rnnae.errors import CheckpointError, ConfigError
from rnnae.evaluation import evaluate, figures, trained_run
from rnnae.records.checkpoint import Checkpoints
from rnnae.records.writer import read_metrics
from rnnae.training import milestones, train
from tests import runs, tiny


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    directory = tmp_path_factory.mktemp("trained")
    train.train(runs.config(directory), directory / "run")
    return directory


@pytest.fixture(scope="module")
def run(trained):
    return trained_run.load(trained / "run")


def images(count=7):
    return np.random.default_rng(0).integers(0, 256, (count, 8, 8, 1)).astype(np.uint8)


def test_shapes_and_dtypes(run):
    assert run.encode(images()).shape == (7, 4)
    for result, count in (
        (run.reconstruct(images()), 7),
        (run.decode(run.encode(images())), 7),
        (run.interpolate(images()[0], images()[1], 5), 5),
        (run.sample(9, seed=3), 9),
        (run.reconstruct(images()[:0]), 0),
    ):
        assert result.shape == (count, 8, 8, 1) and result.dtype == np.uint8


def test_chunks_do_not_show(run):
    many = images(1203)
    np.testing.assert_allclose(run.encode(many)[1100:], run.encode(many[1100:]), atol=1e-5)


def test_two_devices_draw_what_one_does(run, monkeypatch):
    """And no more than `config.devices` are used."""
    alone = run.config.copy_and_resolve_references()
    alone.devices = 1
    both = run.config.copy_and_resolve_references()
    both.devices = 0
    codes = [dataclasses.replace(run, config=c).encode(images(40)) for c in (alone, both)]
    np.testing.assert_allclose(*codes, rtol=1e-5, atol=1e-6)
    drawn = [dataclasses.replace(run, config=c).decode(codes[0]) for c in (alone, both)]
    assert np.abs(np.subtract(*drawn, dtype=int)).max() <= 1
    model, params = tiny.build("sweep")  # whose pixels are drawn
    drawn = [
        trained_run.Run(model, params["params"], c, 0).sample(40, seed=1) for c in (alone, both)
    ]
    assert np.array_equal(*drawn) and len(np.unique(drawn[0], axis=0)) > 35
    monkeypatch.setattr(
        trained_run.parallel, "map_examples", lambda function, devices: len(devices)
    )
    made = trained_run._over_devices.__wrapped__
    assert [made(run.model, "decode_mean", (), most) for most in (0, 1)] == [2, 1]


def test_interpolation_runs_from_one_reconstruction_to_the_other(run):
    strip = run.interpolate(images()[0], images()[1], 4)
    assert np.array_equal(strip[[0, -1]], run.reconstruct(images()[:2]))


def test_a_seed_is_a_sample(run):
    assert np.array_equal(run.sample(5, seed=1), run.sample(5, seed=1))
    assert not np.array_equal(run.sample(5, seed=1), run.sample(5, seed=2))


def test_wrong_images_are_refused(run):
    with pytest.raises(ConfigError, match=r"uint8 of shape \(N, 8, 8, 1\)"):
        run.encode(images().astype(np.float32))
    with pytest.raises(ConfigError, match="not uint8"):
        run.encode(images()[:, :4])
    binary = dataclasses.replace(run, config=run.config.copy_and_resolve_references())
    binary.config.data.binarise = "dynamic"
    with pytest.raises(ConfigError, match=r"these are grey: rnnae.data.pipeline.binarise_once"):
        binary.encode(images())
    assert binary.encode(pipeline.binarise_once(images(), seed=0)).shape == (7, 4)


def test_wrong_codes_and_numbers_are_refused(run):
    for wrong in (np.zeros((2, 5), np.float32), np.zeros((2, 4)), np.zeros(4, np.float32), [0.0]):
        with pytest.raises(ConfigError, match=r"codes must be float32 of shape \(N, 4\), not"):
            run.decode(wrong)
    for call, wrong, words in [(run.encode, [], "not a list"), (run.sample, -1, "or more, not -1")]:
        with pytest.raises(ConfigError, match=words):
            call(wrong)


def test_best_checkpoint_and_no_checkpoint(trained, tmp_path):
    assert trained_run.load(trained / "run", "best").encode(images()).shape == (7, 4)
    (tmp_path / "config.json").write_text((trained / "run" / "config.json").read_text())
    for kind, words in [("latest", "train it first"), ("best", "nothing was validated")]:
        with pytest.raises(CheckpointError, match=words):
            trained_run.load(tmp_path, kind)
    with pytest.raises(ConfigError, match="did you mean 'best'"):
        trained_run.load(tmp_path, "bets")


def test_the_best_checkpoint_is_that_of_the_lowest_validation(tmp_path, monkeypatch):
    workdir = tmp_path / "run"
    config, losses = runs.config(tmp_path), {6: 3.0, 12: 1.0, 18: 2.0}
    measure = milestones.Milestones._measure

    def measuring(self, split, step, *args, **kwargs):
        means = measure(self, split, step, *args, **kwargs)
        return means | {"loss": losses[step]} if split == "valid" else means

    monkeypatch.setattr(milestones.Milestones, "_measure", measuring)
    train.train(config, workdir)
    assert Checkpoints(workdir).steps("best") == [12]
    best, latest = (trained_run.load(workdir, which).params for which in ("best", "latest"))
    model, optimizer, _ = trained_run.build(config.copy_and_resolve_references(), 1)
    like = state.create(model, optimizer, model.image_shape, config.seed)
    expected = Checkpoints(workdir).restore(like, "best")
    assert int(expected.step) == 12
    for a, b, c in zip(*map(jax.tree.leaves, (best, expected.ema, latest)), strict=True):
        assert np.array_equal(a, b) and not np.array_equal(a, c)


def test_codes_beyond_a_chunk_are_their_own_and_decode_as_they_do_alone(run):
    codes = run.codes(520, seed=1)
    among, alone = run.decode(codes)[510:], run.decode(codes[510:])
    assert np.abs(among.astype(int) - alone).max() <= 1  # rounding to 8 bits
    assert not np.array_equal(codes[:20], codes[500:])


@pytest.mark.slow
def test_a_variational_run_samples_its_prior_and_shows_how_it_paints(tmp_path):
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
            "eval.information_images": 5,
        }
    )
    result = train.train(config, tmp_path / "run")
    assert {"test/nll_dynamic_is3", "test/nll_dynamic_is3_seed1"} <= result.keys()
    assert not (tmp_path / "run" / "mixture.npz").exists()
    pictures = {p.name for p in (tmp_path / "run" / "pictures").iterdir()}
    assert {"generated.png", "canvas.gif", "error_by_glimpse.png"} <= pictures
    run = trained_run.load(tmp_path / "run")
    assert run.sample(4, seed=1).shape == (4, 8, 8, 1) and run.codes(4).shape == (4, 12)
    frames, where = run.frames(run.codes(4, seed=1))
    assert frames.shape == (3, 4, 8, 8, 1) and where.shape == (3, 4, 3)
    assert np.array_equal(frames[-1], run.sample(4, seed=1))
    assert trained_run._frames(run.model) is trained_run._frames(
        run.model
    )  # or each picture compiles anew
    again = evaluate.main(config, tmp_path / "run")
    assert again["test/nll_dynamic_is3"] == pytest.approx(result["test/nll_dynamic_is3"])


@pytest.mark.slow
@pytest.mark.parametrize("latent", ["none", "gaussian"])
def test_a_sweep_completes_images_and_needs_no_code(tmp_path, latent):
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
            "eval.information_images": 5,
        }
    )
    result = train.train(config, tmp_path / "run")
    exact, reconstructed = "test/nll_dynamic" in result, "test/mse" in result
    assert (exact, reconstructed) == ((True, False) if latent == "none" else (False, True))
    pictures = {p.name for p in (tmp_path / "run" / "pictures").iterdir()}
    assert {"generated.png", "completions.png", "curves.png"} <= pictures
    assert ("reconstructions.png" in pictures) == ("codes.png" in pictures) == reconstructed
    run = trained_run.load(tmp_path / "run")
    given = 255 * (images(3) > 127).astype(np.uint8)
    completed = run.complete(given, 4, seed=1)
    assert np.array_equal(completed[:, :4], given[:, :4])
    assert not np.array_equal(completed, run.complete(given, 4, seed=2))
    assert np.array_equal(run.complete(given, 8), given)
    with pytest.raises(ConfigError, match="multiple of 2 from 0 to 8, not 3"):
        run.complete(given, 3)
    again = evaluate.main(config, tmp_path / "run")
    name = "test/nll_dynamic" if exact else "test/nll_dynamic_is2"
    assert again[name] == pytest.approx(result[name], rel=1e-5)


def test_a_completion_takes_the_code_that_explains_the_rows(monkeypatch):
    model, params = tiny.build("sweep")
    run, count = trained_run.Run(model, params["params"], tiny.config("sweep"), 0), 3
    given = np.zeros((count, *tiny.SHAPE), np.uint8)
    assert run.complete(given[:0], 2).shape == (0, *tiny.SHAPE)
    codes_KNZ = run.codes(trained_run._CANDIDATES * count, seed=5).reshape(-1, count, 5)
    each, candidates, taken = trained_run.Run._each, iter(range(trained_run._CANDIDATES)), []

    def weighing(self, method, *inputs, last=()):
        if method == "log_prob_of_rows":  # candidate n is the one of image n
            return np.where(np.arange(count) == next(candidates), 0.0, -1e9)
        taken.append((method, inputs[0]))
        return each(self, method, *inputs, last=last)

    monkeypatch.setattr(trained_run.Run, "_each", weighing)
    assert run.complete(given, 2, seed=5).shape == given.shape
    assert taken[-1][0] == "complete"
    assert np.array_equal(taken[-1][1], codes_KNZ[np.arange(count), np.arange(count)])


def test_only_a_sweep_completes(run):
    with pytest.raises(ConfigError, match="config.model.name=sweep"):
        run.complete(images(), 4)


def test_only_draw_has_frames(run):
    with pytest.raises(ConfigError, match="config.model.name=draw"):
        run.frames(run.codes(2))


def test_a_run_of_another_version_is_refused(tmp_path):
    saved = json.loads(default().to_json())
    saved["model"]["residual"] = True
    (tmp_path / "config.json").write_text(json.dumps(saved))
    with pytest.raises(ConfigError, match="config.model.residual is unknown; use the commit"):
        trained_run.load(tmp_path)


def test_modes_agree_with_training(trained, capsys):
    workdir = trained / "run"
    config = saved_config.get_config(str(workdir / "config.json"))
    result = evaluate.main(config, workdir)
    assert result["test/mse"] == pytest.approx(read_metrics(workdir)[-1]["test/mse"], rel=1e-6)
    figures.main(config, workdir)
    names = {p.name for p in (workdir / "samples").iterdir()}
    assert {"samples_8x8.png", "samples_8x8.npy", "generated.png"} <= names
    assert "pictures in" in capsys.readouterr().out


@pytest.mark.parametrize("main", [evaluate.main, figures.main])
def test_modes_refuse_a_config_of_another_run(trained, main):
    workdir = trained / "run"
    config = saved_config.get_config(str(workdir / "config.json"))
    config.data.binarise = "dynamic"
    with pytest.raises(ConfigError, match="config.data.binarise: none there, dynamic here"):
        main(config, workdir)


def test_a_mixture_comes_with_the_weights_that_it_was_fitted_to(trained, tmp_path):
    shutil.copytree(trained / "run", tmp_path / "run")
    mixture = trained_run.load(tmp_path / "run").mixture
    mixture.save(tmp_path / "run" / "mixture.npz", 17)
    assert trained_run.load(tmp_path / "run").mixture is None


def test_an_evaluation_that_is_stopped_loses_none_before_it(trained, monkeypatch):
    workdir = trained / "run"
    config = saved_config.get_config(str(workdir / "config.json"))
    evaluate.main(config, workdir)
    kept = (workdir / "evaluation.json").read_text()
    assert json.loads(kept).keys() >= {"environment", "eval", "test/mse"}
    said = []

    def line(means):
        if said:  # of the second split
            raise KeyboardInterrupt
        said.append(means)
        return ""

    monkeypatch.setattr(evaluate, "line", line)
    with pytest.raises(KeyboardInterrupt):
        evaluate.main(config, workdir)
    assert said and (workdir / "evaluation.json").read_text() == kept and '"test/mse"' in kept


def test_images_that_were_trained_on_are_no_validation(tmp_path, capsys):
    config = runs.config(tmp_path, data__train_on_all=True, train__epochs=1)
    train.train(config, tmp_path / "run")
    config = saved_config.get_config(str(tmp_path / "run" / "config.json"))
    result = evaluate.main(config, tmp_path / "run")
    assert result["step"] == trained_run.load(tmp_path / "run").step > 0
    assert "test/mse" in result and not any(name.startswith("valid/") for name in result)
    assert "valid: none" in capsys.readouterr().out

"""From a classifier that is trained and shipped to the metrics of new images of another run."""

import contextlib
import io
import json
import shutil
import signal

import numpy as np
import pytest
from PIL import Image

import rnnae
from experiments import ship
from rnnae import build
from rnnae.config import default, saved_config
from rnnae.errors import CheckpointError, ConfigError, Stopped
from rnnae.evaluation import features, mixture, modes, sample_report
from rnnae.records import weights
from rnnae.records.writer import read_metrics
from rnnae.training import seeds
from rnnae.training.train import train
from tests import runs
from tests.distributed_test import start_two, wait_for_exit

SAMPLES = 12


def make_images(directory):
    """30 images of 8 x 8 of each of two classes: a bright square above, or below."""
    generator = np.random.default_rng(0)
    for name, top in (("above", 0), ("below", 4)):
        (directory / name).mkdir(parents=True)
        for index in range(30):
            image = generator.integers(0, 60, (8, 8)).astype(np.uint8)
            y, x = top + index % 2, index % 5
            image[y : y + 3, x : x + 3] = 200 + index
            Image.fromarray(image).save(directory / name / f"{index:02}.png")


def config(directory, model, **changes):
    """The tiny run of another model on images with classes."""
    own = {
        "data.source_dir": str(directory / "images"),
        "data.data_dir": str(directory / "data"),
        "train.steps_per_call": 6,
    }
    common = runs.overrides(directory / "other") | own
    common = {k: v for k, v in common.items() if not k.startswith(("model.", "latent."))}
    settings = default(model)
    changes = {k.replace("__", "."): v for k, v in changes.items()}
    settings.update_from_flattened_dict(common | changes)
    return settings


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A directory with the run `classifier`, its weights `tiny4`, and the run `mlp`."""
    directory = tmp_path_factory.mktemp("made")
    make_images(directory / "images")
    of_classifier = config(
        directory,
        "classifier",
        model__classes=2,
        model__width=6,
        model__features=4,
        model__shift=0,
        latent__name="none",
        data__label_dropout=0.0,
        optim__learning_rate=0.02,
        optim__warmup_steps=1,
        optim__ema=0.5,
        train__max_steps=48,
        train__eval_every_epochs=8,
    )
    train(of_classifier, directory / "classifier")
    ship.ship(directory / "classifier", "tiny4", directory / "tiny4")
    train(
        config(directory, "mlp", model__widths=(16,), latent__size=4, train__max_steps=6),
        directory / "mlp",
    )
    return directory


def evaluate(made, run, **changes):
    """(the numbers of --mode evaluate, what it printed)"""
    saved = json.loads((made / run / "config.json").read_text())
    settings = default(saved["model"]["name"])
    settings.update_from_flattened_dict(
        {
            key: tuple(value) if isinstance(value, list) else value
            for key, value in rnnae.config.flat(saved).items()
            if key not in ("sha256", "model.name")
        }
    )
    with settings.unlocked():
        settings.update_from_flattened_dict({k.replace("__", "."): v for k, v in changes.items()})
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        found = modes.evaluate(settings, made / run)
    return found, printed.getvalue()


def test_a_classifier_reports_its_loss_and_accuracy_and_draws_curves(made):
    found, printed = evaluate(made, "classifier", eval__seeds=(0, 1))
    names = {name.removeprefix("test/") for name in found if name.startswith("test/")}
    accuracy = {f"accuracy{end}" for end in ("", "_se", "_seed0", "_seed1")}
    assert names == {"loss"} | accuracy
    assert found["test/accuracy"] >= 0.8 and "accuracy" in printed
    assert [path.name for path in (made / "classifier" / "pictures").iterdir()] == ["curves.png"]


def test_a_classifier_makes_no_images(made):
    settings = saved_config.get_config(str(made / "classifier" / "config.json"))
    for out in (None, made / "new.png"):
        with pytest.raises(ConfigError, match="a classifier makes no images"):
            modes.sample(settings, made / "classifier", out=out)
    with pytest.raises(ConfigError, match="a classifier makes no images"):
        evaluate(made, "classifier", eval__samples=SAMPLES)


def test_new_images_are_measured_beside_the_floor(made):
    found, printed = evaluate(
        made, "mlp", eval__samples=SAMPLES, eval__features=str(made / "tiny4")
    )
    for name in ("frechet", "kid", "precision", "recall", "density", "coverage"):
        for middle in ("tiny4", "given_class_tiny4"):
            assert np.isfinite(found[f"test/{name}_{middle}_{SAMPLES}"])
        assert f"test/{name}_tiny4_{SAMPLES}_floor" in found
    assert {f"test/kid_tiny4_{SAMPLES}_se", f"test/kid_tiny4_{SAMPLES}_floor_se"} <= found.keys()
    assert 0 <= found[f"test/class_accuracy_given_class_tiny4_{SAMPLES}"] <= 1
    assert f"test/class_accuracy_given_class_tiny4_{SAMPLES}_se" in found
    assert 0 <= found[f"test/neighbour_percentile_pixels_{SAMPLES}"] <= 100
    assert "tiny4, floor:" in printed and "FID" not in printed
    with Image.open(made / "mlp" / "pictures" / "neighbours.png") as picture:
        assert picture.width > 10 * 8
    stored = json.loads((made / "mlp" / "evaluation.json").read_text())
    assert {k: v for k, v in stored.items() if k != "eval"}.items() <= found.items()


def test_without_splits_only_new_images_are_measured(made):
    whole, _ = evaluate(made, "mlp", eval__samples=SAMPLES, eval__features=str(made / "tiny4"))
    found, _ = evaluate(
        made, "mlp", eval__samples=SAMPLES, eval__features=str(made / "tiny4"), eval__splits=()
    )
    names = {name for name in whole if "tiny4" in name or "pixels" in name}
    assert {k: v for k, v in found.items() if "/" in k} == {name: whole[name] for name in names}
    assert "test/mse" in whole and len(names) > 20


def measured_in_training(made, name, **changes):
    """(the result of a training whose test measures new images, its directory)"""
    settings = config(
        made,
        "mlp",
        model__widths=(16,),
        latent__size=4,
        train__max_steps=6,
        eval__samples=SAMPLES,
        eval__features=str(made / "tiny4"),
        **changes,
    )
    return train(settings, made / name), made / name


@pytest.fixture(scope="module")
def with_samples(made):
    """The result of a training that nobody interrupts, and its directory."""
    return measured_in_training(made, "unbroken")


def test_a_training_measures_new_images_as_evaluate_does(made, with_samples):
    result, workdir = with_samples
    (last,) = [record for record in read_metrics(workdir) if "test/loss" in record]
    assert {k: v for k, v in last.items() if k.startswith("test/")} == result
    found, _ = evaluate(made, "unbroken", eval__splits=())
    names = {name for name in found if name.startswith("test/")}
    assert f"test/kid_given_class_tiny4_{SAMPLES}" in names
    assert {name: found[name] for name in names} == {name: result[name] for name in names}
    pictures = {path.name for path in (workdir / "pictures").iterdir()}
    assert {"neighbours.png", "classes.png", "curves.png"} <= pictures


def test_a_finished_training_measures_no_new_images_again(made, with_samples, monkeypatch):
    result, workdir = with_samples
    before = (workdir / "metrics.jsonl").read_text()
    monkeypatch.setattr(sample_report, "report", None)
    assert measured_in_training(made, "unbroken", eval__seeds=(1,))[0] == result
    assert (workdir / "metrics.jsonl").read_text() == before


def test_an_interrupted_comparison_is_repeated_with_the_same_mixture(
    made, with_samples, monkeypatch
):
    fitted = []
    with monkeypatch.context() as patch:
        patch.setattr(sample_report, "report", lambda *_: signal.raise_signal(signal.SIGTERM))
        with pytest.raises(Stopped, match="the same command continues"):
            measured_in_training(made, "stopped")
    assert "test/" not in (made / "stopped" / "metrics.jsonl").read_text()
    monkeypatch.setattr(mixture.Mixture, "fit", lambda *_: fitted.append(1))
    assert measured_in_training(made, "stopped")[0] == with_samples[0] and not fitted
    settings = config(made, "mlp", model__widths=(16,), latent__size=4)
    runs.assert_same(*(runs.outcome(made / name, settings) for name in ("stopped", "unbroken")))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"eval__features": "tiny5"}, "tiny5"),
        ({"eval__samples": 3}, "config.eval.samples must be 0, or 10 or more"),
        ({"eval__guidance": 1.0}, "guidance needs a model that is told the class"),
        ({"eval__temperature": 0.0}, "temperature must be positive"),
        ({"eval__inception_weights": "x.pth"}, "is for RGB images"),
    ],
)
def test_new_images_that_cannot_be_measured_are_refused_before_the_training(made, changes, words):
    settings = {"eval__samples": SAMPLES, "eval__features": str(made / "tiny4")} | changes
    with pytest.raises(ConfigError, match=words):
        train(config(made, "mlp", **settings), made / "refused")
    assert not (made / "refused" / "metrics.jsonl").exists()


@pytest.mark.exhaustive
def test_two_processes_and_two_seeds_measure_new_images(made, with_samples):
    flags = [f"--config.eval.samples={SAMPLES}", f"--config.eval.features={made / 'tiny4'}"]
    codes, errors = wait_for_exit(start_two(made / "pair", made / "pair" / "run", flags, flags))
    assert codes == [0, 0], errors
    (last,) = [r for r in read_metrics(made / "pair" / "run") if "test/loss" in r]
    assert f"test/frechet_tiny4_{SAMPLES}_floor" in last
    settings = saved_config.get_config(str(made / "unbroken" / "config.json"))
    settings.data.source_dir, settings.data.data_dir = str(made / "images"), str(made / "data")
    settings.eval.features = str(made / "tiny4")
    alone, _ = seeds.train_seeds(settings, made / "seeds", [0, 1], together=True)
    assert alone.keys() == with_samples[0].keys()


def test_without_features_a_line_says_how_to_get_some(made):
    found, printed = evaluate(made, "mlp", eval__samples=SAMPLES)
    assert "no features for folder (8bit)" in printed and "config.eval.features" in printed
    assert not any("frechet" in name for name in found)


def test_fid_is_of_rgb_images_and_needs_weights(made, capsys):
    settings = config(made, "mlp")
    grey, rgb = (np.zeros((2, 8, 8, channels), np.uint8) for channels in (1, 3))
    assert sample_report._fid(settings, grey, grey) == {} and not capsys.readouterr().out
    assert sample_report._fid(settings, rgb, rgb) == {}
    assert "config.eval.inception_weights" in capsys.readouterr().out


def test_training_images_are_closer_to_test_images_than_those_of_one_class(made):
    settings = config(made, "classifier", model__classes=2)
    splits = build.load_splits(settings)
    tiny = features.Features("tiny4", weights.load(made / "tiny4"))
    floor = sample_report.floor(splits, tiny, 40, seed=0)
    assert sample_report.floor(splits, tiny, 40, seed=0) == floor
    assert sample_report.floor(splits, tiny, 40, seed=1) != floor
    one_class = splits.train[np.flatnonzero(splits.labels.train == 0)]
    splits.train = np.concatenate([one_class, one_class])
    worse = sample_report.floor(splits, tiny, 40, seed=0)
    assert floor["frechet_tiny4_40"] < 0.5 * worse["frechet_tiny4_40"]


def test_features_must_be_a_classifier_of_such_images(made):
    evaluate(made, "mlp", eval__samples=SAMPLES, eval__splits=())
    ship.ship(made / "mlp", "mlp", made / "shipped_mlp")
    assert "| mse |" in (made / "shipped_mlp" / "README.md").read_text()
    settings = config(made, "mlp", eval__features=str(made / "shipped_mlp"))
    with pytest.raises(ConfigError, match="is no classifier of images of 8x8x1"):
        features.choose(settings, "8bit", (8, 8, 1))
    settings.eval.features = str(made / "tiny4")
    assert features.choose(settings, "8bit", (8, 8, 1)).class_names == ("above", "below")
    with pytest.raises(ConfigError, match="is no classifier of images of 28x28x1"):
        features.choose(settings, "8bit", (28, 28, 1))


def test_shipped_weights_are_those_of_the_run(made):
    run, found = rnnae.load(made / "classifier"), weights.load(made / "tiny4")
    images = np.random.default_rng(0).integers(0, 256, (5, 8, 8, 1)).astype(np.uint8)
    ours = features.Features("run", weights.Weights(run.model, run.params, run.config, run.step))
    assert (features.Features("tiny4", found)(images) == ours(images)).all()
    assert found.step == run.step and found.config.model == run.config.model
    for path in (made / "tiny4").iterdir():
        assert str(made).encode() not in path.read_bytes()
    card = (made / "tiny4" / "README.md").read_text()
    records = (made / "classifier" / "metrics.jsonl").read_text().splitlines()
    accuracy = json.loads(records[-1])["test/accuracy"]
    assert f"| accuracy | {accuracy:.5g} |" in card and "classes: above, below" in card
    assert "--config configs/mnist_features.py" in card and "--config.model.width=6" in card
    assert f"{weights.CARD}" in (made / "tiny4" / "SHA256SUMS").read_text()


def test_a_run_that_was_not_tested_has_no_card(made, tmp_path):
    shutil.copytree(made / "classifier", tmp_path / "run")
    (tmp_path / "run" / "metrics.jsonl").write_text("")
    (tmp_path / "run" / "evaluation.json").unlink(missing_ok=True)
    with pytest.raises(CheckpointError, match="no test metrics"):
        ship.ship(tmp_path / "run", "x", tmp_path / "out")

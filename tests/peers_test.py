"""Models of other libraries: their data, their budget, and their rows in a report."""

import csv
import json
import sys
import types

import jax
import numpy as np
import pytest

from experiments import peer_rows, peers, report, run, tables
from experiments.peer_models import Peer
from rnnae import build
from rnnae.data import binarisation
from rnnae.errors import NonFiniteError
from rnnae.evaluation.evaluate import Evaluator
from tests import tiny
from tests.fake_tables import execute

RECORD = {
    "label": "VAE (a library)",
    "metrics": {"test/nll_dynamic": 85.5, "test/nll_dynamic_se": 0.25, "test/kl": 7.0},
    "parameters": 4321,
    "budget_minutes": 10.0,
    "seconds": 600.5,
    "steps": 1200,
    "batch_size": 100,
    "images_per_second": 199.8,
    "train_images": 60000,
    "test_images": 10000,
    "binarisation_seed": 0,
    "packages": {"alib": "1.2"},
    "environment": {
        "date": "2026-01-02T03:04:05+00:00",
        "commit": "abc",
        "devices": "1 x cpu",
        "machine": "A & B_1",
        "cores": 3,
    },
}


@pytest.fixture
def images():
    """100 grey images, uint8."""
    return np.random.default_rng(0).integers(0, 256, (100, 28, 28, 1)).astype(np.uint8)


def one_step(images, batch_size=10):
    """A peer that keeps its images, and whose score is their mean; and these images."""
    seen = []

    def scores(x_BHWC):
        return {"bound": x_BHWC.mean(axis=(1, 2, 3)), "kl": np.ones(len(x_BHWC))}

    return Peer(batch_size, 1, seen.append, scores), seen


def ticks(seconds):
    """A clock that is `seconds` later at each look."""
    now = -seconds

    def clock():
        nonlocal now
        now += seconds
        return now

    return clock


def write(directory, **records):
    directory.mkdir(parents=True, exist_ok=True)
    (directory / peer_rows.FILE).write_text(json.dumps(records))


def test_a_model_of_another_library_is_a_row_below_the_rule(plant, tmp_path, capsys):
    literature = {"an old one": ({"KL": "95.00"}, "Author 2000")}
    argv = plant(SEEDS=(0,), CPU_PEERS=("vae", "made"), LITERATURE=literature)
    argv += ["--size", "cpu"]
    assert run.main(argv) == 0
    assert report.main([*argv, "--out", str(tmp_path / "without")]) == 0
    write(tmp_path / "out" / "records", vae=RECORD, unnamed=RECORD | {"label": "another"})
    capsys.readouterr()
    assert report.main([*argv, "--out", str(tmp_path / "out")]) == 0

    lines = (tmp_path / "out" / "widths.md").read_text().splitlines()
    before = (tmp_path / "without" / "widths.md").read_text().splitlines()
    index = next(i for i, line in enumerate(lines) if "measured here" in line)
    assert "Wide, very" in lines[index - 2] and "an old one" in lines[index + 1]
    assert set(lines[index - 1]) == {"|", " "}  # the rule
    headings, row = ([cell.strip() for cell in lines[i].split("|")[1:-1]] for i in (2, index))
    assert dict(zip(headings, row, strict=True)) == {
        "": "VAE (a library), measured here",
        "parameters": "4,321",
        "train MFLOP/image": "",
        "images/s": "200",
        "minutes": "10.0",
        "seeds": "1",
        "NLL": "85.50 ± 0.25*",
        "KL": "7.00",
    }
    # All else is as in a report without it, but for the paragraph that says how it was measured.
    note = next(line for line in lines if line.startswith("- **Measured here**"))
    assert (
        "10 minutes of CPU time each (cores: 3)" in note
        and "2 epochs" in note
        and "alib 1.2" in note
        and "abc" in note
    )
    assert "Not run: made." in note
    rest = [line for i, line in enumerate(lines) if i not in (index - 1, index)]
    rest.remove(note)
    assert [line for line in rest if line] == [line for line in before if line]

    tex = (tmp_path / "out" / "widths.tex").read_text()
    own, measured, published = tex.split(r"\midrule")[1:]
    assert "Wide, very" in own and "VAE (a library)" in measured and "an old one" in published
    rows = list(csv.DictReader((tmp_path / "out" / "widths.csv").read_text().splitlines()))
    assert rows[-1]["row"] == "VAE (a library), measured here"
    assert (rows[-1]["parameters"], rows[-1]["training_flop_per_image"]) == ("4321", "")
    assert (rows[-1]["seconds"], rows[-1]["test/nll_dynamic"]) == ("600.5", "85.5")


def test_only_a_report_of_the_small_size_shows_them(plant, tmp_path):
    argv = plant(SEEDS=(0,), CPU_PEERS=("vae",))
    assert run.main(argv) == 0
    write(tmp_path / "records", vae=RECORD)
    assert report.main([*argv, "--out", str(tmp_path)]) == 0
    assert "measured here" not in (tmp_path / "widths-full.md").read_text()


def test_a_damaged_record_is_one_line(plant, tmp_path, capsys):
    argv = plant(SEEDS=(0,), CPU_PEERS=("vae",))
    argv += ["--size", "cpu"]
    assert run.main(argv) == 0
    for wrong in ([1], {"label": "no more"}):
        write(tmp_path / "records", vae=wrong)
        assert execute(report, [*argv, "--out", str(tmp_path)]) == 2
        assert "peers.json is damaged" in capsys.readouterr().err


def test_the_tables_name_models_that_exist():
    named = [name for name in tables.TABLES for name in tables.load(name, "cpu").peers]
    assert named and set(named) <= set(peers.PEERS)


def test_what_is_tested_is_what_an_evaluation_of_rnnae_sees(images, monkeypatch):
    seen = []

    class Seen(Exception):
        pass

    def scores(self, params, held_out, *_, **__):
        seen.append(held_out)
        raise Seen

    monkeypatch.setattr(Evaluator, "scores", scores)
    config = tiny.config("sequence", (28, 28, 1), likelihood__name="bernoulli")
    config.data.binarise, config.eval.seeds = "dynamic", (0, 1, 2)
    evaluator = Evaluator(build.build_model(config), jax.devices()[:1], config)
    with pytest.raises(Seen):
        evaluator({}, images, full=True)
    x_NHWC = peers.test_images(images)
    np.testing.assert_array_equal(x_NHWC, np.asarray(binarisation.to_unit(seen[0])))
    assert x_NHWC.dtype == np.float32 and set(np.unique(x_NHWC)) == {0, 1}


def test_training_ends_with_its_budget(images):
    peer, seen = one_step(images)
    assert peers.train(peer, images, 10.0, ticks(3.0)) == (4, 12.0)
    assert len(seen) == 4
    assert peers.train(peer, images, 10.0, ticks(11.0)) == (1, 11.0)  # one step at least


def test_pixels_are_drawn_anew_at_every_visit(images):
    images[:, 0, 0, 0] = np.arange(100) % 2 * 255  # these two pixels tell an image
    peer, seen = one_step(images, batch_size=100)
    peers.train(peer, images, 50.0, ticks(1.0))
    x_TBHWC = np.stack(seen)
    assert x_TBHWC.dtype == np.float32 and set(np.unique(x_TBHWC)) == {0, 1}
    assert not np.array_equal(x_TBHWC[0], x_TBHWC[1])
    assert (x_TBHWC[:, :, 0, 0, 0].sum(axis=1) == 50).all()  # every epoch has all images
    assert abs(x_TBHWC.mean() - images.mean() / 255) < 1e-3


def test_metrics_have_the_names_of_rnnae_and_errors_over_images():
    peer, _ = one_step(None)
    x_NHWC = np.random.default_rng(0).random((1234, 2, 2, 1)).astype(np.float32)
    metrics = peers.evaluate(peer, x_NHWC)
    value_N = x_NHWC.mean(axis=(1, 2, 3))
    assert metrics == pytest.approx(
        {
            "test/bound_dynamic": value_N.mean(),
            "test/bound_dynamic_se": value_N.std(ddof=1) / np.sqrt(1234),
            "test/kl": 1.0,
        }
    )
    with pytest.raises(NonFiniteError):
        peers.evaluate(peer, np.full((3, 2, 2, 1), np.nan))


@pytest.mark.parametrize("name", peers.PEERS)
def test_a_library_that_is_not_installed_is_one_line(name, monkeypatch, tmp_path, capsys):
    *others, missing = peers.PEERS[name].packages
    monkeypatch.setitem(sys.modules, missing, None)
    for package in others:
        monkeypatch.setitem(sys.modules, package, types.ModuleType(package))
    argv = [name, "--out", str(tmp_path)]
    assert execute(peers, argv) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and f"{missing} is not installed" in error and "`bench`" in error
    assert ("clone" in error) == (missing == "pytorch_generative")
    assert not list(tmp_path.iterdir())


def test_a_wrong_flag_exits_with_2(tmp_path):
    for wrong in (["nobody"], ["--minutes", "0"], ["--minutes", "nan"], ["--minutes", "x"]):
        with pytest.raises(SystemExit, match="2"):
            peers.main([*wrong, "--out", str(tmp_path)])


def test_a_record_is_written_and_shown_and_others_are_kept(
    plant, images, monkeypatch, tmp_path, capsys
):
    loaded = (images, peers.test_images(images))
    monkeypatch.setattr(peers, "load_images", lambda *_: loaded)
    write(tmp_path, **{"pythae-vae": RECORD})
    assert peers.main(["flax-vae", "--minutes", "0.001", "--out", str(tmp_path)]) == 0
    records = peer_rows.read(tmp_path)
    assert list(records) == ["flax-vae", "pythae-vae"] and records["pythae-vae"] == RECORD
    plant(CPU_PEERS=tuple(records), METRICS={"bound": "test/bound_dynamic"})
    rows = peer_rows.load(tables.load("widths", "cpu"), tmp_path)
    assert [row.model_size["parameters"] for row in rows.results] == [815_824, 4321]
    assert "flax 0." in rows.notes[0][1]


@pytest.mark.parametrize(
    "name", [name if name == "flax-vae" else tiny.slow(name) for name in peers.PEERS]
)
def test_a_model_of_another_library_learns(name, images):
    """A few images by heart; each has its own value."""
    for package in peers.PEERS[name].packages:
        pytest.importorskip(package, reason="needs the extra `bench`")
    peer = peers.load(peers.PEERS[name])(0)
    x_BHWC = np.repeat(peers.test_images(images[:8]), 2, axis=0)
    before = peer.scores(x_BHWC)
    for _ in range(20):
        peer.train_step(x_BHWC)
    after = peer.scores(x_BHWC)
    kind = "nll" if "nll" in after else "bound"
    assert set(after) == ({"nll"} if kind == "nll" else {"bound", "kl"})
    assert after[kind].shape == (16,) and after[kind].mean() < 0.98 * before[kind].mean()
    if kind == "nll":  # exact: the same image has the same value
        np.testing.assert_allclose(after["nll"][::2], after["nll"][1::2], rtol=1e-5)
    else:
        assert (after["kl"] > 0).all() and (after["bound"] > after["kl"]).all()
    assert np.ptp(after[kind][::2]) > 0

"""Mirrors of a run in experiment trackers: nothing is sent twice, and the run knows nothing."""

import json
import shutil
import sys
import types

import pytest

from experiments import mirror
from rnnae import files
from rnnae.config import default, saved_config
from rnnae.errors import ConfigError
from rnnae.records.writer import Writer
from tests.fake_tables import execute


@pytest.fixture
def run(tmp_path):
    writer = Writer(tmp_path / "run", resume_step=None, tensorboard=False)
    writer.write_config(default("mlp").to_dict())
    with writer:
        for step in (1, 2, 3):
            writer.write_metrics(step, step / 10, {"train/loss": 1.0 / step})
    return tmp_path / "run"


class Fake:
    """A module with the calls of wandb, trackio and mlflow that a mirror makes."""

    def __init__(self):
        self.logged, self.runs, self.ended = [], [], 0
        self.module = types.SimpleNamespace(
            init=self.init,
            log=lambda values, step: self.logged.append((step, values)),
            finish=self.end,
            set_experiment=lambda name: None,
            search_runs=self.search,
            start_run=lambda run_id=None, run_name=None: self.runs.append(run_id or run_name),
            log_params=lambda params: self.runs.append(params["model.name"]),
            log_metrics=lambda values, step: self.logged.append((step, values)),
            end_run=self.end,
        )

    def init(self, project, name, config, **options):
        self.runs.append(name)
        return self.module

    def search(self, **options):
        found = types.SimpleNamespace(info=types.SimpleNamespace(run_id="old"))
        return [found] if self.runs else []

    def end(self):
        self.ended += 1


@pytest.mark.parametrize("name", mirror.TRACKERS)
def test_each_record_is_sent_once(name, run, monkeypatch):
    fake = Fake()
    monkeypatch.setitem(sys.modules, name, fake.module)
    before = sorted((path.name, path.read_bytes()) for path in run.iterdir())
    assert mirror.mirror(run, name) == 3
    assert [step for step, _ in fake.logged] == [1, 2, 3] and fake.ended == 1
    assert fake.logged[2][1] == {"epoch": 0.3, "train/loss": 1 / 3}
    assert mirror.mirror(run, name) == 0 and fake.ended == 1
    with Writer(run, resume_step=3, tensorboard=False) as writer:
        writer.write_metrics(4, 0.4, {"test/loss": 0.2})
    assert mirror.mirror(run, name) == 1 and fake.logged[-1][0] == 4
    assert fake.runs[-1] == ("old" if name == "mlflow" else "run")
    (run / f"mirror_{name}.json").unlink()
    after = {path.name: path.read_bytes() for path in run.iterdir()}
    assert {name: after[name] for name, _ in before if name != files.METRICS} == {
        name: content for name, content in before if name != files.METRICS
    }


def test_seeds_have_names_of_their_own_and_a_damaged_state_is_refused(run, monkeypatch):
    fake = Fake()
    monkeypatch.setitem(sys.modules, "trackio", fake.module)
    shutil.copytree(run, run / "seed3")
    assert mirror.mirror(run / "seed3", "trackio") == 3 and fake.runs == ["run-seed3"]
    (run / "mirror_wandb.json").write_text("{}")
    with pytest.raises(ConfigError, match="mirror_wandb.json is damaged"):
        mirror.mirror(run, "wandb")


def test_a_run_is_followed_to_its_end(run, monkeypatch):
    """Also one that was tested, after the step 4, and is trained further."""
    fake, waits = Fake(), []
    monkeypatch.setitem(sys.modules, "wandb", fake.module)

    def train_on(seconds):
        waits.append(seconds)
        step = 3 + len(waits)
        with Writer(run, resume_step=step - 1, tensorboard=False) as writer:
            name = "train/loss" if step == 5 else "test/loss"
            writer.write_metrics(step, step / 10, {name: 0.2})

    assert mirror.mirror(run, "wandb", follow=True, wait=train_on) == 4 and len(waits) == 1
    train_on(0.0)
    assert mirror.mirror(run, "wandb", follow=True, wait=train_on) == 2 and len(waits) == 3


def test_a_tracker_that_fails_in_the_middle_is_continued(run, monkeypatch, capsys):
    fake = Fake()
    monkeypatch.setitem(sys.modules, "wandb", fake.module)

    def fails(values, step):
        if step == 2:
            raise ConnectionError("no network")
        fake.logged.append((step, values))

    whole, fake.module.log = fake.module.log, fails
    assert execute(mirror, [str(run), "--to", "wandb"]) == 7
    error = "experiments.mirror: wandb failed: no network; call again to go on\n"
    assert capsys.readouterr().err == error
    fake.module.log = whole
    assert mirror.mirror(run, "wandb") == 2
    assert [step for step, _ in fake.logged] == [1, 2, 3]


def test_a_file_that_cannot_be_written_is_named(run, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "wandb", Fake().module)

    def full(path, text):
        raise OSError(28, "No space left on device", str(path))

    monkeypatch.setattr(files, "replace_text", full)
    assert execute(mirror, [str(run), "--to", "wandb"]) == 7
    state = run / "mirror_wandb.json"
    error = f"experiments.mirror: No space left on device: {state}\n"
    assert capsys.readouterr().err == error


def test_a_tracker_that_is_not_installed_and_no_run(run, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "trackio", None)
    with pytest.raises(ConfigError, match="pip install trackio"):
        mirror.mirror(run, "trackio")
    monkeypatch.delitem(sys.modules, "trackio")
    (tmp_path / "trackio.py").write_text("raise ImportError('no libx.so')")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ConfigError, match=r"trackio cannot be imported \(no libx.so\): pip"):
        mirror.mirror(run, "trackio")
    with pytest.raises(Exception, match="has no run"):
        mirror.mirror(tmp_path / "none", "trackio")
    assert json.loads(saved_config.find(run).read_text())["model"]["name"] == "mlp"

"""Flags: what is wrong is said in one line, with the nearest name, and exit code 2."""

import os
import runpy
import subprocess
import sys
import time
from pathlib import Path

import jax
import pytest

from rnnae import main, state
from rnnae.config import changes, check, default, resolved
from rnnae.errors import (
    CheckpointError,
    ConfigError,
    DataError,
    NonFiniteError,
    ProcessError,
    Stopped,
)
from rnnae.evaluation import trained_run

ROOT = Path(__file__).parents[1]


def run(*flags):
    done = subprocess.run(
        [sys.executable, "-m", "rnnae.main", *flags],
        cwd=ROOT,
        env=os.environ | {"JAX_PLATFORMS": "cpu"},
        capture_output=True,
        text=True,
    )
    return done.returncode, done.stdout, done.stderr


MNIST = "--config=configs/mnist.py"


@pytest.mark.parametrize(
    "flags, words",
    [
        (("--config=configs/mnits.py",), "did you mean configs/mnist.py"),
        ((MNIST, "--config.model.widht=3"), "width"),
        ((MNIST, "--config.mdel.width=3"), "model"),
        ((MNIST, "--config.model.width=wide"), "--config.model.width=wide"),
        ((MNIST, "--config.data.batch_size=0"), "config.data.batch_size must be positive"),
        ((MNIST, "--config.train.epochs=0"), "config.train.epochs"),
        ((MNIST, "--config.optim.schedule=warm_cosine"), "did you mean 'warmup_cosine'"),
        ((MNIST, "--config.optim.precision=bf16"), "one of float32, bfloat16"),
        ((MNIST, "--config.model.name=draw"), "a draw model has no autoregressive, connections"),
        ((MNIST, '--config.eval.seeds=("a",)'), "config.eval.seeds must be one or more numbers"),
        ((MNIST, "--config.eval.seeds=(1.5,)"), "config.eval.seeds must be one or more numbers"),
        ((MNIST, "--mode=sampel"), "train|evaluate|sample"),
        ((MNIST, "--wrkdir=x"), "did you mean --workdir"),
        ((MNIST, "epochs=3"), "what is 'epochs=3'"),
        ((MNIST, "--seeds=0,0"), "--seeds=0,0: different numbers"),
        ((MNIST, "--seeds=0,one"), "--seeds=0,one: different numbers"),
        ((MNIST, "--seeds=0,1", "--mode=evaluate"), "--seeds is for training"),
        ((), "--config is needed"),
    ],
    ids=str,
)
def test_a_wrong_flag_is_one_line_and_exit_2(flags, words):
    begin = time.monotonic()
    code, out, err = run(*flags)
    assert time.monotonic() - begin < 5
    assert code == 2 and out == ""
    assert err.startswith("rnnae: ") and err.count("\n") == 1
    assert words in err


@pytest.mark.parametrize(
    "text, words",
    [("x = 1", "get_config"), ("def get_config():\n    return {}['key']", "KeyError: key")],
)
def test_a_config_file_that_gives_no_config_is_named(text, words, tmp_path):
    file = tmp_path / "own.py"
    file.write_text(text)
    code, _, err = run(f"--config={file}")
    assert code == 2 and f"{file} and the flags" in err and words in err and err.count("\n") == 1


def test_no_run_is_one_line_and_exit_3(tmp_path):
    for flags in [("--mode=sample",), ("--mode=evaluate", MNIST)]:
        code, _, err = run(*flags, f"--workdir={tmp_path / 'none'}")
        assert code == 3 and err.count("\n") == 1 and "has no run (no config.json): train" in err
    (tmp_path / "seed1").mkdir()
    (tmp_path / "seed1" / "config.json").write_text("{}")
    code, _, err = run("--mode=evaluate", f"--workdir={tmp_path}")
    assert code == 3 and f"there are {tmp_path / 'seed1'}" in err


def test_choices_of_other_modules_are_told_too(tmp_path):
    code, _, err = run(
        MNIST, "--config.data.name=mnsit", f"--workdir={tmp_path}", "--config.train.epochs=1"
    )
    assert code == 2 and "did you mean mnist" in err and err.count("\n") == 1


def test_help():
    code, out, _ = run("--help")
    assert code == 0 and "--mode train|evaluate|sample" in out and "143" in out


@pytest.mark.parametrize("file", sorted((ROOT / "configs").glob("*.py")), ids=lambda p: p.stem)
def test_every_config_file_is_legal(file):
    config = runpy.run_path(str(file))["get_config"]()
    check(config)
    assert config.is_locked
    shape = (32, 32, 3) if config.data.name == "cifar10" else (28, 28, 1)
    model, optimizer, _ = trained_run.build(resolved(config, shape), 1)
    jax.eval_shape(lambda: state.create(model, optimizer, shape, 0))  # a model checks itself late


@pytest.mark.parametrize(
    "error, code",
    [
        (ConfigError("why"), 2),
        (CheckpointError("why"), 3),
        (NonFiniteError("why"), 4),
        (DataError("why"), 5),
        (ProcessError("why"), 6),
        (OSError(28, "why"), 7),
        (KeyboardInterrupt(), 130),
        (Stopped("why", 143), 143),
    ],
    ids=lambda x: type(x).__name__ if isinstance(x, BaseException) else str(x),
)
def test_every_error_has_its_exit_code_and_one_line(error, code, monkeypatch, capsys):
    def fails(*_):
        raise error

    monkeypatch.setattr(main, "parse", lambda argv: ("train", None, None))
    monkeypatch.setattr(main, "run", fails)
    assert main.main([]) == code and str(code) in main.__doc__.split()
    said = capsys.readouterr().err
    assert said.startswith("rnnae: ") and said.count("\n") == 1


@pytest.mark.parametrize(
    "key, value",
    [
        ("train.steps_per_call", 0),
        ("optim.ema", 1.0),
        ("optim.learning_rate", -1.0),
        ("optim.learning_rate", float("inf")),
        ("objective.beta", float("inf")),
        ("eval.checkpoint", "newest"),
        ("data.binarise", "static"),
        ("model.width", 0),
        ("devices", -1),
        ("seed", -1),
        ("seed", 2**31),
        ("eval.seeds", ()),
        ("eval.seeds", (0, 2**32)),
        ("eval.splits", ("train",)),
        ("eval.importance_samples", -1),
        ("latent.size", 0),
        ("likelihood.sigma", 0.0),
        ("objective.free_bits", -0.1),
    ],
)
def test_impossible_values(key, value):
    config = default()
    config.update_from_flattened_dict({key: value})
    with pytest.raises(ConfigError, match=f"config.{key} must be"):
        check(config)


@pytest.mark.parametrize("model, key", [("draw", "read_size"), ("sweep", "segment")])
def test_impossible_values_of_a_model(model, key):
    config = default(model)
    config.model[key] = -1
    with pytest.raises(ConfigError, match=f"config.model.{key} must be 0 or more, not -1"):
        check(config)


def test_a_file_in_the_way_is_one_line(tmp_path):
    file = tmp_path / "file"
    file.write_text("")
    code, _, err = run(MNIST, f"--workdir={file}")
    assert code == 2 and err == f"rnnae: --workdir={file} is a file, not a directory\n"
    code, _, err = run(MNIST, f"--workdir={tmp_path / 'run'}", f"--config.data.data_dir={file}/in")
    assert code == 7 and err.startswith("rnnae: Not a directory: ") and err.count("\n") == 1


def test_changes_name_what_makes_another_run():
    old = resolved(default(), (28, 28, 1))
    new = resolved(default(), (28, 28, 1))
    new.train.epochs, new.data.data_dir, new.eval.seeds = 7, "elsewhere", (3,)
    assert changes(old.to_dict(), new.to_dict()) == []
    new.model.width, new.seed = 5, 1
    assert [key for key, *_ in changes(old.to_dict(), new.to_dict())] == ["model.width", "seed"]
    assert "model.widths" in [k for k, *_ in changes(old.to_dict(), default("mlp").to_dict())]


def test_what_an_older_run_does_not_know_was_at_its_default():
    old, new = default().to_dict(), resolved(default(), (0, 0, 0), "some images")
    del old["data"]["fingerprint"], old["optim"]["precision"]
    assert changes(old, new.to_dict()) == []
    new.optim.precision = "bfloat16"
    assert changes(old, new.to_dict()) == [("optim.precision", "float32", "bfloat16")]

"""Flags: a wrong one gives one line with the closest name, and exit code 2."""

import os
import runpy
import subprocess
import sys
import time
from pathlib import Path

import jax
import pytest

import rnnae
from rnnae import build, flags, main, state
from rnnae.config import check, default, resolved
from rnnae.config.saved_config import RENAMED
from rnnae.errors import (
    CheckpointError,
    ConfigError,
    DataError,
    NonFiniteError,
    ProcessError,
    Stopped,
)
from tests import runs

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
        (
            (MNIST, "--config.model.segment=3"),
            "'segment'; config.model has it if the model is sweep",
        ),
        ((MNIST, "--join_seconds=nan"), "--join_seconds=nan must be finite"),
        ((MNIST, "--config.mdel.width=3"), "model"),
        ((MNIST, "--config.model.width=wide"), "--config.model.width=wide"),
        ((MNIST, "--config.data.batch_size=0"), "config.data.batch_size must be positive"),
        ((MNIST, "--config.train.epochs=0"), "config.train.epochs"),
        ((MNIST, "--config.optim.schedule=warm_cosine"), "did you mean 'warmup_cosine'"),
        ((MNIST, "--config.optim.matmul_precision=bf16"), "one of float32, bfloat16"),
        ((MNIST, "--config.model.name=draw"), "model draw has no autoregressive"),
        ((MNIST, '--config.eval.seeds=("a",)'), "config.eval.seeds must be one or more integers"),
        ((MNIST, "--config.eval.seeds=(1.5,)"), "config.eval.seeds must be one or more integers"),
        ((MNIST, "--mode=sampel"), "did you mean 'sample'?"),
        (("--mode=sampel",), "--mode must be one of train, evaluate, sample, complete"),
        ((MNIST, "--mode=describe", "--init_from=x"), "--init_from is for --mode train"),
        ((MNIST, "--wrkdir=x"), "did you mean --workdir"),
        ((MNIST, "epochs=3"), "unexpected argument 'epochs=3'"),
        ((MNIST, "--seeds=0,0"), "--seeds=0,0 must be different integers"),
        ((MNIST, "--seeds=0,one"), "--seeds=0,one must be different integers"),
        ((MNIST, "--seeds=0,1", "--mode=evaluate"), "--seeds is for --mode train"),
        ((), "--config is needed"),
        (("--mode=sample",), "--mode sample needs --workdir, the directory of a run, or --weights"),
        (("--mode=debug",), "--mode debug needs --workdir, the directory of a run\n"),
        (("--mode=describe",), "a run, or --weights, or --config"),
        (("--mode=describe", MNIST, "--weights=rows64"), "is of one model: leave out --config="),
        ((MNIST, "--config", "smoke"), "--config is given 2 times"),
        (("--mode=sample", "--workdir=x", "--workdir=y"), "--workdir is given 2 times"),
        ((MNIST, "--together"), "--together is for training with several --seeds"),
        ((MNIST, "--notogether"), "--together is for training with several --seeds"),
        ((MNIST, "--weights=rows64"), "--weights is for --mode evaluate, sample, complete, encode"),
        (("--mode=sample", "--weights=rows46"), "; did you mean rows64?"),
        ((MNIST, "--label=7"), "--label is for --mode sample, complete"),
        (("--mode=complete", "--weights=rows64"), "needs --image and --mask, two image files"),
        (("--mode=sample", "--weights=rows64", "--mask=x.png"), "--mask is for --mode complete"),
        (
            ("--mode=complete", "--weights=rows64", "--guidance=1"),
            "--guidance is for --mode sample",
        ),
        ((MNIST, "--mode=evaluate", "--temperature=0.5"), "--temperature is for --mode sample"),
        ((MNIST, "--mode=sample", "--out=x.jpg"), "--out=x.jpg must end in .png or .npy"),
        ((MNIST, "--mode=sample", "--count=0"), "count"),
        (("--mode=export", "--weights=mnist"), "--mode export needs --out, a new directory"),
        (("--mode=report",), "--mode report needs --workdir"),
        (("--mode=report", "--workdir=x", MNIST), "--config is not for it"),
        (("--mode=report", "--workdir=x", "--config.seed=3"), "--config is not for it"),
        ((MNIST, "--config.data.label_dropout=1.5"), "must be from 0 to 1, not 1.5"),
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
def test_the_error_names_a_config_file_that_gives_no_config(text, words, tmp_path):
    file = tmp_path / "own.py"
    file.write_text(text)
    code, _, err = run(f"--config={file}")
    assert code == 2 and f"{file} and the flags" in err and words in err and err.count("\n") == 1


@pytest.mark.parametrize(
    "name, code, words", [("", 2, "a directory"), ("no/x.json", 7, "There is no such directory")]
)
def test_a_file_for_numbers_is_checked_before_the_evaluation(name, code, words, tmp_path):
    flags = (MNIST, "--mode=evaluate", f"--workdir={tmp_path}", f"--out={tmp_path / name}")
    exit_code, _, err = run(*flags)
    assert exit_code == code and words in err and err.count("\n") == 1


def test_no_run_is_one_line_and_exit_3(tmp_path):
    for wrong in [("--mode=sample",), ("--mode=report",), ("--mode=evaluate", MNIST)]:
        code, _, err = run(*wrong, f"--workdir={tmp_path / 'none'}")
        assert code == 3 and err.count("\n") == 1 and "has no run (no config.json): train" in err
    (tmp_path / "seed1").mkdir()
    (tmp_path / "seed1" / "config.json").write_text("{}")
    code, _, err = run("--mode=evaluate", f"--workdir={tmp_path}")
    assert code == 3 and f"there are runs in {tmp_path / 'seed1'}" in err


def test_an_unknown_choice_of_another_module_gets_a_hint(tmp_path):
    code, _, err = run(
        MNIST, "--config.data.name=mnsit", f"--workdir={tmp_path}", "--config.train.epochs=1"
    )
    assert code == 2 and "did you mean 'mnist'?" in err and err.count("\n") == 1


def test_help_is_quick_and_complete():
    for flag in ("--help", "--helpfull"):
        begin = time.monotonic()
        code, out, _ = run(flag)
        assert time.monotonic() - begin < 2 and code == 0
        for word in (
            "|complete|encode|export|describe|report",
            "--seeds",
            "--together",
            "143",
            "--config mnist ",
        ):
            assert word in out, word
        assert ("--config.latent.size=64" in out) == (flag == "--helpfull")
    program = "import sys; from rnnae.main import main; sys.argv[1:] = ['--helpfull']; main()"
    check_jax = f"try:\n    {program}\nexcept SystemExit:\n    print('jax' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", check_jax], cwd=ROOT, capture_output=True, text=True
    )
    assert done.stdout.endswith("False\n"), done.stderr


@pytest.mark.parametrize("key", sorted({old for _, old in RENAMED}))
def test_a_renamed_key_gives_an_error_with_its_new_name(key):
    with pytest.raises(ConfigError, match=f"--config.{key}; its name is now --config."):
        flags.parse(["rnnae", MNIST, f"--config.{key}=1"])


@pytest.mark.parametrize("file", sorted((ROOT / "configs").glob("*.py")), ids=lambda p: p.stem)
def test_every_config_file_is_legal(file):
    config = runpy.run_path(str(file))["get_config"]()
    check(config)
    assert config.is_locked
    shape = (32, 32, 3) if config.data.name == "cifar10" else (28, 28, 1)
    model = build.build_model(resolved(config, shape))
    optimizer, _ = build.build_optimizer(config, 1)
    jax.eval_shape(lambda: state.create(model, optimizer, shape, 0))  # models check their fields


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

    monkeypatch.setattr(flags, "parse", lambda *_: ("train", None, None))
    monkeypatch.setattr(main, "run", fails)
    assert main.main() == code and str(code) in main.__doc__.split()
    message = capsys.readouterr().err
    assert message.startswith("rnnae: ") and message.count("\n") == 1


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
        ("eval.splits", ("training",)),
        ("eval.importance_samples", -1),
        ("latent.size", 0),
        ("likelihood.sigma", 0.0),
        ("objective.free_bits", -0.1),
    ],
)
def test_impossible_values_are_refused(key, value):
    config = default()
    config.update_from_flattened_dict({key: value})
    with pytest.raises(ConfigError, match=f"config.{key} must be"):
        check(config)


@pytest.mark.parametrize(
    "model, key", [("draw", "read_size"), ("sweep", "segment"), ("sweep", "chain")]
)
def test_impossible_values_of_a_model_are_refused(model, key):
    config = default(model)
    config.model[key] = -1
    with pytest.raises(ConfigError, match=f"config.model.{key} must be 0 or more, not -1"):
        check(config)


@pytest.mark.parametrize("widths", [(0,), (8, -1)])
def test_layers_of_the_baseline_have_a_width(widths):
    config = default("mlp")
    config.model.widths = widths
    with pytest.raises(ConfigError, match="config.model.widths must be one or more positive"):
        check(config)


def test_a_config_from_python_is_checked_too(tmp_path):
    config = runs.config(tmp_path, train__steps_per_call=0)
    with pytest.raises(ConfigError, match="config.train.steps_per_call must be positive"):
        rnnae.train(config, tmp_path / "run")


def test_a_file_in_place_of_a_directory_is_one_line(tmp_path):
    file = tmp_path / "file"
    file.write_text("")
    code, _, err = run(MNIST, f"--workdir={file}")
    assert code == 2 and err == f"rnnae: --workdir={file} is a file, not a directory\n"
    code, _, err = run(MNIST, f"--workdir={tmp_path / 'run'}", f"--config.data.data_dir={file}/in")
    assert code == 7 and err.startswith("rnnae: Not a directory: ") and err.count("\n") == 1

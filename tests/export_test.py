"""Exported programs: without rnnae they compute the same bits; or nothing is written."""

import errno
import os
import shutil
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

from rnnae.data.binarisation import binarise_once
from rnnae.errors import CheckpointError, ConfigError
from rnnae.evaluation import export, loading
from rnnae.evaluation.trained_run import TrainedRun
from rnnae.records import weights
from tests import tiny
from tests.tiny import slow

ROOT = Path(__file__).parents[1]
SEED, COUNTS = 3, (1, 5)
CASES = {
    "mlp": ("mlp", {"latent__name": "gaussian", "likelihood__name": "bernoulli"}),
    "sweep": ("sweep", {"latent__name": "none", "classes": 3, "blocks": 1}),
    "sequence": ("sequence", {}),
    "told and drawing": (
        "sequence",
        {
            "autoregressive": True,
            "decoder_direction": "forward",
            "classes": 3,
            "likelihood__name": "logistic_mixture",
        },
    ),
    "sweep with a latent": ("sweep", {"chain": 4, "likelihood__name": "softmax"}),
    "draw": ("draw", {"learned_prior": True, "classes": 3, "data__binarise": "dynamic"}),
    "autoregressive": (
        "sequence",
        {
            "autoregressive": True,
            "decoder_direction": "forward",
            "latent__name": "autoregressive",
            "likelihood__name": "logistic_mixture",
        },
    ),
}
# Executes the code in README.md: five lines that load, a call a line, and how to draw latents.
PROGRAM = """
import sys
from pathlib import Path
import numpy as np

try:
    import rnnae
    sys.exit("rnnae is there")
except ImportError:
    pass
lines = Path("README.md").read_text().splitlines()
code = [line[4:] for line in lines if line.startswith("    ")]
calls = sorted(Path().glob("*.stablehlo"))
names, found = {}, {}
exec("\\n".join(code[:5]), names)
for given in map(Path, sys.argv[2:]):
    with np.load(given) as arrays:
        inputs = dict(arrays)
    for line in code[5 : 5 + len(calls)]:
        names |= inputs
        exec(line, names)
        result, function = line.split(" = ")
        found[f"{given.stem}/{function.split('(')[0]}"] = names[result]
if drawing := code[5 + len(calls) :]:
    exec("\\n".join(drawing), names)
    for key in ("chosen", "noise", "latents", "images"):
        found[f"drawn/{key}"] = names[key]
np.savez(sys.argv[1], **found)
"""


def saved(directory, case, mixture=False):
    """A tiny run, whose weights are in `directory`."""
    name, changes = CASES[case]
    config, (model, variables) = tiny.config(name, **changes), tiny.build(name, **changes)
    run = TrainedRun(model, jax.tree.map(np.asarray, variables["params"]), config, step=7)
    if mixture:
        run = run.with_mixture(images_of(run, 40), components=2)
    more = loading.mixture_files(run)
    weights.save(directory, run.params, config, "a card\n", step=run.step, more=more)
    return run


def images_of(run, count):
    shape = (count, *run.model.image_shape)
    images = np.random.default_rng(count).integers(0, 256, shape, np.uint8)
    return images if run.config.data.binarise == "none" else binarise_once(images, 0)


def inputs_of(run, count):
    latents = np.random.default_rng(0).normal(size=(count, run.model.latent_dimensions))
    return {
        "images": images_of(run, count),
        "latents": latents.astype(np.float32),
        "seed": np.int32(SEED),
        "index": np.arange(count),
        "label": np.arange(count) % 4 - 1,
    }


def results_without_rnnae(directory, run, tmp_path):
    """What the code in README.md gives, as `count/function`, and what it draws from a mixture."""
    blocked = tmp_path / "blocked"
    blocked.mkdir()
    (blocked / "rnnae.py").write_text("raise ImportError\n")
    others = [p for p in sys.path if p and Path(p).resolve() != ROOT]
    for count in COUNTS:
        np.savez(tmp_path / f"{count}.npz", **inputs_of(run, count))
    given = [tmp_path / f"{count}.npz" for count in COUNTS]
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, tmp_path / "found.npz", *given],
        cwd=directory,
        env=os.environ | {"PYTHONPATH": os.pathsep.join([str(blocked), *others])},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    with np.load(tmp_path / "found.npz") as arrays:
        return dict(arrays)


# The command exports what comes with rnnae, and a sequence model stands for the others.
OTHERS = [pytest.param(case, marks=pytest.mark.exhaustive) for case in [*CASES][3:]]


@pytest.mark.parametrize("case", ["mlp", slow("sweep"), slow("sequence"), *OTHERS])
def test_without_rnnae_the_programs_compute_the_same_bits(case, tmp_path):
    run = saved(tmp_path / "saved", case, mixture=case == "sequence")
    model, params = run.model, weights.by_name(run.params)
    out = export.export(run.config, tmp_path / "none", tmp_path / "out", tmp_path / "saved")
    found = results_without_rnnae(out, run, tmp_path)
    functions = export.functions(model)
    assert ("encode" in functions, "decode" in functions) == (bool(model.latent_dimensions),) * 2
    assert ("sample" in functions) == model.has_prior
    for count in COUNTS:
        inputs = inputs_of(run, count)
        label = inputs["label"] if model.classes else None
        # Those of the run are computed in a larger batch, so they may round differently.
        of_run = {"sample": run.sample(count, SEED, label=label)} if model.has_prior else {}
        if model.latent_dimensions:
            seed = 0 if model.has_mean else SEED
            of_run["decode"] = run.decode(inputs["latents"], seed, label=label)
            of_run["encode"] = run.encode(inputs["images"], label)
        for name, function in functions.items():
            values = {key: inputs[key] for key in function.arguments}
            ours = np.asarray(jax.jit(function.call)(params, **values))
            theirs = found.pop(f"{count}/{name}")
            assert (ours.dtype, ours.shape) == (theirs.dtype, theirs.shape)
            assert ours.tobytes() == theirs.tobytes()
            atol = 1e-5 if name == "encode" else 1
            np.testing.assert_allclose(
                theirs.astype(float), of_run[name].astype(float), rtol=1e-5, atol=atol
            )
    if case == "sequence":  # whose latents come from a mixture
        chosen, noise = found.pop("drawn/chosen"), found.pop("drawn/noise")[..., 0]
        offsets = np.einsum("nij,nj->ni", run.mixture.factors_MZZ[chosen], noise)
        latents = found.pop("drawn/latents")
        np.testing.assert_allclose(latents, run.mixture.means_MZ[chosen] + offsets, rtol=1e-6)
        drawn = run.decode(latents.astype(np.float32))
        assert np.abs(found.pop("drawn/images").astype(int) - drawn).max() <= 1
    assert not found


def test_the_code_that_draws_from_a_mixture_gives_decode_all_that_it_needs(tmp_path, monkeypatch):
    run = saved(tmp_path, "told and drawing", mixture=True)
    functions = export.functions(run.model)
    arguments = functions["decode"].arguments
    assert list(arguments) == ["latents", "seed", "label"]
    card = export._card("x", run, functions, dict.fromkeys(functions, ""))
    lines = [line[4:] for line in card.splitlines() if line.startswith("    ")]
    code = lines[next(i for i, line in enumerate(lines) if "mixture, generator" in line) - 1 :]
    given = {}

    def decode(params, *values):
        given.update(zip(arguments, values, strict=True))

    monkeypatch.chdir(tmp_path)
    exec("\n".join(code), {"decode": decode, "params": None})
    found = [(x.dtype, x.shape) for x in given.values()]
    size = run.model.latent_dimensions
    assert found == [(np.float32, (64, size)), (np.int32, ()), (np.int32, (64,))]


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    directory = tmp_path_factory.mktemp("exported")
    run = saved(directory / "saved", "sequence", mixture=True)
    run.encode(images_of(run, 1))  # what jax keeps of it must not come into the programs
    return run, export.export(run.config, "none", directory / "out", directory / "saved")


def test_an_export_is_a_directory_of_weights(exported, tmp_path):
    run, out = exported
    out = shutil.copytree(out, tmp_path / "copy")
    assert {path.name for path in out.iterdir()} == {
        *("model.safetensors", "config.json", "README.md", "SHA256SUMS", "mixture.npz"),
        *("encode.stablehlo", "decode.stablehlo"),
    }
    found = loading.load(out)
    assert found.step == run.step and found.model == run.model
    np.testing.assert_array_equal(found.sample_latents(3), run.sample_latents(3))
    with (out / "encode.stablehlo").open("r+b") as file:
        file.write(b"x")
    with pytest.raises(CheckpointError, match="encode.stablehlo is damaged"):
        loading.load(out)


def test_the_same_run_gives_the_same_programs_without_paths(exported, tmp_path):
    run, out = exported
    again = export.export(run.config, "none", tmp_path / "out", out.parent / "saved")
    program = (again / "decode.stablehlo").read_bytes()
    assert program == (out / "decode.stablehlo").read_bytes()
    assert str(ROOT).encode() not in program and b".py" not in program


def test_what_is_there_stays(exported, tmp_path):
    run, out = exported
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    (tmp_path / "file").touch()
    (tmp_path / "empty").mkdir()
    (tmp_path / "link").symlink_to("empty")
    for path in (out, tmp_path / "file", tmp_path / "link"):
        with pytest.raises(ConfigError, match="is there already: name a new directory"):
            export.export(run.config, "none", path, out.parent / "saved")
    assert before == {path.name: path.read_bytes() for path in out.iterdir()}
    assert sorted(os.listdir(out.parent)) == ["out", "saved"]
    export.export(run.config, "none", tmp_path / "empty", out.parent / "saved")
    assert sorted(os.listdir(tmp_path)) == ["empty", "file", "link"]
    assert (tmp_path / "empty" / "README.md").stat().st_size


def test_nothing_is_written_of_what_cannot_be_exported(exported, tmp_path, monkeypatch):
    run, out = exported
    source, path = out.parent / "saved", tmp_path / "parent" / "out"
    path.parent.mkdir()
    (tmp_path / "run").mkdir()
    shutil.copy(source / "config.json", tmp_path / "run")
    with pytest.raises(CheckpointError, match="has no 'latest' checkpoint: train it first"):
        export.export(run.config, tmp_path / "run", path)
    with pytest.raises(ConfigError, match="a classifier makes no images"):
        export.export(loading.load("rows64").config, "none", path, "rows64")
    for parent in ("none", "run/config.json"):
        with pytest.raises(OSError) as error:
            export.export(run.config, "none", tmp_path / parent / "out", source)
        assert error.value.filename == str(tmp_path / parent / "out")
    monkeypatch.setattr(weights, "save", _fails_on_a_full_disk)
    with pytest.raises(OSError, match="full") as error:
        export.export(run.config, "none", path, source)
    assert error.value.filename == str(path)
    monkeypatch.setitem(sys.modules, "flatbuffers", None)
    with pytest.raises(ConfigError, match=r'pip install "rnnae\[export\]"'):
        export.export(run.config, "none", path, source)
    assert not list(path.parent.iterdir())
    assert sorted(os.listdir(tmp_path)) == ["parent", "run"]


def _fails_on_a_full_disk(directory, *arguments, **options):
    (directory / "half").write_text("half")
    raise OSError(errno.ENOSPC, "full", str(directory / "model.safetensors"))


@pytest.mark.slow
def test_the_command_exports_weights_that_come_with_rnnae(tmp_path):
    for out, code in (("out", 0), ("out", 2), ("no/out", 7)):
        done = subprocess.run(
            [sys.executable, "-m", "rnnae", "--mode=export", "--weights=mnist_classes"]
            + [f"--out={tmp_path / out}"],
            cwd=ROOT,
            capture_output=True,
            text=True,
        )
        assert done.returncode == code and done.stderr.count("\n") == (code > 0)
    assert os.listdir(tmp_path) == ["out"]
    assert "There is no `encode` and no `decode`" in (tmp_path / "out" / "README.md").read_text()

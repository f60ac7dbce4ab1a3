"""The wheel has every file of the package and no other, and a description that an index accepts."""

import os
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

ROOT = Path(__file__).parents[1]
SOURCES = ("pyproject.toml", "README.md", "LICENSE", "rnnae", "configs")


def contents() -> set[str]:
    """The files that the wheel should have, but for those about the wheel itself."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    package = ROOT / "rnnae"
    found = set(package.rglob("*.py"))
    for pattern in project["package-data"]["rnnae"]:
        every = package.glob(f"{pattern}/*" if pattern.endswith("**") else pattern)
        found |= {path for path in every if path.is_file()}
    names = {str(path.relative_to(ROOT)) for path in found}
    return names | {f"rnnae/configs/{path.name}" for path in (ROOT / "configs").glob("*.py")}


def test_every_package_is_listed():
    listed = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
    found = {
        str(path.parent.relative_to(ROOT)).replace("/", ".")
        for path in (ROOT / "rnnae").rglob("__init__.py")
    }
    assert set(listed) == found | {"rnnae.configs"}


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """The directory of a wheel and a source distribution. Needs a package index, for setuptools."""
    copy = tmp_path_factory.mktemp("wheel") / "copy"
    copy.mkdir()
    for name in SOURCES:  # a build writes beside its sources
        if (ROOT / name).is_dir():
            ignored = shutil.ignore_patterns("__pycache__")
            shutil.copytree(ROOT / name, copy / name, ignore=ignored)
        else:
            shutil.copy(ROOT / name, copy / name)
    directory = copy.parent / "dist"
    command = [sys.executable, "-m", "build", "--outdir", str(directory), str(copy)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    return directory


@pytest.mark.slow
def test_the_wheel_has_every_file_and_no_other(built):
    (wheel,), (source,) = built.glob("*.whl"), built.glob("*.tar.gz")
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
        about = {name.partition("/")[2] for name in archive.namelist() if ".dist-info/" in name}
    assert names == contents()
    assert {"entry_points.txt", "METADATA", "licenses/LICENSE"} <= about
    assert wheel.stat().st_size < 40e6
    checked = [sys.executable, "-m", "twine", "check", "--strict", str(wheel), str(source)]
    done = subprocess.run(checked, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


CLOSED = """
import socket
class Closed(socket.socket):  # asyncio talks to itself by a pair of local sockets
    def __init__(self, family=socket.AF_INET, *args, **kwargs):
        if family in (-1, socket.AF_INET, socket.AF_INET6):
            raise AssertionError("a socket was opened")
        super().__init__(family, *args, **kwargs)
socket.socket = Closed
"""
TRAIN = "--config mnist --config.train.max_steps=4 --config.data.train_images=500"
COMMANDS = {  # what a user types, and what it leaves in an empty directory
    "--mode sample --weights mnist --count 4 --out new.png": "new.png",
    "--mode sample --weights mnist_classes --label 7 --count 4 --out sevens.npy": "sevens.npy",
    "--mode complete --weights mnist --image new.png --mask mask.png --out done.png": "done.png",
    "--mode describe --weights mnist_classes": "d/mnist",
    TRAIN: "runs/mnist/pictures/generated.png",
    "--mode report --workdir runs/mnist": "runs/mnist/report.html",
    "--mode encode --workdir runs/mnist --out codes.parquet": "codes.parquet",
    "--mode evaluate --weights rows64 --config.eval.splits=('test',)": "runs/weights_rows64",
}
WRONG = {  # a command, its exit code, and words of its one line
    "--mode sample --weights mnits --out x.png": (2, "did you mean mnist?"),
    "--mode sample --weights mnist_classes --label 10 --out x.png": (2, "10"),
    "--mode sample --weights mnist --out none/x.png": (7, "no such directory"),
    "--config mnits": (2, "did you mean mnist?"),
}


@pytest.mark.slow
def test_every_command_works_from_the_wheel_in_an_empty_directory_without_a_network(
    built, tmp_path
):
    (wheel,) = built.glob("*.whl")
    site, empty = tmp_path / "site", tmp_path / "empty"
    empty.mkdir()
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site)
    (site / "sitecustomize.py").write_text(CLOSED)
    environment = os.environ | {"PYTHONPATH": str(site), "XLA_FLAGS": ""}

    def run(flags):
        data = [] if "report" in flags else ["--config.data.data_dir=d"]
        done = subprocess.run(
            [sys.executable, "-m", "rnnae", *flags.split(), *data],
            cwd=empty,
            env=environment,
            capture_output=True,
            text=True,
        )
        return done.returncode, done.stderr

    mask = np.zeros((40, 40), np.uint8)
    for command, left in COMMANDS.items():
        if "mask.png" in command:
            with Image.open(empty / "new.png") as image:
                mask = np.zeros(image.size[::-1], np.uint8)
                mask[: len(mask) // 2] = 255
            Image.fromarray(mask).save(empty / "mask.png")
        code, err = run(command)
        assert code == 0 and (empty / left).exists(), (command, err)
    before = sorted(empty.rglob("*"))
    for command, (code, words) in WRONG.items():
        found, err = run(command)
        assert found == code and words in err and err.count("\n") == 1, (command, err)
    assert sorted(empty.rglob("*")) == before
    damaged = site / "rnnae" / "weights" / "mnist" / "model.safetensors"
    content = bytearray(damaged.read_bytes())
    content[len(content) // 2] ^= 1
    damaged.write_bytes(content)
    code, err = run("--mode sample --weights mnist --out x.png")
    assert code == 3 and "model.safetensors" in err and err.count("\n") == 1, err
    assert sorted(empty.rglob("*")) == before

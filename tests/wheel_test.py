"""The wheel has every file of the package and no other, and a description that an index accepts."""

import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

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


@pytest.mark.slow
def test_the_wheel_has_every_file_and_no_other(tmp_path):
    """Needs a package index, for setuptools."""
    copy = tmp_path / "copy"
    copy.mkdir()
    for name in SOURCES:  # a build writes beside its sources
        if (ROOT / name).is_dir():
            ignored = shutil.ignore_patterns("__pycache__")
            shutil.copytree(ROOT / name, copy / name, ignore=ignored)
        else:
            shutil.copy(ROOT / name, copy / name)
    built = [sys.executable, "-m", "build", "--outdir", str(tmp_path / "dist"), str(copy)]
    done = subprocess.run(built, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    wheel, source = sorted(
        (tmp_path / "dist").iterdir(), key=lambda path: path.suffix, reverse=True
    )
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
        about = {name.partition("/")[2] for name in archive.namelist() if ".dist-info/" in name}
    assert names == contents()
    assert {"entry_points.txt", "METADATA", "licenses/LICENSE"} <= about
    assert wheel.stat().st_size < 40e6
    checked = [sys.executable, "-m", "twine", "check", "--strict", str(wheel), str(source)]
    done = subprocess.run(checked, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr

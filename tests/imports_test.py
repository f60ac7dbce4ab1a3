"""The walls of the house: import order, who may import what, no long file, a light import."""

import ast
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
OWNERS = {"tensorflow_datasets": "datasets", "orbax": "checkpoint", "tensorboardX": "writer"}


def reading_order(root: Path) -> list[str]:
    """Module names from the docstring of rnnae/__init__.py."""
    docstring = ast.get_docstring(ast.parse((root / "rnnae" / "__init__.py").read_text()))
    return re.findall(r"^    (\w+)  +\S", docstring, flags=re.MULTILINE)


def imported(path: Path) -> set[str]:
    """Every dotted name that a file imports, anywhere in it."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def violations(root: Path) -> list[str]:
    order = reading_order(root)
    found = []
    for path in sorted((root / "rnnae").rglob("*.py")):
        parts = path.relative_to(root / "rnnae").with_suffix("").parts
        module = parts[0]
        if module == "__init__":
            continue
        if module not in order:
            found.append(f"{module} is not in the reading order of rnnae/__init__.py")
            continue
        for name in imported(path):
            top = name.split(".")[0]
            if top in ("configs", "experiments", "tests"):
                found.append(f"{module} imports {top}")
            if OWNERS.get(top, module) != module:
                found.append(f"{module} imports {top}: only {OWNERS[top]} may")
            if top == "rnnae":
                other = name.split(".")[1]
                inside = other == module and path.parent.name == module
                if other in order and order.index(other) >= order.index(module) and not inside:
                    found.append(f"{module} imports {other}, which is not above it")
        if module != "parallel" and re.search(r"\bpmap\(", path.read_text()):
            found.append(f"{module} calls pmap: only parallel may")
    for path in sorted((root / "configs").glob("*.py")):
        for name in imported(path):
            if name.startswith("rnnae") and not name.startswith("rnnae.config."):
                found.append(f"configs/{path.name} imports {name}")
    return found


def test_the_house_keeps_its_order():
    assert violations(ROOT) == []


def test_every_module_is_listed_once_and_exists():
    order = reading_order(ROOT)
    files = {p.stem for p in (ROOT / "rnnae").glob("*.py")} - {"__init__"}
    files |= {p.parent.name for p in (ROOT / "rnnae").glob("*/__init__.py")}
    assert len(order) == len(set(order)) and set(order) == files


@pytest.mark.parametrize(
    "file, line, words",
    [
        ("rnnae/cells/linear.py", "from rnnae import train", "cells imports train"),
        ("rnnae/data.py", "import tensorflow_datasets as tfds", "only datasets may"),
        ("rnnae/state.py", "import orbax.checkpoint", "only checkpoint may"),
        ("rnnae/train.py", "import configs.mnist", "train imports configs"),
        ("rnnae/models/mlp.py", "from rnnae.parallel import train_call", "models imports parallel"),
        ("rnnae/optim.py", "jax.pmap(len)", "optim calls pmap"),
        ("configs/mnist.py", "from rnnae.train import train", "configs/mnist.py imports"),
        ("rnnae/utils.py", "x = 1", "utils is not in the reading order"),
    ],
)
def test_a_planted_violation_is_caught(tmp_path, file, line, words):
    for folder in ("rnnae", "configs"):
        ignore = shutil.ignore_patterns("published_files", "__pycache__")
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=ignore)
    with (tmp_path / file).open("a") as stream:
        stream.write(f"\n{line}\n")
    assert any(words in violation for violation in violations(tmp_path))


def test_no_file_is_long():
    files = [p for f in ("rnnae", "configs", "tests") for p in (ROOT / f).rglob("*.py")]
    assert {p.name: n for p in files if (n := len(p.read_text().splitlines())) > 300} == {}


def test_import_is_light():
    program = (
        "import sys, rnnae, rnnae.train; "
        "print(sorted({'torch', 'tensorflow'} & {m.split('.')[0] for m in sys.modules}))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT)
    assert done.stdout.strip() == "[]", done.stderr
    begin = time.monotonic()
    subprocess.run([sys.executable, "-c", "import rnnae"], check=True, cwd=ROOT)
    assert time.monotonic() - begin < 3

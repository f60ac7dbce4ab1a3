"""Rules of the code: import order, who may import what, no long file, a light import."""

import ast
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
# Third-party package -> the only file that may import it.
OWNERS = {
    "tensorflow_datasets": "data/tfds_directory",
    "orbax": "records/checkpoint",
    "tensorboardX": "records/events",
}


def reading_order(root: Path) -> list[str]:
    """File names, as `nn/scans`, from the docstring of rnnae/__init__.py."""
    docstring = ast.get_docstring(ast.parse((root / "rnnae" / "__init__.py").read_text()))
    return re.findall(r"^    ([\w/]+)  +\S", docstring, flags=re.MULTILINE)


def files(root: Path) -> dict[str, Path]:
    """Name, as `nn/scans`, or `nn/cells` for the __init__ of a package -> file."""
    found = {}
    for path in sorted((root / "rnnae").rglob("*.py")):
        parts = path.relative_to(root / "rnnae").with_suffix("").parts
        found["/".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    del found[""]
    return found


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
    order, names = reading_order(root), files(root)
    position = {name: index for index, name in enumerate(order)}

    def position_of(name: str) -> float:
        """The position in the reading order. A package that is not listed itself comes after the
        last of its files."""
        inside = [i for other, i in position.items() if other.startswith(f"{name}/")]
        return position.get(name, max(inside, default=-1) + 0.5)

    def resolve(dotted: str) -> str | None:
        """rnnae.nn.scans.linear -> nn/scans"""
        parts = dotted.split(".")[1:]
        candidates = ("/".join(parts[:n]) for n in range(len(parts), 0, -1))
        return next((name for name in candidates if name in names), None)

    found = []
    for name, path in names.items():
        if name not in position and path.stem != "__init__":
            found.append(f"{name} is not in the reading order of rnnae/__init__.py")
            continue
        for dotted in imported(path):
            top = dotted.split(".")[0]
            if top in ("configs", "experiments", "tests"):
                found.append(f"{name} imports {top}")
            if OWNERS.get(top, name) != name:
                found.append(f"{name} imports {top}: only {OWNERS[top]} may")
            other = resolve(dotted) if top == "rnnae" else None
            if other and other != name and position_of(other) >= position_of(name):
                found.append(f"{name} imports {other}, which is not above it")
        text = path.read_text()
        if name != "devices/parallel" and re.search(r"\bpmap\(", text):
            found.append(f"{name} calls pmap: only devices/parallel may")
        if re.search(r"jax\._src|intercept_methods", text):
            found.append(f"{name} uses a private part of jax, or intercepts methods")
    for path in sorted((root / "configs").glob("*.py")):
        for dotted in imported(path):
            if dotted.startswith("rnnae") and not dotted.startswith("rnnae.config."):
                found.append(f"configs/{path.name} imports {dotted}")
    return found


def test_every_file_imports_only_files_above_it():
    assert violations(ROOT) == []


def test_the_reading_order_lists_every_file_once():
    order, names = reading_order(ROOT), files(ROOT)
    assert len(order) == len(set(order))
    assert set(order) <= set(names)
    assert {name for name in names if names[name].stem != "__init__"} <= set(order)


@pytest.mark.parametrize(
    "file, line, words",
    [
        ("rnnae/nn/cells/linear.py", "from rnnae.training import train", "imports training/train"),
        ("rnnae/data/pipeline.py", "import tensorflow_datasets", "only data/tfds_directory may"),
        ("rnnae/state.py", "import orbax.checkpoint", "only records/checkpoint may"),
        ("rnnae/training/train.py", "import configs.mnist", "training/train imports configs"),
        ("rnnae/models/mlp.py", "from rnnae.devices.parallel import train_call", "not above it"),
        # Inside a folder.
        ("rnnae/data/parsers.py", "from rnnae.data import pipeline", "imports data/pipeline"),
        ("rnnae/training/loop.py", "from rnnae.training.train import train", "training/train"),
        ("rnnae/models/mlp.py", "from rnnae.models import draw", "models/mlp imports models/draw"),
        ("rnnae/nn/cells/cell.py", "from rnnae.nn.cells import CELLS", "imports nn/cells"),
        ("rnnae/optim.py", "jax.pmap(len)", "optim calls pmap"),
        ("rnnae/optim.py", "import jax._src.core", "optim uses a private part"),
        ("configs/mnist.py", "from rnnae.training.train import train", "configs/mnist.py imports"),
        ("rnnae/utils.py", "x = 1", "utils is not in the reading order"),
        ("rnnae/nn/layers.py", "x = 1", "nn/layers is not in the reading order"),
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
    folders = ("rnnae", "configs", "experiments", "tests")
    paths = [path for folder in folders for path in (ROOT / folder).rglob("*.py")]
    lengths = {str(path.relative_to(ROOT)): len(path.read_text().splitlines()) for path in paths}
    assert {name: n for name, n in lengths.items() if n > 300} == {}


def test_import_is_light():
    program = (
        "import sys, rnnae, rnnae.training.train, rnnae.evaluation.modes; "
        "print(sorted({'torch', 'tensorflow'} & {m.split('.')[0] for m in sys.modules}))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT)
    assert done.stdout.strip() == "[]", done.stderr
    program = "import sys, rnnae; print('jax' in sys.modules)"
    begin = time.monotonic()
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT)
    assert done.stdout.strip() == "False" and time.monotonic() - begin < 3


def test_public_names_are_imported_at_first_use():
    import rnnae

    assert all(callable(getattr(rnnae, name)) for name in ("load", "train", "evaluate"))
    assert {"load", "train", "evaluate"} <= set(dir(rnnae))
    with pytest.raises(AttributeError, match="no attribute 'trian'"):
        rnnae.trian  # noqa: B018

"""Text files are UTF-8, whatever the language of the machine."""

import ast
from pathlib import Path

ROOT = Path(__file__).parents[1]


def _without_encoding(path: Path) -> list[int]:
    """Lines that read or write text in the encoding of the machine."""
    lines = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if not isinstance(node, ast.Call) or {k.arg for k in node.keywords} & {"encoding"}:
            continue
        name = getattr(node.func, "attr", getattr(node.func, "id", ""))
        modes = [a.value for a in node.args if isinstance(a, ast.Constant)]
        modes += [k.value.value for k in node.keywords if k.arg == "mode"]
        is_open = name in ("open", "fdopen") and not any("b" in str(mode) for mode in modes)
        library = getattr(getattr(node.func, "value", None), "id", "")
        binary = library in ("Image", "tarfile", "gzip", "os") and name == "open"
        if name in ("read_text", "write_text") or (is_open and not binary):
            lines.append(node.lineno)
    return lines


def test_every_text_file_names_its_encoding():
    found = {
        str(path.relative_to(ROOT)): lines
        for folder in ("rnnae", "experiments", "configs")
        for path in (ROOT / folder).rglob("*.py")
        if (lines := _without_encoding(path))
    }
    assert found == {}


def test_a_planted_violation_is_found(tmp_path):
    path = tmp_path / "x.py"
    path.write_text("p.read_text()\nopen(p)\nopen(p, 'rb')\np.open('a', encoding='utf-8')\n")
    assert _without_encoding(path) == [1, 2]

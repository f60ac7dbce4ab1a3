"""The reference of all config keys that `--helpfull` prints.

It is read from the source: defaults and comments from `defaults.py`, choices from `choices.py` and
from the dicts of implementations. So it cannot drift, and nothing heavy is imported.
"""

import ast
import re
from pathlib import Path

from rnnae.config import defaults
from rnnae.config.choices import CHOICES, DICTS

_PACKAGE = Path(__file__).parents[1]
_ENTRY = re.compile(r'\s*(?:config\.(?P<key>[\w.]+) =|"(?P<of_model>\w+)":) (?P<rest>.*)')
_FUNCTION = re.compile(r"def _(?P<model>\w+)\(\) -> dict:")


def entries() -> dict[tuple[str, str], tuple[str, str]]:
    """(model or "", dotted key) -> (default as written, comment), in the order of the file."""
    found: dict[tuple[str, str], tuple[str, str]] = {}
    model, last = "", None
    for line in Path(defaults.__file__).read_text(encoding="utf-8").splitlines():
        if function := _FUNCTION.match(line):
            model = function["model"]
        elif line.startswith("def default"):
            model = ""
        elif last and re.match(r"\s+# ", line):  # the comment goes on
            value, comment = found[last]
            found[last] = value, f"{comment} {line.strip(' #')}"
        elif (entry := _ENTRY.match(line)) and "ConfigDict(" not in line:
            value, _, comment = entry["rest"].partition("  # ")
            last = (model, entry["key"] or f"model.{entry['of_model']}")
            found[last] = value.removesuffix(","), comment
        else:
            last = None
    return found


def choices(key: str) -> tuple[str, ...]:
    """The choices of a dotted key; () if any value of its type may be set."""
    if key in CHOICES:
        return CHOICES[key]
    if key not in DICTS:
        return ()
    others = ("folder",) if key == "data.name" else ()  # a user's own images
    file, name = DICTS[key]
    tree = ast.parse((_PACKAGE / file).read_text(encoding="utf-8"))
    for node in tree.body:
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        if any(isinstance(target, ast.Name) and target.id == name for target in targets):
            return (*(ast.literal_eval(key) for key in node.value.keys), *others)
    raise LookupError(f"there is no dict {name} in {file}")


def text() -> str:
    """Every key with its default, comment and choices, one section after another."""
    sections: dict[str, list[str]] = {}
    for (model, key), entry in entries().items():
        section = f"config.model, in config files of the model {model}" if model else "config"
        if not model and "." in key:
            section = f"config.{key.partition('.')[0]}"
        sections.setdefault(section, ["", section]).extend(_entry(key, *entry))
    of_models = [section for section in sections if section.startswith("config.model,")]
    general = [section for section in sections if section not in of_models]
    title = "Every key of the config with its default and meaning. Set one by --config.KEY=VALUE."
    return "\n".join([title, *(line for s in general + of_models for line in sections[s])])


def _entry(key: str, value: str, comment: str) -> list[str]:
    lines = [f"  --config.{key}={value}"]
    if comment:
        lines.append(f"      {comment}")
    if options := choices(key):
        lines.append(f"      choices: {', '.join(options)}")
    return lines

"""A made-up table for the tests of experiments. A script writes the records of its runs."""

import re
import sys
import types
from collections.abc import Sequence

from experiments import jobs, queue, tables
from rnnae import command as command_line

COMMAND = jobs.command  # the command of real runs

SCRIPT = """
import ast, json, os, pathlib, runpy, sys
flags = dict(word[2:].split("=", 1) for word in sys.argv[1:] if "=" in word)
directory = pathlib.Path(flags["workdir"])
width = float(flags.get("config.model.width", 0))
width += float(flags.get("config.optim.learning_rate", 0))
print("begin")
start = {"step": 0, "date": "2026-01-02T03:04:05+00:00", "commit": "abc", "devices": "1 x cpu",
         "machine": "A & B_1"}
if "--mode=evaluate" in sys.argv:
    k = float(flags["config.eval.importance_samples"])
    result = {"environment": start, "eval": {"importance_samples": int(k)}}
    result |= {"test/nll_dynamic": 80 - k, "test/nll_dynamic_se": 0.1}
    result |= {"test/kid_f_2k": 9.0, "test/kid_f_2k_se": 0.5, "test/class_accuracy_f_2k": 0.9}
    result |= {"test/kid_f_2k_floor": 1.0, "test/kid_f_2k_floor_se": 0.25}
    result |= {"test/kid_given_class_f_2k": 5.0}
    pathlib.Path(flags["out"]).write_text(json.dumps(result))
    sys.exit()
config = runpy.run_path(flags["config"])["get_config"]()
for key, value in flags.items():
    if key.startswith("config."):
        try:
            value = ast.literal_eval(value)
        except (SyntaxError, ValueError):
            pass
        with config.ignore_type():
            config.update_from_flattened_dict({key[7:]: value})
if "seeds" in flags:
    workdirs = {int(seed): directory / f"seed{seed}" for seed in flags["seeds"].split(",")}
else:
    workdirs = {int(flags["config.seed"]): directory}
for seed, workdir in workdirs.items():
    if width < 0 and seed < 1 - width:
        sys.exit(f"a width cannot be negative (seed {seed})")
    workdir.mkdir(parents=True, exist_ok=True)
    config.seed = seed
    (workdir / "config.json").write_text(json.dumps(config.to_dict()))
    (workdir / "pictures").mkdir(exist_ok=True)
    (workdir / "pictures" / "curves.png").write_text("")
    nll = 90 - width + 0.01 * seed * (-1 if width % 1 else 1)
    losses = [(s, nll + 5 - s) for s in range(1, 5)]
    records = [{"step": s, "epoch": s, "valid/loss": x, "train/loss": x} for s, x in losses]
    test = {"test/nll_dynamic": nll, "test/nll_dynamic_se": 0.2, "test/kl": 3.0 + seed}
    records.append({"step": 5, "epoch": 5, **test})
    (workdir / "metrics.jsonl").write_text("".join(json.dumps(r) + "\\n" for r in records))
    timing = {"step": 5, "seconds": 60.0, "images_per_second": 123.0}
    (workdir / "timing.jsonl").write_text(json.dumps(timing) + "\\n")
    start |= {"parameters": 1234, "training_flop_per_image": 5e6}
    (workdir / "environment.jsonl").write_text(json.dumps(start) + "\\n")
"""


def execute(module: types.ModuleType, argv: Sequence[str]) -> int:
    """The exit code of `python -m experiments.<module>`, whose errors are one line on stderr."""
    return command_line.execute(lambda: module.main([*argv]), module.__name__)


def sentences(text: str) -> int:
    """How many sentences a text has."""
    return len(re.findall(r"[.?!](?= [A-Z±]|$)", text))


def planted(**changes):
    """The module of a table with two rows of different width; `changes` replace its names."""
    data = types.ModuleType(
        "widths",
        "Widths: does it help?\n\nA question asked since Elman's time.",
    )
    data.CONFIG, data.PROTOCOL, data.SEEDS = "configs/mnist.py", "made up", (0, 1, 2)
    data.METRICS = {"NLL": ("test/nll_static", "test/nll_dynamic"), "KL": "test/kl"}
    data.ROWS = {"narrow": {"model.width": 2}, "Wide, very": {"model.width": 4}}
    data.CPU = {"train.epochs": 1}
    for name, value in changes.items():
        setattr(data, name, value)
    return data


def install(monkeypatch, tmp_path, program: str = SCRIPT, **changes) -> list[str]:
    """Makes `widths` the only table, and `program` that of its runs, in the order of the table.

    Returns:
      The first arguments of experiments.run and experiments.report: table and root.
    """
    script = tmp_path / "script.py"
    script.write_text(program)

    def command(job, extra):
        return [sys.executable, str(script), *COMMAND(job, extra)[3:]]

    monkeypatch.setattr(tables, "TABLES", {"widths": planted(**changes)})
    monkeypatch.setattr(jobs, "command", command)
    monkeypatch.setattr(queue, "cost", lambda row: 0.0)  # tracing models takes time
    return ["widths", "--root", str(tmp_path / "root")]

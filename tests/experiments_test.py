"""Tables are run, continued and reported; what a run says is made up here, by a script."""

import json
import os
import shutil
import signal
import sys
import threading
import time
import types

import numpy as np
import pytest
from PIL import Image

from experiments import plots, report, run, tables

SCRIPT = """
import ast, json, pathlib, runpy, sys
flags = dict(word[2:].split("=", 1) for word in sys.argv[1:] if "=" in word)
directory = pathlib.Path(flags["workdir"])
width = float(flags.get("config.model.width", 0))
width += float(flags.get("config.optim.learning_rate", 0))
print("begin")
start = {"step": 0, "date": "2026-01-02T03:04:05+00:00", "commit": "abc", "devices": "1 x cpu",
         "machine": "A & B_1"}
if "--mode=evaluate" in sys.argv:
    k = float(flags["config.eval.importance_samples"])
    found = {"environment": start, "test/nll_dynamic": 80 - k, "test/nll_dynamic_se": 0.1}
    (directory / "evaluation.json").write_text(json.dumps(found))
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
    made = {int(seed): directory / f"seed{seed}" for seed in flags["seeds"].split(",")}
else:
    made = {int(flags["config.seed"]): directory}
for seed, workdir in made.items():
    if width < 0 and seed < 1 - width:
        sys.exit(f"a width cannot be negative (seed {seed})")
    workdir.mkdir(parents=True, exist_ok=True)
    config.seed = seed
    (workdir / "config.json").write_text(json.dumps(config.to_dict()))
    (workdir / "pictures").mkdir(exist_ok=True)
    (workdir / "pictures" / "curves.png").write_text("")
    nll = 90 - width + 0.01 * seed * (-1 if width % 1 else 1)
    records = [{"step": s, "epoch": s, "valid/loss": nll + 5 - s} for s in range(1, 5)]
    test = {"test/nll_dynamic": nll, "test/nll_dynamic_se": 0.2, "test/kl": 3.0 + seed}
    records.append({"step": 5, "epoch": 5, **test})
    (workdir / "metrics.jsonl").write_text("".join(json.dumps(r) + "\\n" for r in records))
    timing = {"step": 5, "seconds": 60.0, "images_per_second": 123.0}
    (workdir / "timing.jsonl").write_text(json.dumps(timing) + "\\n")
    start |= {"parameters": 1234, "training_flop_per_image": 5e6}
    (workdir / "environment.jsonl").write_text(json.dumps(start) + "\\n")
"""


def planted(**changes):
    """A table module of two rows, one of them wider."""
    data = types.ModuleType(
        "widths",
        "Widths: does it help?\\n\\nA question asked since Elman's time.".replace("\\n", "\n"),
    )
    data.CONFIG, data.PROTOCOL, data.SEEDS = "configs/mnist.py", "made up", (0, 1, 2)
    data.METRICS = {"NLL": ("test/nll_static", "test/nll_dynamic"), "KL": "test/kl"}
    data.ROWS = {"narrow": {"model.width": 2}, "Wide, very": {"model.width": 4}}
    data.CPU = {"train.epochs": 1}
    for name, value in changes.items():
        setattr(data, name, value)
    return data


@pytest.fixture
def plant(monkeypatch, tmp_path):
    """plant(**changes) makes the table `widths`, whose runs are SCRIPT's."""
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    command = run.command

    def stub(job, extra):
        return [sys.executable, str(script), *command(job, extra)[3:]]

    def make(**changes):
        monkeypatch.setattr(tables, "TABLES", {"widths": planted(**changes)})
        monkeypatch.setattr(run, "command", stub)
        return ["widths", "--root", str(tmp_path / "root")]

    return make


def test_a_command_is_the_one_a_person_would_type(tmp_path, plant):
    plant(ROWS={"a": {}, "b": {"trained": "a", "eval.importance_samples": 8}})
    first, second, *_, last = run.runs(tables.load("widths", "cpu"), tmp_path)
    words = run.command([first], ["--x=1"])
    assert "--config=configs/mnist.py" in words and "--config.train.epochs=1" in words
    # An override is refused before the config that it is of; a row's own win.
    order = [words.index(w) for w in ("--config=configs/mnist.py", "--x=1")]
    assert order == sorted(order) and words.index("--x=1") < words.index("--config.train.epochs=1")
    assert "--config.seed=0" in words
    assert f"--workdir={tmp_path / 'widths-cpu' / 'a' / 'seed0'}" in words
    words = run.command([first, second], [])
    assert f"--workdir={tmp_path / 'widths-cpu' / 'a'}" in words and "--seeds=0,1" in words
    assert last.workdir.parts[-3:] == ("widths-cpu", "b", "seed2")
    words = run.command([last], [])
    assert f"--workdir={tmp_path / 'widths-cpu' / 'a' / 'seed2'}" in words
    assert "--mode=evaluate" in words and "train.epochs" not in str(words)


def test_rows_are_run_once_a_failure_stops_nobody_and_is_tried_again(plant, tmp_path, capsys):
    rows = {"bad": {"model.width": -1}, "good": {"model.width": 3}}
    argv = plant(ROWS=rows)
    assert run.main(argv) == 1
    said = capsys.readouterr().out
    assert "bad, seeds 0, 1, 2: FAILED, exit code 1: a width cannot be negative (seed 0)" in said
    assert "bad, seed 1: FAILED, exit code 1: a width cannot be negative (seed 1)" in said
    assert "bad, seed 2: FAILED" not in said and "good, seeds 0, 1, 2: FAILED" not in said
    assert "2 of 6 runs failed" in said
    shutil.rmtree(tmp_path / "root" / "widths-full" / "bad")
    plant(ROWS=rows | {"bad": {"model.width": 5}})
    assert run.main([*argv, "--seeds", "2"]) == 0 and run.main(argv) == 0
    said = capsys.readouterr().out
    assert "bad, seeds 0, 1:" in said and "good: finished before" in said
    assert run.main([*argv, "--row", "good"]) == 0
    with pytest.raises(SystemExit):
        run.main([*argv, "--row", "god"])
    assert "its rows: bad, good" in capsys.readouterr().err


def test_a_run_made_by_another_table_is_no_result(plant, tmp_path, capsys):
    rows = {"a": {"model.width": 3, "eval.seeds": (0,)}}
    argv = plant(ROWS=rows)
    report_argv = [*argv, "--out", str(tmp_path / "out")]
    assert run.main(argv) == 0 and run.main(argv) == 0 and report.main(report_argv) == 0
    plant(ROWS={"a": {"model.width": 4, "eval.seeds": (0, 1)}})
    capsys.readouterr()
    assert run.main(argv) == 2 and report.main(report_argv) == 2
    error = capsys.readouterr().err
    assert error.count("[0, 1] in the table, config.model.width: 3 there, 4 in the table)") == 2
    assert "experiments.run: " in error and "move it away" in error
    plant(ROWS={"a": {"eval.seeds": (0,)}})  # an override less
    assert run.main(argv) == 2
    assert "config.model.width: 3 there, 96 in the table" in capsys.readouterr().err
    plant(ROWS=rows)
    assert run.main([*argv, "--", "--config.devices=1"]) == 0
    with pytest.raises(SystemExit):
        run.main([*argv, "--", "--config.train.epochs=1"])
    assert "--config.train.epochs=1 makes another row" in capsys.readouterr().err
    row = tmp_path / "root" / "widths-full" / "a"
    shutil.copytree(row / "seed0", row / "seed0.old")
    assert report.main(report_argv) == 0


def test_a_run_without_its_last_pictures_is_not_finished(plant, tmp_path, capsys):
    argv = plant()
    assert run.main(argv) == 0
    (tmp_path / "root/widths-full/narrow/seed1/pictures/curves.png").unlink()
    capsys.readouterr()
    assert run.main(argv) == 0
    assert "narrow, seed 1: " in capsys.readouterr().out


@pytest.mark.parametrize("number, code", [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_ends_the_child_and_the_rows_after_it(plant, monkeypatch, capsys, number, code):
    """Also one whose child has no handler yet, and dies of it."""
    argv = plant()
    sleeping = [sys.executable, "-c", "import time; print('up', flush=True); time.sleep(60)"]
    monkeypatch.setattr(run, "command", lambda job, extra: sleeping)

    def send():
        time.sleep(1)
        os.kill(os.getpid(), number)

    thread = threading.Thread(target=send)
    thread.start()
    assert run.main(argv) == code
    thread.join()
    said = capsys.readouterr().out
    assert "narrow, seeds 0, 1, 2: stopped; the same command continues" in said
    assert "Wide" not in said and signal.getsignal(number) not in (None, signal.SIG_IGN)


def test_other_seeds_than_the_tables_are_run_and_reported(plant, tmp_path, capsys):
    argv = plant(CPU_SEEDS=(0,)) + ["--size", "cpu"]
    assert run.main(argv) == 0 and run.main([*argv, "--seeds", "2,0"]) == 0
    assert "seed 2:" in capsys.readouterr().out
    assert report.main([*argv, "--out", str(tmp_path / "out")]) == 0
    text = (tmp_path / "out" / "widths.md").read_text()
    assert "--size cpu --seeds 0,2`" in text and "88.01 ± 0.01" in text
    with pytest.raises(SystemExit):
        run.main([*argv, "--seeds", "all"])
    assert "'all' is not a list of seeds" in capsys.readouterr().err


def test_shards_are_all_runs_once(plant, capsys):
    rows = {name: {"model.width": width} for width, name in enumerate("abc")}
    argv = plant(ROWS=rows | {"of a": {"trained": "a", "eval.importance_samples": 8}})
    for index in range(4):
        assert run.main([*argv, "--shard", f"{index}/4"]) == 0
    assert "finished before" not in capsys.readouterr().out
    assert run.main(argv) == 0
    assert capsys.readouterr().out.count("finished before") == 4
    with pytest.raises(SystemExit):
        run.main([*argv, "--shard", "4/4"])


def test_a_report_says_means_errors_and_what_is_better(plant, tmp_path, capsys):
    literature = {"an old one": ({"KL": "95.00"}, "Author {2000} ~ `--x^2`")}
    argv = plant(LITERATURE=literature)
    assert report.main([*argv, "--out", str(tmp_path / "out")]) == 1
    assert run.main(argv) == 0
    picture = tmp_path / "root" / "widths-full" / "narrow" / "seed0" / "pictures" / "generated.png"
    Image.fromarray(np.zeros((40, 100, 3), np.uint8)).save(picture)
    capsys.readouterr()
    assert report.main([*argv, "--out", str(tmp_path / "out")]) == 0
    said = capsys.readouterr().out
    assert "| narrow | 1,234 | 5.0 | 123 | 1.0 | 3 | 88.01 ± 0.01 | 4.00 ± 0.58 |" in said
    assert "| **86.01 ± 0.01** | 4.00 ± 0.58 |" in said
    assert "| *an old one* (Author {2000} ~ `--x^2`) |  |  |  |  |  |  | 95.00 |" in said
    assert "commit abc; 1 x cpu on A & B_1; 2026-01-02; 6.0 minutes" in said
    latex = (tmp_path / "out" / "widths.tex").read_text()
    assert r"\textbf{86.01 $\pm$ 0.01}" in latex and r"A \& B\_1" in latex
    assert r"(Author \{2000\} \textasciitilde{} \textasciigrave{}-{}-x\textasciicircum{}2" in latex
    lines = (tmp_path / "out" / "widths.csv").read_text().splitlines()
    assert (
        len(lines) == 7
        and lines[0] == "row,seed,seconds,test/kl,test/nll_dynamic,test/nll_dynamic_se"
    )
    files = {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    assert report.main([*argv, "--out", str(tmp_path / "again")]) == 0
    assert files == {path.name: path.read_bytes() for path in (tmp_path / "again").iterdir()}
    assert len(files["widths.png"]) > 5000
    elsewhere = picture.parents[1] / "environment.jsonl"
    elsewhere.write_text(elsewhere.read_text().replace("1 x cpu", "1 x gpu"))
    report.main([*argv, "--out", str(tmp_path / "out")])
    assert "| 1.0 | 3 | 1 x cpu, 1 x gpu | 88.01 ± 0.01 |" in capsys.readouterr().out


def test_only_what_exceeds_the_noise_is_bold(plant, tmp_path, capsys):
    rows = {"one": {"model.width": 3}, "other": {"model.width": 3, "optim.learning_rate": 0.01}}
    argv = plant(ROWS=rows)
    assert run.main(argv) == 0
    report.main([*argv, "--out", str(tmp_path)])
    # Differences 0.01, 0.03, 0.05: 2.6 standard errors, and Student's t of three seeds asks 4.3.
    assert "**" not in capsys.readouterr().out


def test_rows_that_are_not_rivals_are_never_bold(plant, tmp_path, capsys):
    argv = plant(BOLD=())
    assert run.main(argv) == 0 and report.main([*argv, "--out", str(tmp_path)]) == 0
    assert "86.01 ± 0.01" in (said := capsys.readouterr().out) and "**" not in said


def test_a_swept_number_is_the_axis_of_a_line_for_each_group(plant, tmp_path):
    rows = {
        f"{width} units, {name}": {"model.width": width, **rest}
        for name, rest in {"one layer": {}, "two layers": {"model.layers": 2}}.items()
        for width in (2, 4)
    }
    argv = plant(ROWS=rows, SWEPT="model.width")
    assert run.main(argv) == 0 and report.main([*argv, "--out", str(tmp_path)]) == 0
    table = tables.load("widths", "full")
    lines = plots.swept_lines(table, report.collect(table, tmp_path / "root"))
    widths = {k: [r.row.overrides["model.width"] for r in group] for k, group in lines.items()}
    assert widths == {"one layer": [2, 4], "two layers": [2, 4]}


def test_a_report_says_what_was_not_run(plant, tmp_path, capsys):
    argv = plant()
    assert run.main([*argv, "--row", "narrow"]) == 0
    assert report.main([*argv, "--out", str(tmp_path)]) == 0
    assert "evaluation. Not run: Wide, very." in capsys.readouterr().out


def test_one_seed_has_the_error_over_images_and_is_never_bold(plant, tmp_path, capsys):
    argv = plant(SEEDS=(0,))
    assert run.main(argv) == 0
    report.main([*argv, "--out", str(tmp_path)])
    said = capsys.readouterr().out
    assert "| 88.00 ± 0.20* | 3.00 |" in said and "**" not in said


def test_a_row_may_evaluate_the_weights_of_another(plant, tmp_path, capsys):
    rows = {f"K = {k}": {"trained": "a", "eval.importance_samples": k} for k in (1, 8)}
    argv = plant(ROWS={"a": {"model.width": 2}, **rows}, SEEDS=(0, 1))
    assert run.main(argv) == 0
    report.main([*argv, "--out", str(tmp_path)])
    said = capsys.readouterr().out
    assert "| K = 8 | 1,234 | 5.0 | 123 | 0.00 | 2 | **72.00 ± 0.00** |" in said
    kept = tmp_path / "root" / "widths-full" / "k-1" / "seed1" / "evaluation.json"
    made = json.loads(kept.read_text())
    assert made["metrics"]["test/nll_dynamic"] == 79 and made["weights"]["test/kl"] == 4
    records = tmp_path / "root" / "widths-full" / "a" / "seed1" / "metrics.jsonl"
    whole = records.read_text()
    records.write_text(whole.replace('"test/kl": 4', '"test/kl": 5'))  # trained anew
    assert run.main(argv) == 2 and "of weights that are no longer there" in capsys.readouterr().err
    shutil.rmtree(kept.parent)
    records.write_text(whole[: whole.index('{"step": 5')])
    assert run.main([*argv, "--row", "K = 1"]) == 1
    assert "seed1 is not trained to the end; run the row 'a' first" in capsys.readouterr().out

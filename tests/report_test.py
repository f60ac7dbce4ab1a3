"""The files of a report: table, caption, commands and plot."""

import dataclasses
import io
import os
import sys

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from experiments import formats, plots, report, results, run, tables
from experiments.table_file import TableFile
from rnnae.evaluation.sample_metrics import SAMPLE_METRICS
from tests.fake_tables import execute


def collected(table, tmp_path):
    """The results of the runs below the root, without stored records."""
    table, finished = results.find(table, tmp_path / "root", TableFile(tmp_path / "none", table))
    return results.collect(table, finished)


def test_a_report_has_means_errors_and_the_best_in_bold(plant, tmp_path, capsys):
    literature = {"an old one": ({"KL": "95.00"}, "Author {2000} ~ `--x^2`")}
    argv = plant(LITERATURE=literature)
    assert report.main([*argv, "--out", str(tmp_path / "out")]) == 1
    assert run.main(argv) == 0
    picture = tmp_path / "root" / "widths-full" / "narrow" / "seed0" / "pictures" / "generated.png"
    Image.fromarray(np.zeros((40, 100, 3), np.uint8)).save(picture)
    capsys.readouterr()
    assert report.main([*argv, "--out", str(tmp_path / "out")]) == 0
    output = capsys.readouterr().out
    assert "| narrow | 1,234 | 5.0 | 123 | 1.0 | 3 | 88.01 ± 0.01 | 4.00 ± 0.58 |" in output
    assert "| **86.01 ± 0.01** | 4.00 ± 0.58 |" in output
    assert "| *an old one* (Author {2000} ~ `--x^2`) |  |  |  |  |  |  | 95.00 |" in output
    assert "commit abc; 1 x cpu on A & B_1; 2026-01-02; 6.0 minutes" in output
    latex = (tmp_path / "out" / "widths-full.tex").read_text()
    assert r"\textbf{86.01 $\pm$ 0.01}" in latex and r"A \& B\_1" in latex
    assert r"(Author \{2000\} \textasciitilde{} \textasciigrave{}-{}-x\textasciicircum{}2" in latex
    lines = (tmp_path / "out" / "widths-full.csv").read_text().splitlines()
    run_columns = "row,seed,parameters,training_flop_per_image,images_per_second,seconds"
    assert (
        len(lines) == 7
        and lines[0] == f"{run_columns},test/kl,test/nll_dynamic,test/nll_dynamic_se"
    )
    assert lines[1] == "narrow,0,1234,5000000,123.0,60.0,3.0,88.0,0.2"
    files = {path.name: path.read_bytes() for path in (tmp_path / "out").glob("widths-full.*")}
    assert report.main([*argv, "--out", str(tmp_path / "again")]) == 0
    assert files == {
        path.name: path.read_bytes() for path in (tmp_path / "again").glob("widths-full.*")
    }
    assert len(files["widths-full.png"]) > 5000
    elsewhere = picture.parents[1] / "environment.jsonl"
    elsewhere.write_text(elsewhere.read_text().replace("1 x cpu", "1 x gpu"))
    report.main([*argv, "--out", str(tmp_path / "out")])
    output = capsys.readouterr().out
    assert "| 1.0 | 3 | 1 x cpu on A & B_1 and 1 x gpu on A & B_1 | 88.01 ± 0.01 |" in output
    assert "| 1.0 | 3 | 1 x cpu on A & B_1 | **86.01 ± 0.01** |" in output


def test_every_row_needs_a_unique_directory(plant, capsys):
    for labels, words in [(("α = 1", "β = 1"), "'α = 1' is also '1'"), (("λ",), "'λ' of widths")]:
        argv = plant(ROWS={label: {} for label in labels})
        assert execute(run, argv) == 2 and execute(report, argv) == 2
        output = capsys.readouterr().err
        assert output.count("needs a unique label") == 2 and output.count(words) == 2


def test_a_bar_in_a_label_is_escaped(plant, tmp_path, capsys):
    argv = plant(ROWS={"of |h|": {}}, SEEDS=(0,))
    assert run.main(argv) == 0 and report.main([*argv, "--out", str(tmp_path / "out")]) == 0
    assert r"| of \|h\| | 1,234 |" in (tmp_path / "out" / "widths-full.md").read_text()


def test_only_significant_differences_are_bold(plant, tmp_path, capsys):
    rows = {"one": {"model.width": 3}, "other": {"model.width": 3, "optim.learning_rate": 0.01}}
    argv = plant(ROWS=rows)
    assert run.main(argv) == 0
    report.main([*argv, "--out", str(tmp_path)])
    # Differences 0.01, 0.03, 0.05: 2.6 standard errors. Three seeds need 4.3.
    assert "| **" not in capsys.readouterr().out


def test_headings_outside_BOLD_are_never_bold(plant, tmp_path, capsys):
    argv = plant(BOLD=())
    assert run.main(argv) == 0 and report.main([*argv, "--out", str(tmp_path)]) == 0
    assert "86.01 ± 0.01" in (output := capsys.readouterr().out) and "| **" not in output


def test_a_swept_setting_is_the_x_axis_of_a_line_for_each_group(plant, tmp_path):
    rows = {
        f"{width} units, {name}": {"model.width": width, **rest}
        for name, rest in {"one layer": {}, "two layers": {"model.layers": 2}}.items()
        for width in (2, 4)
    }
    argv = plant(ROWS=rows, SWEPT="model.width")
    assert run.main(argv) == 0 and report.main([*argv, "--out", str(tmp_path)]) == 0
    table = tables.load("widths", "full")
    lines = plots.swept_lines(table, collected(table, tmp_path))
    widths = {k: [r.row.overrides["model.width"] for r in group] for k, group in lines.items()}
    assert widths == {"one layer": [2, 4], "two layers": [2, 4]}
    groups = {"a": lines["one layer"][::-1], "b": lines["two layers"][:1]}
    shades = plots._shades(groups, table.swept)
    pale, dark = (shades[f"{width} units, one layer"] for width in (2, 4))
    assert pale < dark == shades["2 units, two layers"] == 1


def test_a_plot_has_units_and_the_swept_values_as_ticks(plant, tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr(Figure, "savefig", lambda figure, *_, **__: drawn.append(figure))
    rows = {f"{width} units": {"model.width": width} for width in (1, 3, 48)}
    argv = plant(ROWS=rows, SWEPT="model.width", SEEDS=(0,))
    assert run.main(argv) == 0
    table = tables.load("widths", "full")
    rows = collected(table, tmp_path)
    plots.draw(table, rows, tmp_path)
    swept, learning = drawn[0].axes
    assert [tick.get_text() for tick in swept.get_xticklabels()] == ["1", "3", "48"]
    assert swept.get_ylabel() == "nats" and learning.get_ylabel() == "nats per image"
    assert "paler" in learning.get_title() and len(learning.get_legend().get_texts()) == 3
    plots.draw(table, rows[:1], tmp_path)
    (learning,) = drawn[1].axes  # a single row has no panel that compares rows
    assert "paler" not in learning.get_title()


@pytest.mark.parametrize(
    ("name", "plots_of_loss"), [("bits_per_dim_8bit", 2), ("bound_dynamic", 1)]
)
def test_losses_in_different_units_have_separate_plots(
    name, plots_of_loss, plant, tmp_path, monkeypatch
):
    argv = plant(METRICS={"NLL": "test/nll_dynamic", "other": f"test/{name}"})
    assert run.main(argv) == 0
    table = tables.load("widths", "full")
    one, other = collected(table, tmp_path)
    other = dataclasses.replace(other, by_seed=dict.fromkeys(other.by_seed, {f"test/{name}": 3.0}))
    drawn = []
    monkeypatch.setattr(plots, "_plot_learning", lambda axes, rows, *_, **__: drawn.append(rows))
    plots.draw(table, [one, other], tmp_path / "widths-full.png")
    assert len(drawn) == plots_of_loss and sum(drawn, []) == [one, other]


def test_a_report_lists_what_was_not_run(plant, tmp_path, capsys):
    argv = plant()
    assert run.main([*argv, "--row", "narrow"]) == 0
    assert report.main([*argv, "--out", str(tmp_path)]) == 0
    output, command = capsys.readouterr().out, "`python -m experiments.run widths --size full"
    assert "**Not run**: Wide, very." in output and f'{command} --row "narrow"`' in output
    assert run.main([*argv, "--seeds", "0"]) == 0
    assert report.main([*argv, "--out", str(tmp_path)]) == 0
    output = capsys.readouterr().out
    assert (
        "- **Not run**: seeds 1, 2 of Wide, very." in output
        and f'{command} --row "narrow"`' in output
    )
    assert f'{command} --row "Wide, very" --seeds 0`' in output


def test_a_caption_has_the_length_and_the_precision_of_training(plant, tmp_path, capsys):
    rows = {
        "one": {"train.max_steps": 1200},
        "other": {"train.epochs": 1, "optim.matmul_precision": "bfloat16"},
    }
    argv = plant(ROWS=rows, SEEDS=(0,))
    assert run.main(argv) == 0 and report.main([*argv, "--out", str(tmp_path)]) == 0
    output = capsys.readouterr().out
    assert (
        "- **Data**: Made up.\n- **Training**: 1,200 steps (one), 1 epoch (other), with matrix "
        "products in bfloat16 (other).\n- **Origin**: Size" in output
    )
    argv = plant(ROWS={"Wide, very": {"optim.matmul_precision": "bfloat16"}}, SEEDS=(0,))
    assert run.main(argv) == 0 and report.main([*argv, "--out", str(tmp_path / "out")]) == 0
    output = capsys.readouterr().out
    assert "- **Training**: 50 epochs, with matrix products in bfloat16.\n" in output


def test_a_metric_that_a_model_lacks_is_left_out(plant, tmp_path, capsys):
    argv = plant(SEEDS=(0,))
    assert run.main([*argv, "--row", "narrow"]) == 0
    records_of_run = tmp_path / "root/widths-full/narrow/seed0/metrics.jsonl"
    records_of_run.write_text(
        records_of_run.read_text().replace('"test/kl": 3.0', '"test/kl": 0.0')
    )
    capsys.readouterr()
    assert report.main([*argv, "--out", str(tmp_path)]) == 0
    output = capsys.readouterr().out
    assert "| seeds | NLL |\n" in output and "| 1 | 88.00 ± 0.20* |\n" in output


def test_an_empty_size_points_to_the_other_size(plant, tmp_path, capsys):
    argv = plant(SEEDS=(0,))
    assert run.main(argv) == 0
    capsys.readouterr()
    assert report.main([*argv, "--size", "cpu", "--out", str(tmp_path / "out")]) == 1
    assert "there is widths-full" not in capsys.readouterr().err
    assert report.main([*argv, "--out", str(tmp_path / "out")]) == 0
    assert report.main([*argv, "--size", "cpu", "--out", str(tmp_path / "out")]) == 1
    assert "there is widths-full: --size full" in capsys.readouterr().err


def test_all_tables_without_a_run_are_nothing_to_report(plant, tmp_path, capsys):
    _, *argv = plant()
    assert report.main(["all", *argv, "--out", str(tmp_path / "out")]) == 1
    error = capsys.readouterr().err
    assert error.startswith("experiments.report: no table of size full has a run below")
    assert error.count("\n") == 1 and not (tmp_path / "out").exists()


def test_a_report_has_the_command_of_each_row(plant, tmp_path):
    argv = plant(CPU_SEEDS=(0,)) + ["--size", "cpu"]
    assert run.main(argv) == 0 and run.main([*argv, "--row", "narrow", "--seeds", "0,1"]) == 0
    assert report.main([*argv, "--out", str(tmp_path / "out")]) == 0
    command = "python -m experiments.run widths --size cpu"
    both = f'`{command} --row "narrow" --seeds 0,1`\n\n`{command} --row "Wide, very"`\n'
    assert (tmp_path / "out" / "widths.md").read_text().endswith(both)


def test_a_report_that_cannot_be_written_exits_with_7(plant, tmp_path, capsys):
    argv = plant(SEEDS=(0,))
    assert run.main(argv) == 0
    (tmp_path / "out").touch()
    assert execute(report, [*argv, "--out", str(tmp_path / "out")]) == 7
    assert f"{tmp_path}/out" in capsys.readouterr().err


def test_a_report_that_nobody_reads_any_more_exits_with_141(plant, tmp_path, monkeypatch):
    argv = plant(SEEDS=(0,))
    assert run.main(argv) == 0
    reader, writer = os.pipe()
    os.close(reader)
    # Without a buffer, as if the output were longer than one.
    closed = io.TextIOWrapper(io.FileIO(writer, "w"), write_through=True)
    with closed, monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", closed)
        assert execute(report, [*argv, "--out", str(tmp_path)]) == 141
    assert (tmp_path / "README.md").exists()  # all files are there


def test_a_single_seed_has_its_error_over_images_and_is_never_bold(plant, tmp_path, capsys):
    argv = plant(SEEDS=(0,))
    assert run.main(argv) == 0
    report.main([*argv, "--out", str(tmp_path)])
    output = capsys.readouterr().out
    assert "| 88.00 ± 0.20* | 3.00 |" in output and "| **" not in output


def test_a_row_can_show_other_images_than_new_ones(plant, tmp_path, capsys):
    of_a = {"weights_from": "a", "eval.importance_samples": 8}
    rows = {"a": {"model.width": 2}, "new": of_a, "class": of_a | {"shows": "given_class"}}
    rows = {"training images": of_a | {"shows": "floor"}, **rows}
    metrics = {"KID": "test/kid_f_2k", "accuracy": "test/class_accuracy_f_2k"}
    argv = plant(ROWS=rows, METRICS=metrics, SEEDS=(0,))
    assert run.main(argv) == 0 and report.main([*argv, "--out", str(tmp_path)]) == 0
    output = capsys.readouterr().out
    # Training images have no model with parameters.
    assert "| training images |  |  |  | 0.00 | 1 | 1.00000 ± 0.25000* |  |" in output
    assert "| new | 1,234 | 5.0 |  | 0.00 | 1 | 9.00000 ± 0.50000* | 0.9000 |" in output
    assert "| class | 1,234 | 5.0 |  | 0.00 | 1 | 5.00000 |  |" in output
    lines = (tmp_path / "widths-full.csv").read_text().splitlines()
    assert lines[1].startswith("training images,0,,,,")


def test_every_sample_metric_has_a_direction_and_digits():
    for name, metric in SAMPLE_METRICS.items():
        full = f"test/{name}_rows64_10k"
        sign = {"lower": -1, "higher": 1}[metric.better]
        assert tables.choose_by_metric(formats._BETTER, full) == sign
        assert tables.choose_by_metric(formats._DIGITS, full) == metric.digits
    assert tables.choose_by_metric(formats._BETTER, "test/bayes_accuracy_dynamic") == 1

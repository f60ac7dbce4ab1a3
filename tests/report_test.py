"""What a table's report says and draws."""

import dataclasses

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from experiments import plots, records, report, run, tables


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
    latex = (tmp_path / "out" / "widths-full.tex").read_text()
    assert r"\textbf{86.01 $\pm$ 0.01}" in latex and r"A \& B\_1" in latex
    assert r"(Author \{2000\} \textasciitilde{} \textasciigrave{}-{}-x\textasciicircum{}2" in latex
    lines = (tmp_path / "out" / "widths-full.csv").read_text().splitlines()
    of_run = "row,seed,parameters,training_flop_per_image,images_per_second,seconds"
    assert len(lines) == 7 and lines[0] == f"{of_run},test/kl,test/nll_dynamic,test/nll_dynamic_se"
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
    said = capsys.readouterr().out
    assert "| 1.0 | 3 | 1 x cpu on A & B_1 and 1 x gpu on A & B_1 | 88.01 ± 0.01 |" in said
    assert "| 1.0 | 3 | 1 x cpu on A & B_1 | **86.01 ± 0.01** |" in said


def test_every_row_needs_a_directory_of_its_own(plant, capsys):
    for labels, words in [(("α = 1", "β = 1"), "'α = 1' has '1' too"), (("λ",), "'λ' of widths")]:
        argv = plant(ROWS={label: {} for label in labels})
        with pytest.raises(SystemExit, match="2"):
            run.main(argv)
        assert report.main(argv) == 2
        said = capsys.readouterr().err
        assert said.count("needs a name of its own") == 2 and said.count(words) == 2


def test_a_bar_in_a_label_is_no_cell(plant, tmp_path, capsys):
    argv = plant(ROWS={"of |h|": {}}, SEEDS=(0,))
    assert run.main(argv) == 0 and report.main([*argv, "--out", str(tmp_path / "out")]) == 0
    assert r"| of \|h\| | 1,234 |" in (tmp_path / "out" / "widths-full.md").read_text()


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
    lines = plots.swept_lines(table, records.collect(table, run.plan(table, tmp_path / "root")))
    widths = {k: [r.row.overrides["model.width"] for r in group] for k, group in lines.items()}
    assert widths == {"one layer": [2, 4], "two layers": [2, 4]}
    groups = {"a": lines["one layer"][::-1], "b": lines["two layers"][:1]}
    shades = plots._shades(groups, table.swept)
    pale, dark = (shades[f"{width} units, one layer"] for width in (2, 4))
    assert pale < dark == shades["2 units, two layers"] == 1


def test_a_picture_says_its_units_and_the_numbers_that_were_swept(plant, tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr(Figure, "savefig", lambda figure, *_, **__: drawn.append(figure))
    rows = {f"{width} units": {"model.width": width} for width in (1, 3, 48)}
    argv = plant(ROWS=rows, SWEPT="model.width", SEEDS=(0,))
    assert run.main(argv) == 0
    table = tables.load("widths", "full")
    results = records.collect(table, run.plan(table, tmp_path / "root"))
    plots.draw(table, results, tmp_path)
    swept, learning = drawn[0].axes
    assert [tick.get_text() for tick in swept.get_xticklabels()] == ["1", "3", "48"]
    assert swept.get_ylabel() == "nats" and learning.get_ylabel() == "nats per image"
    assert "paler" in learning.get_title() and len(learning.get_legend().get_texts()) == 3
    plots.draw(table, results[:1], tmp_path)
    (learning,) = drawn[1].axes  # a point has no panel
    assert "paler" not in learning.get_title()


@pytest.mark.parametrize(
    ("name", "plots_of_loss"), [("bits_per_dim_8bit", 2), ("bound_dynamic", 1)]
)
def test_losses_that_cannot_be_compared_have_plots_of_their_own(
    name, plots_of_loss, plant, tmp_path, monkeypatch
):
    argv = plant(METRICS={"NLL": "test/nll_dynamic", "other": f"test/{name}"})
    assert run.main(argv) == 0
    table = tables.load("widths", "full")
    one, other = records.collect(table, run.plan(table, tmp_path / "root"))
    other = dataclasses.replace(other, by_seed=dict.fromkeys(other.by_seed, {f"test/{name}": 3.0}))
    drawn = []
    monkeypatch.setattr(plots, "_learning", lambda axes, rows, *_, **__: drawn.append(rows))
    plots.draw(table, [one, other], tmp_path / "widths-full.png")
    assert len(drawn) == plots_of_loss and sum(drawn, []) == [one, other]


def test_a_report_says_what_was_not_run(plant, tmp_path, capsys):
    argv = plant()
    assert run.main([*argv, "--row", "narrow"]) == 0
    assert report.main([*argv, "--out", str(tmp_path)]) == 0
    said, command = capsys.readouterr().out, "`python -m experiments.run widths --size full"
    assert "Not run: Wide, very." in said and f'{command} --row "narrow"`' in said
    assert run.main([*argv, "--seeds", "0"]) == 0
    assert report.main([*argv, "--out", str(tmp_path)]) == 0
    said = capsys.readouterr().out
    assert "Not run: seed 1, 2 of Wide, very." in said and f'{command} --row "narrow"`' in said
    assert f'{command} --row "Wide, very" --seeds 0`' in said


def test_a_caption_says_how_long_was_trained_and_how_exactly(plant, tmp_path, capsys):
    rows = {
        "one": {"train.max_steps": 1200},
        "other": {"train.epochs": 1, "optim.precision": "bfloat16"},
    }
    argv = plant(ROWS=rows, SEEDS=(0,))
    assert run.main(argv) == 0 and report.main([*argv, "--out", str(tmp_path)]) == 0
    said = capsys.readouterr().out
    assert (
        "Made up. Trained for 1,200 steps (one), 1 epoch (other), by products in bfloat16 (other)."
        in said
    )
    argv = plant(ROWS={"Wide, very": {"optim.precision": "bfloat16"}}, SEEDS=(0,))
    assert run.main(argv) == 0 and report.main([*argv, "--out", str(tmp_path / "out")]) == 0
    said = capsys.readouterr().out
    assert "Made up. Trained for 50 epochs, by products in bfloat16. ±" in said


def test_what_a_model_has_not_is_blank(plant, tmp_path, capsys):
    argv = plant(SEEDS=(0,))
    assert run.main([*argv, "--row", "narrow"]) == 0
    records_of_run = tmp_path / "root/widths-full/narrow/seed0/metrics.jsonl"
    records_of_run.write_text(
        records_of_run.read_text().replace('"test/kl": 3.0', '"test/kl": 0.0')
    )
    capsys.readouterr()
    assert report.main([*argv, "--out", str(tmp_path)]) == 0
    said = capsys.readouterr().out
    assert "| seeds | NLL |\n" in said and "| 1 | 88.00 ± 0.20* |\n" in said


def test_a_size_that_was_not_run_names_the_other(plant, tmp_path, capsys):
    argv = plant(SEEDS=(0,))
    assert run.main(argv) == 0
    capsys.readouterr()
    assert report.main([*argv, "--size", "cpu", "--out", str(tmp_path / "out")]) == 1
    assert "there is widths-full" not in capsys.readouterr().err
    assert report.main([*argv, "--out", str(tmp_path / "out")]) == 0
    assert report.main([*argv, "--size", "cpu", "--out", str(tmp_path / "out")]) == 1
    assert "there is widths-full: --size full" in capsys.readouterr().err


def test_a_report_has_the_command_of_every_row(plant, tmp_path):
    argv = plant(CPU_SEEDS=(0,)) + ["--size", "cpu"]
    assert run.main(argv) == 0 and run.main([*argv, "--row", "narrow", "--seeds", "0,1"]) == 0
    assert report.main([*argv, "--out", str(tmp_path / "out")]) == 0
    command = "python -m experiments.run widths --size cpu"
    both = f'`{command} --row "narrow" --seeds 0,1`\n\n`{command} --row "Wide, very"`\n'
    assert (tmp_path / "out" / "widths.md").read_text().endswith(both)


def test_a_report_that_cannot_be_written_says_so(plant, tmp_path, capsys):
    argv = plant(SEEDS=(0,))
    assert run.main(argv) == 0
    (tmp_path / "out").touch()
    assert report.main([*argv, "--out", str(tmp_path / "out")]) == 7
    assert f"{tmp_path}/out" in capsys.readouterr().err


def test_one_seed_has_the_error_over_images_and_is_never_bold(plant, tmp_path, capsys):
    argv = plant(SEEDS=(0,))
    assert run.main(argv) == 0
    report.main([*argv, "--out", str(tmp_path)])
    said = capsys.readouterr().out
    assert "| 88.00 ± 0.20* | 3.00 |" in said and "**" not in said

"""What is kept of runs makes their table again, and grows."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from experiments import plots, report, run, tables

_COMMITTED = sorted(p for p in (report.RESULTS / "records").glob("*-*") if not p.suffix)


def _files(directory: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in directory.glob("widths-full.*")}


def test_a_table_is_made_again_without_its_runs(plant, tmp_path, capsys):
    rows = {"a": {"model.width": 3}, "of a": {"trained": "a", "eval.importance_samples": 8}}
    argv, out = plant(ROWS=rows), tmp_path / "out"
    assert run.main([*argv, "--", "--config.data.source_dir=/home/somebody"]) == 0
    picture = tmp_path / "root" / "widths-full" / "a" / "seed0" / "pictures" / "generated.png"
    Image.fromarray(np.zeros((40, 100, 3), np.uint8)).save(picture)
    assert report.main([*argv, "--out", str(out)]) == 0
    files = _files(out)
    assert "source_dir" in (tmp_path / "root/widths-full/a/seed0/config.json").read_text()
    shutil.rmtree(tmp_path / "root")
    for _ in range(2):
        assert report.main([*argv, "--out", str(out)]) == 0 and _files(out) == files
    kept = [path.read_text() for path in (out / "records").rglob("*.json*")]
    assert len(kept) == 3 * 5 and not any("/home/somebody" in text for text in kept)


def test_a_table_grows_by_rows_and_seeds_that_are_run_elsewhere(plant, tmp_path, capsys):
    argv, out = plant(SEEDS=(0,)), tmp_path / "out"
    for more in (["--row", "narrow"], ["--row", "Wide, very"], ["--seeds", "1"]):
        shutil.rmtree(tmp_path / "root", ignore_errors=True)
        assert run.main([*argv, *more]) == 0
        assert report.main([*argv, "--out", str(out)]) == 0
    text = (out / "widths-full.md").read_text()
    assert text.count("| 2 |") == 2 and "Not run" not in text
    assert len(list((out / "records").rglob("metrics.jsonl"))) == 4


def test_what_was_evaluated_of_other_weights_is_not_kept(plant, tmp_path, capsys):
    rows = {"a": {}, "of a": {"trained": "a", "eval.importance_samples": 8}}
    argv, out = plant(ROWS=rows, SEEDS=(0,)), tmp_path / "out"
    assert run.main(argv) == 0 and report.main([*argv, "--out", str(out)]) == 0
    evaluation = tmp_path / "root" / "widths-full" / "of-a"
    shutil.rmtree(evaluation)
    metrics = tmp_path / "root" / "widths-full" / "a" / "seed0" / "metrics.jsonl"
    metrics.write_text(metrics.read_text().replace('"test/kl": 3.0', '"test/kl": 3.5'))
    assert report.main([*argv, "--out", str(out)]) == 0
    assert "Not run: of a." in (out / "widths-full.md").read_text()
    assert not (out / "records" / "widths-full" / "of-a").exists()
    said = capsys.readouterr().err
    assert "of-a/seed0 was of commit abc (2026-01-02) and is gone" in said
    assert "/a/seed0 was of commit abc (2026-01-02) and is now of commit abc (2026-01-02)" in said


def test_an_evaluation_is_kept_as_long_as_its_weights(plant, tmp_path):
    rows = {"a": {}, "of a": {"trained": "a", "eval.importance_samples": 8}}
    argv, out = plant(ROWS=rows, SEEDS=(0,)), tmp_path / "out"
    assert run.main(argv) == 0 and report.main([*argv, "--out", str(out)]) == 0
    files = _files(out)
    shutil.rmtree(tmp_path / "root" / "widths-full" / "of-a")
    assert report.main([*argv, "--out", str(out)]) == 0 and _files(out) == files


def test_records_of_another_table_are_no_result(plant, tmp_path, capsys):
    argv, out = plant(SEEDS=(0,)), tmp_path / "out"
    assert run.main(argv) == 0 and report.main([*argv, "--out", str(out)]) == 0
    shutil.rmtree(tmp_path / "root")
    plant(SEEDS=(0,), ROWS={"narrow": {"model.width": 5}, "Wide, very": {"model.width": 4}})
    assert report.main([*argv, "--out", str(out)]) == 2
    assert "config.model.width: 2 there, 5 in the table" in capsys.readouterr().err
    plant(SEEDS=(0,), ROWS={"narrow": {"model.width": 2}, "wide": {"model.width": 4}})
    assert report.main([*argv, "--out", str(out)]) == 2
    assert "widths-full has wide-very, no row of widths" in capsys.readouterr().err
    assert len(list((out / "records").rglob("metrics.jsonl"))) == 2


@pytest.mark.parametrize("other", ["narrow/seed1", "wide-very/seed0"])
def test_runs_of_other_images_are_in_no_table(other, plant, tmp_path, capsys):
    argv, out = plant(SEEDS=(0, 1)), tmp_path / "out"
    assert run.main(argv) == 0
    path = tmp_path / "root" / "widths-full" / other / "config.json"
    path.write_text(path.read_text().replace('"fingerprint": ""', '"fingerprint": "1"'))
    assert report.main([*argv, "--out", str(out)]) == 2
    said = capsys.readouterr().err
    assert f"{other} is of other images than" in said and "narrow/seed0: move one away" in said


def test_rows_of_different_sets_are_of_different_images(plant, tmp_path):
    rows = {"a": {}, "b": {"data.name": "fashion_mnist"}}
    argv, out = plant(ROWS=rows, SEEDS=(0,)), tmp_path / "out"
    assert run.main(argv) == 0
    path = tmp_path / "root" / "widths-full" / "b" / "seed0" / "config.json"
    path.write_text(path.read_text().replace('"fingerprint": ""', '"fingerprint": "1"'))
    assert report.main([*argv, "--out", str(out)]) == 0


@pytest.mark.parametrize("name", ["config.json", "timing.jsonl", "environment.jsonl"])
def test_a_run_without_a_record_is_refused(name, plant, tmp_path, capsys):
    argv, out = plant(SEEDS=(0,)), tmp_path / "out"
    assert run.main(argv) == 0
    (tmp_path / "root" / "widths-full" / "narrow" / "seed0" / name).unlink()
    assert report.main([*argv, "--out", str(out)]) == 2 and run.main(argv) == 2
    assert capsys.readouterr().err.count(f"seed0 has no {name}") == 2 and not out.exists()


def test_a_stopped_report_loses_no_record(plant, tmp_path, monkeypatch):
    argv, out = plant(SEEDS=(0,)), tmp_path / "out"
    assert run.main(argv) == 0 and report.main([*argv, "--out", str(out)]) == 0
    files = _files(out)
    shutil.rmtree(tmp_path / "root")
    rename = Path.rename

    def stopped(path, target):
        if path.suffix == ".new":
            raise KeyboardInterrupt
        return rename(path, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", stopped)
        with pytest.raises(KeyboardInterrupt):
            report.main([*argv, "--out", str(out)])
    assert report.main([*argv, "--out", str(out)]) == 0 and _files(out) == files
    assert [path.name for path in (out / "records").iterdir()] == ["widths-full"]


def test_both_sizes_of_a_table_lie_side_by_side(plant, tmp_path):
    argv, out = plant(SEEDS=(0,)), tmp_path / "out"
    for size in ("full", "cpu"):
        assert run.main([*argv, "--size", size]) == 0
        assert report.main([*argv, "--size", size, "--out", str(out)]) == 0
    assert "Size full;" in (out / "widths-full.md").read_text()
    assert "Size cpu;" in (out / "widths.md").read_text()


def test_a_start_that_trained_nothing_is_not_in_the_caption(plant, tmp_path):
    argv, out = plant(SEEDS=(0,)), tmp_path / "out"
    assert run.main(argv) == 0
    path = tmp_path / "root" / "widths-full" / "narrow" / "seed0" / "environment.jsonl"
    only = path.read_text()

    def start(commit, step, tested="false"):
        at = only.replace('"abc"', f'"{commit}"').replace('"step": 0', f'"step": {step}')
        return at.replace("}", f', "tested": {tested}}}')

    lost = start("lost", 0) + start("lost", 4) + start("lost", 2)
    made = start("made", 0) + start("measured", 5)
    path.write_text(lost + made + start("drawn", 5, "true"))
    assert report.main([*argv, "--out", str(out)]) == 0
    assert "commit abc, made, measured;" in (out / "widths-full.md").read_text()


def test_a_finished_run_that_was_opened_again_is_the_same(plant, tmp_path, capsys):
    argv, out = plant(SEEDS=(0,)), tmp_path / "out"
    assert run.main(argv) == 0 and report.main([*argv, "--out", str(out)]) == 0
    path = tmp_path / "root" / "widths-full" / "narrow" / "seed0" / "environment.jsonl"
    path.write_text(path.read_text() + path.read_text().replace('"step": 0', '"step": 5'))
    (out / "records" / "widths-full" / ".DS_Store").touch()
    capsys.readouterr()
    assert report.main([*argv, "--out", str(out)]) == 0 and not capsys.readouterr().err


def test_every_committed_table_has_its_records():
    have = [path.name.removesuffix("-cpu") for path in _COMMITTED]
    assert have == sorted(path.stem for path in report.RESULTS.glob("*.md"))


@pytest.mark.parametrize("records", _COMMITTED, ids=[path.name for path in _COMMITTED])
def test_a_committed_table_is_what_its_records_say(records, tmp_path, monkeypatch, capsys):
    name, _, size = records.name.rpartition("-")
    shutil.copytree(records, tmp_path / "records" / records.name)
    monkeypatch.setattr(plots, "draw", lambda *_: None)  # fonts and so on are the machine's
    argv = [name, "--size", size, "--root", str(tmp_path / "none"), "--out", str(tmp_path)]
    assert report.main(argv) == 0
    for path in records.parents[1].glob(f"{tables.load(name, size).stem}.*"):
        if path.suffix != ".png":
            assert (tmp_path / path.name).read_text() == path.read_text(), path.name
    for path in records.rglob("*.json*"):
        assert '"/' not in path.read_text(), f"{path} names a path of somebody's machine"

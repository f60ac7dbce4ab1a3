"""The stored records of a table: a report needs no runs, and the table grows by later runs."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from experiments import index, peer_rows, plots, report, run, tables
from experiments.records import read_directory, read_picture
from experiments.table_file import TableFile
from rnnae.config import saved_config
from tests.fake_tables import execute

_PEERS = report.RESULTS / "records" / peer_rows.FILE
_COMMITTED = sorted({*_PEERS.parent.glob("*.json")} - {_PEERS})


def _files(directory: Path) -> dict[str, bytes]:
    """The files of a report, and of its records."""
    paths = [path for path in directory.rglob("widths-full.*") if path.is_file()]
    return {str(path.relative_to(directory)): path.read_bytes() for path in paths}


def _stored_runs(out: Path) -> list[tuple[str, int]]:
    content = json.loads((out / "records" / "widths-full.json").read_text())
    return [(block["row"], block["seed"]) for block in content["runs"]]


def test_a_table_is_reproduced_without_its_runs(plant, tmp_path, capsys):
    rows = {
        "a": {"model.width": 3},
        "b": {"model.width": 4},
        "of a": {"weights_from": "a", "eval.importance_samples": 8},
    }
    argv, out = plant(ROWS=rows), tmp_path / "out"
    assert run.main([*argv, "--", "--config.data.source_dir=/home/user"]) == 0
    for row, size in {"a": (40, 100), "b": (60, 80)}.items():
        picture = tmp_path / "root" / "widths-full" / row / "seed0" / "pictures" / "generated.png"
        Image.fromarray(np.full((*size, 3), 7 * size[0] % 256, np.uint8)).save(picture)
    assert report.main([*argv, "--out", str(out)]) == 0
    files = _files(out)
    assert set(files) == {f"widths-full.{suffix}" for suffix in ("md", "csv", "tex", "png")} | {
        f"records/widths-full.{suffix}" for suffix in ("json", "png")
    }
    assert "source_dir" in (tmp_path / "root/widths-full/a/seed0/config.json").read_text()
    shutil.rmtree(tmp_path / "root")
    for _ in range(2):
        assert report.main([*argv, "--out", str(out)]) == 0 and _files(out) == files
    assert len(_stored_runs(out)) == 9 and b"/home/user" not in b"".join(files.values())


def test_stored_records_equal_the_records_of_the_run(plant, tmp_path):
    rows = {"a": {"model.width": 3}, "of a": {"weights_from": "a", "eval.importance_samples": 8}}
    argv, out = plant(ROWS=rows, SEEDS=(0,)), tmp_path / "out"
    assert run.main(argv) == 0
    workdir = tmp_path / "root" / "widths-full" / "a" / "seed0"
    image = np.random.default_rng(0).integers(0, 256, (40, 100, 3)).astype(np.uint8)
    Image.fromarray(image).save(workdir / "pictures" / "generated.png")
    assert report.main([*argv, "--out", str(out)]) == 0
    stored = TableFile(out / "records", tables.load("widths", "full"))
    trained = read_directory(workdir, evaluates=False)
    evaluated = read_directory(workdir.parents[1] / "of-a" / "seed0", evaluates=True)
    for key, records in {("a", 0): trained, ("of-a", 0): evaluated}.items():
        assert stored.runs[key].__dict__ | {"source": records.source} == records.__dict__
    assert {*stored.pictures} == {("a", 0)}
    np.testing.assert_array_equal(stored.pictures["a", 0], read_picture(workdir))
    np.testing.assert_array_equal(stored.pictures["a", 0], image)


def test_a_file_of_records_has_a_line_for_each_record(plant, tmp_path):
    argv, out = plant(SEEDS=(0,)), tmp_path / "out"
    assert run.main(argv) == 0 and report.main([*argv, "--out", str(out)]) == 0
    lines = (out / "records" / "widths-full.json").read_text().splitlines()
    assert lines.count('    {"step": 1, "epoch": 1, "valid/loss": 92.0, "train/loss": 92.0},') == 1
    assert sum(line.strip().startswith('"row": ') for line in lines) == 2


def test_records_with_renamed_config_keys_are_read_and_not_rewritten(plant, tmp_path, monkeypatch):
    argv, out = plant(SEEDS=(0,)), tmp_path / "out"
    assert run.main(argv) == 0 and report.main([*argv, "--out", str(out)]) == 0
    shutil.rmtree(tmp_path / "root")
    path = out / "records" / "widths-full.json"
    saved = path.read_text().replace('"width": 2', '"old_width": 2')
    path.write_text(saved)
    assert execute(report, [*argv, "--out", str(out)]) == 2

    def rename(config):
        model = {"width" if k == "old_width" else k: v for k, v in config["model"].items()}
        return config | {"model": model}

    monkeypatch.setattr(saved_config, "rename_old_keys", rename)
    assert report.main([*argv, "--out", str(out)]) == 0 and path.read_text() == saved


def test_a_damaged_file_of_records_is_refused(plant, tmp_path, capsys):
    argv, out = plant(SEEDS=(0,)), tmp_path / "out"
    assert run.main(argv) == 0 and report.main([*argv, "--out", str(out)]) == 0
    path = out / "records" / "widths-full.json"
    text = path.read_text()
    for damaged in (text[:-20], "[]", "{}", '{"runs": [3]}', '{"runs": [{"row": "narrow"}]}'):
        path.write_text(damaged)
        assert execute(report, [*argv, "--out", str(out)]) == 2
        assert "widths-full.json is damaged: restore it" in capsys.readouterr().err


def test_a_table_grows_by_rows_and_seeds_that_are_run_elsewhere(plant, tmp_path, capsys):
    argv, out = plant(SEEDS=(0,)), tmp_path / "out"
    for more in (["--row", "narrow"], ["--row", "Wide, very"], ["--seeds", "1"]):
        shutil.rmtree(tmp_path / "root", ignore_errors=True)
        assert run.main([*argv, *more]) == 0
        assert report.main([*argv, "--out", str(out)]) == 0
    text = (out / "widths-full.md").read_text()
    assert text.count("| 2 |") == 2 and "Not run" not in text
    assert len(_stored_runs(out)) == 4


def test_an_evaluation_of_other_weights_is_not_stored(plant, tmp_path, capsys):
    rows = {"a": {}, "of a": {"weights_from": "a", "eval.importance_samples": 8}}
    argv, out = plant(ROWS=rows, SEEDS=(0,)), tmp_path / "out"
    assert run.main(argv) == 0 and report.main([*argv, "--out", str(out)]) == 0
    evaluation = tmp_path / "root" / "widths-full" / "of-a"
    shutil.rmtree(evaluation)
    metrics = tmp_path / "root" / "widths-full" / "a" / "seed0" / "metrics.jsonl"
    metrics.write_text(metrics.read_text().replace('"test/kl": 3.0', '"test/kl": 3.5'))
    assert report.main([*argv, "--out", str(out)]) == 0
    assert "**Not run**: of a." in (out / "widths-full.md").read_text()
    assert _stored_runs(out) == [("a", 0)]
    first, second = capsys.readouterr().err.splitlines()
    was = "was of commit abc (2026-01-02) and is"
    assert first.startswith("row 'a', seed 0, in ")
    assert first.endswith(f"{was} now of commit abc (2026-01-02)")
    assert second.startswith("row 'of a', seed 0, in ") and second.endswith(f"{was} gone")


def test_an_evaluation_is_stored_as_long_as_its_weights_are_the_same(plant, tmp_path):
    rows = {"a": {}, "of a": {"weights_from": "a", "eval.importance_samples": 8}}
    argv, out = plant(ROWS=rows, SEEDS=(0,)), tmp_path / "out"
    assert run.main(argv) == 0 and report.main([*argv, "--out", str(out)]) == 0
    files = _files(out)
    shutil.rmtree(tmp_path / "root" / "widths-full" / "of-a")
    assert report.main([*argv, "--out", str(out)]) == 0 and _files(out) == files


def test_records_of_another_version_of_the_table_are_refused(plant, tmp_path, capsys):
    argv, out = plant(SEEDS=(0,)), tmp_path / "out"
    argv_report = [*argv, "--out", str(out)]
    assert run.main(argv) == 0 and report.main(argv_report) == 0
    files = _files(out)
    shutil.rmtree(tmp_path / "root")
    plant(SEEDS=(0,), ROWS={"narrow": {"model.width": 5}, "Wide, very": {"model.width": 4}})
    assert execute(report, argv_report) == 2
    output = capsys.readouterr().err
    assert "row 'narrow', seed 0, in " in output and 'add --forget "narrow" to drop' in output
    assert "config.model.width: 2 there, 5 in the table" in output
    plant(SEEDS=(0,), ROWS={"narrow": {"model.width": 2}, "wide": {"model.width": 4}})
    assert execute(report, argv_report) == 2
    assert "widths-full.json has Wide, very, no row of widths" in capsys.readouterr().err
    assert _files(out) == files
    assert execute(report, [*argv_report, "--forget", "wide"]) == 2
    assert "no row 'wide'; its rows: 'narrow', 'Wide, very'" in capsys.readouterr().err
    assert report.main([*argv_report, "--forget", "Wide, very"]) == 0
    assert _stored_runs(out) == [("narrow", 0)]


@pytest.mark.parametrize("other", ["narrow/seed1", "wide-very/seed0"])
def test_runs_on_other_images_are_refused(other, plant, tmp_path, capsys):
    argv, out = plant(SEEDS=(0, 1)), tmp_path / "out"
    assert run.main(argv) == 0
    path = tmp_path / "root" / "widths-full" / other / "config.json"
    path.write_text(path.read_text().replace('"fingerprint": ""', '"fingerprint": "1"'))
    assert execute(report, [*argv, "--out", str(out)]) == 2
    output = capsys.readouterr().err
    assert f"{other} was trained on other images than" in output
    assert "narrow/seed0: move one away" in output


def test_the_fingerprint_of_a_model_with_classes_is_also_of_the_labels(plant, tmp_path):
    argv = plant(ROWS={"a": {}, "b": {"model.classes": 2}}, SEEDS=(0,))
    assert run.main(argv) == 0
    path = tmp_path / "root" / "widths-full" / "b" / "seed0" / "config.json"
    path.write_text(path.read_text().replace('"fingerprint": ""', '"fingerprint": "1"'))
    assert report.main([*argv, "--out", str(tmp_path / "out")]) == 0


def test_rows_on_different_data_sets_have_different_images(plant, tmp_path):
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
    assert execute(report, [*argv, "--out", str(out)]) == 2 and execute(run, argv) == 2
    assert capsys.readouterr().err.count(f"seed0 has no {name}") == 2 and not out.exists()


@pytest.mark.parametrize("name", ["widths-full.json", "widths-full.png"])
def test_a_report_that_is_stopped_loses_no_record(name, plant, tmp_path, monkeypatch):
    argv, out = plant(SEEDS=(0,)), tmp_path / "out"
    assert run.main(argv) == 0
    picture = tmp_path / "root/widths-full/narrow/seed0/pictures/generated.png"
    Image.fromarray(np.zeros((40, 100, 3), np.uint8)).save(picture)
    assert report.main([*argv, "--out", str(out)]) == 0
    files = _files(out)
    shutil.rmtree(tmp_path / "root")
    replace = Path.replace

    def stopped(path, target):
        if Path(target).name == name:
            raise KeyboardInterrupt
        return replace(path, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", stopped)
        with pytest.raises(KeyboardInterrupt):
            report.main([*argv, "--out", str(out)])
    assert _files(out) == files
    assert report.main([*argv, "--out", str(out)]) == 0 and _files(out) == files
    assert len([*(out / "records").iterdir()]) == 2


def test_both_sizes_of_a_table_are_stored_side_by_side(plant, tmp_path):
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
    trained = start("trained", 0) + start("measured", 5)
    path.write_text(lost + trained + start("drawn", 5, "true"))
    for _ in range(2):  # from the run, and from its stored records
        assert report.main([*argv, "--out", str(out)]) == 0
        assert "commit abc, measured, trained;" in (out / "widths-full.md").read_text()
        shutil.rmtree(tmp_path / "root", ignore_errors=True)


def test_a_finished_run_that_was_opened_again_is_the_same(plant, tmp_path, capsys):
    argv, out = plant(SEEDS=(0,)), tmp_path / "out"
    assert run.main(argv) == 0 and report.main([*argv, "--out", str(out)]) == 0
    path = tmp_path / "root" / "widths-full" / "narrow" / "seed0" / "environment.jsonl"
    path.write_text(path.read_text() + path.read_text().replace('"step": 0', '"step": 5'))
    (out / "records" / ".DS_Store").touch()
    capsys.readouterr()
    assert report.main([*argv, "--out", str(out)]) == 0 and not capsys.readouterr().err


def test_every_committed_table_has_its_records():
    names = [path.stem.removesuffix("-cpu") for path in _COMMITTED]
    tables_of = [path.stem for path in report.RESULTS.glob("*.md") if path.name != index.INDEX]
    assert names == sorted(tables_of)
    files = {path.name for path in (report.RESULTS / "records").iterdir()}
    paired = [n for n in names if "beyond 2 s.e." in (report.RESULTS / f"{n}.md").read_text()]
    assert files - {_PEERS.name} == {
        path.with_suffix(s).name for path in _COMMITTED for s in (".json", ".png")
    } | {f"{name}-cpu.npz" for name in paired}


@pytest.mark.parametrize("records", _COMMITTED, ids=[path.stem for path in _COMMITTED])
def test_a_committed_table_is_reproduced_from_its_records(records, tmp_path, monkeypatch, capsys):
    name, _, size = records.stem.rpartition("-")
    (tmp_path / "records").mkdir()
    for path in (*records.parent.glob(f"{records.stem}.*"), _PEERS):
        shutil.copy(path, tmp_path / "records")
    drawn = []
    # The fonts of the plot depend on the machine, so that it is not compared byte for byte.
    monkeypatch.setattr(plots, "draw", lambda _, rows, path: drawn.extend(rows) or path.touch())
    argv = [name, "--size", size, "--root", str(tmp_path / "none"), "--out", str(tmp_path)]
    assert report.main(argv) == 0
    for path in records.parents[1].glob(f"{tables.load(name, size).stem}.*"):
        if path.suffix != ".png":
            assert (tmp_path / path.name).read_text() == path.read_text(), path.name
    text = records.read_text()
    assert (tmp_path / "records" / records.name).read_text() == text, (
        "not in the format that `report` writes"
    )
    assert '"/' not in text, f"{records} has an absolute path"
    assert all(len(result.losses) > 4 for result in drawn if not result.row.weights_from)
    assert all(result.picture is not None for result in drawn if not result.row.weights_from)

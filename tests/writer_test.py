"""After a kill, records have no gaps and no repeats."""

import json
import os
import resource
import shutil

import pytest
from PIL import Image
from tensorboardX.proto import event_pb2

from rnnae import files
from rnnae.config import saved_config
from rnnae.errors import CheckpointError, NonFiniteError
from rnnae.records.writer import Writer, read_metrics


def write(workdir, steps, resume_step=None, tensorboard=False):
    writer = Writer(workdir, resume_step=resume_step, tensorboard=tensorboard)
    for step in steps:
        writer.write_metrics(step, step / 10, {"train/loss": 1 / step})
        writer.write_timing(step, seconds=float(step))
    writer.close()


def test_floats_are_restored_exactly(tmp_path):
    write(tmp_path, (1, 3, 7))
    assert [r["train/loss"] for r in read_metrics(tmp_path)] == [1.0, 1 / 3, 1 / 7]


def test_resuming_drops_later_records_and_a_torn_line(tmp_path):
    write(tmp_path, range(1, 6))
    whole = (tmp_path / "metrics.jsonl").read_bytes()
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 6, "tra')
    write(tmp_path, (4, 5), resume_step=3)
    assert (tmp_path / "metrics.jsonl").read_bytes() == whole
    timings = (tmp_path / "timing.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in timings] == [1, 2, 3, 4, 5]


def test_a_fresh_start_keeps_the_old_records_beside_it(tmp_path):
    write(tmp_path, (1, 2))
    write(tmp_path, (1,))
    assert len(read_metrics(tmp_path)) == 1
    write(tmp_path, (1, 2, 3))
    assert (tmp_path / "metrics.jsonl.old").read_text().count("\n") == 2
    assert (tmp_path / "metrics.jsonl.oldx").read_text().count("\n") == 1


def test_values_that_are_not_finite_are_refused(tmp_path):
    writer = Writer(tmp_path, resume_step=None, tensorboard=False)
    with pytest.raises(NonFiniteError, match="train/loss is nan at step 4"):
        writer.write_metrics(4, 0.1, {"train/loss": float("nan")})
    writer.close()
    assert read_metrics(tmp_path) == []


def test_records_are_closed_again_if_one_of_them_cannot_be_opened(tmp_path):
    write(tmp_path, (1, 2))
    (tmp_path / "timing.jsonl").unlink()
    (tmp_path / "timing.jsonl").mkdir()
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(CheckpointError, match="timing.jsonl"):
        Writer(tmp_path, resume_step=2, tensorboard=False)
    assert len(os.listdir("/proc/self/fd")) == before


def test_only_the_primary_process_writes(tmp_path):
    writer = Writer(tmp_path / "other", resume_step=None, primary=False)
    writer.write_metrics(1, 0.1, {"a": 1.0})
    writer.write_timing(1, seconds=1.0)
    writer.write_config({"a": 1})
    writer.close()
    assert not (tmp_path / "other").exists()


def test_the_config_and_the_events_are_written(tmp_path):
    writer = Writer(tmp_path, resume_step=None, tensorboard=True)
    writer.write_config({"model": {"name": "mlp", "width": 3}})
    writer.write_metrics(1, 0.1, {"train/loss": 2.0})
    writer.close()
    assert saved_config.read(tmp_path / files.CONFIG)["model"]["width"] == 3
    assert [p.name for p in (tmp_path / "tensorboard").iterdir()][0].startswith("events")


def test_pictures_are_written_as_events(tmp_path):
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    Image.new("RGB", (5, 3), "red").save(pictures / "generated.png")
    (pictures / "canvas.gif").write_bytes(b"")
    with Writer(tmp_path, resume_step=None, tensorboard=True) as writer:
        writer.write_pictures(7, pictures)
    content, found = next((tmp_path / "tensorboard").iterdir()).read_bytes(), []
    while content:  # TFRecord: length, its checksum, an event, its checksum
        length = int.from_bytes(content[:8], "little")
        found.append(event_pb2.Event.FromString(content[12 : 12 + length]))
        content = content[16 + length :]
    value = found[-1].summary.value[0]
    assert (found[-1].step, value.tag) == (7, "pictures/generated")
    assert (value.image.width, value.image.height) == (5, 3)
    assert value.image.encoded_image_string == (pictures / "generated.png").read_bytes()


@pytest.mark.parametrize(
    "damaged", ["{", "[]", '"x"', "null", '{"step": "3"}', "\udcff", "[" * 9999]
)
def test_a_damaged_line_sets_the_file_aside_and_nothing_is_lost(damaged, tmp_path, capsys):
    write(tmp_path, range(1, 7))
    path = tmp_path / "metrics.jsonl"
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join([*lines[:2], damaged + "\n", *lines[3:]]), errors="surrogateescape")
    before = path.read_bytes()
    assert [r["step"] for r in read_metrics(tmp_path)] == [1, 2, 4, 5, 6]
    assert "metrics.jsonl: line 3 is damaged and left out" in capsys.readouterr().out
    write(tmp_path, [], resume_step=6)
    assert [r["step"] for r in read_metrics(tmp_path)] == [1, 2, 4, 5, 6]
    assert (tmp_path / "metrics.jsonl.damaged").read_bytes() == before
    assert "line 3 is damaged; the file is kept as metrics.jsonl.damaged" in capsys.readouterr().out


def test_a_damaged_record_of_starts_is_set_aside(tmp_path, capsys):
    path = tmp_path / files.STARTS
    path.write_text('{"step": 0\n{"step": 3}\n')
    writer = Writer(tmp_path, resume_step=None, tensorboard=False)
    writer.write_start(6, {})
    writer.close()
    assert path.read_text() == '{"step": 3}\n{"step": 6}\n'
    assert (tmp_path / "environment.jsonl.damaged").exists()
    assert "line 1 is damaged" in capsys.readouterr().out


def test_records_that_are_gone_are_said(tmp_path, capsys):
    write(tmp_path, range(1, 7))
    path = tmp_path / "metrics.jsonl"
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:4]))
    write(tmp_path, [], resume_step=6)
    assert "metrics.jsonl: the records after step 4 are lost" in capsys.readouterr().out
    path.unlink()
    write(tmp_path, [], resume_step=6)
    assert "metrics.jsonl: the records after step 0 are lost" in capsys.readouterr().out


@pytest.fixture
def small_files():
    """Files can hold 2,000 bytes, as if the disk were full."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, hard))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_record_that_cannot_be_written_is_one_line_and_is_not_hidden(small_files, tmp_path):
    words = "cannot write record .*metrics.jsonl: File too large; mend that"
    writer = Writer(tmp_path, resume_step=None, tensorboard=False)
    with pytest.raises(CheckpointError, match=words), writer:
        for step in range(1, 200):
            writer.write_metrics(step, step / 10, {"train/loss": 1 / step})
    write(tmp_path, [], resume_step=20)  # the torn line is a kill's
    assert [r["step"] for r in read_metrics(tmp_path)] == list(range(1, 21))


def test_tensorboard_is_switched_off_where_it_cannot_be_written(small_files, tmp_path, capsys):
    """tensorboardX's own thread would end at the error, and the run would wait for it for ever."""
    writer = Writer(tmp_path, resume_step=None)
    for step in range(1, 20):
        writer.write_metrics(step, 0.1, {f"m{name}": 1.0 for name in range(3)})
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "tensorboard").touch()
        Writer(tmp_path / name, resume_step=None).close()
    writer.close()
    assert len(read_metrics(tmp_path)) == 19
    said = capsys.readouterr().out.splitlines()
    assert len(said) == 3 and "TensorBoard is switched off: File too large in" in said[0]
    assert "TensorBoard is switched off: File exists in" in said[1]


def test_a_workdir_that_is_deleted_stops_the_run(tmp_path):
    workdir = tmp_path / "run"
    writer = Writer(workdir, resume_step=None, tensorboard=False)
    writer.write_metrics(1, 0.1, {"train/loss": 1.0})
    shutil.rmtree(workdir)
    for write in (lambda: writer.write_metrics(2, 0.1, {"train/loss": 1.0}), writer.sync):
        with pytest.raises(FileNotFoundError, match="its file was deleted or moved"):
            write()
    writer.close()
    assert not workdir.exists()

"""After a kill, records have no gaps and no repeats."""

import json

import pytest

from rnnae import files
from rnnae.config import saved_config
from rnnae.errors import NonFiniteError
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

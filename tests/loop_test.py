"""When the loop stops to synchronise, and how training time is measured."""

import types

import numpy as np
import pytest

from rnnae.errors import NonFiniteError
from rnnae.records.writer import Writer, read_metrics
from rnnae.training import loop
from rnnae.training.schedule import Schedule

SCHEDULE = Schedule(images=48, batch_size=8, total=18, steps_per_call=4, eval_every_epochs=0)


@pytest.fixture
def clock(monkeypatch):
    """The time, set by the test."""
    fake = types.SimpleNamespace(now=0.0)
    monkeypatch.setattr(loop.time, "monotonic", lambda: fake.now)
    return fake


def call_metrics(**values):
    return {name: np.ones(4) for name in ("loss", "grad_norm", "learning_rate")} | values


def test_the_loop_stops_for_a_checkpoint_when_the_last_one_is_old(clock):
    policy, due = loop.SyncPolicy(SCHEDULE, seconds=60), []
    for clock.now in (59, 61, 62, 121, 122):
        due.append(policy.pause_after(4))
    assert due == [False, True, False, False, True]
    assert policy.pause_after(SCHEDULE.total)


def test_training_time_adds_up_over_restarts(clock, tmp_path):
    for resume_step, seconds, total in ((None, 10, 10), (4, 5, 15)):
        writer = Writer(tmp_path, resume_step=resume_step, tensorboard=False)
        meter = loop.ThroughputMeter(SCHEDULE, writer)
        clock.now += 1000  # before the training
        meter.start()
        clock.now += seconds + 7
        meter.exclude(7)
        reading = meter.read((resume_step or 0) + 4, call_metrics())
        last = writer.timings()[-1]
        assert last["seconds"] == total and last["images_per_second"] == 4 * 8 / seconds
        left = seconds / 4 * (SCHEDULE.total - reading.step)  # at the speed of this process
        assert reading.seconds_left == pytest.approx(left)
        writer.close()


def test_a_record_is_the_mean_over_the_steps_of_a_call(tmp_path):
    writer = Writer(tmp_path, resume_step=None, tensorboard=False)
    meter = loop.ThroughputMeter(SCHEDULE, writer)
    reading = meter.read(4, call_metrics(loss=np.arange(4.0)))
    writer.close()
    (record,) = read_metrics(tmp_path)
    assert record["train/loss"] == reading.metrics["loss"] == 1.5 and record["step"] == 4


@pytest.mark.parametrize("name", ["loss", "grad_norm"])
def test_the_error_names_the_step_that_is_not_finite(tmp_path, name):
    writer = Writer(tmp_path, resume_step=None, tensorboard=False)
    meter = loop.ThroughputMeter(SCHEDULE, writer)
    values = np.array([1.0, 1.0, np.inf, np.nan])
    with pytest.raises(NonFiniteError, match="at step 7, learning rate 1"):
        meter.read(8, call_metrics(**{name: values}))
    writer.close()
    assert read_metrics(tmp_path) == []

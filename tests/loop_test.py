"""When a run pauses, and how long it has trained."""

import types

import numpy as np
import pytest

from rnnae.records.writer import Writer
from rnnae.training import loop
from rnnae.training.schedule import Timetable

TIMETABLE = Timetable(images=48, size=8, total=18, steps_per_call=4, eval_every_epochs=0)


@pytest.fixture
def clock(monkeypatch):
    """The time, which the test sets."""
    made = types.SimpleNamespace(now=0.0)
    monkeypatch.setattr(loop.time, "monotonic", lambda: made.now)
    return made


def test_a_pause_is_due_when_the_last_is_long_ago(clock):
    quiet = types.SimpleNamespace(requested=False)
    pause, due = loop.Pause(TIMETABLE, quiet, seconds=60), []
    for clock.now in (59, 61, 62, 121, 122):
        due.append(pause.due(4))
    assert due == [False, True, False, False, True]
    assert pause.due(TIMETABLE.total)


def test_seconds_of_training_go_on_after_a_restart(clock, tmp_path):
    silent = types.SimpleNamespace(say=lambda _: None, update=lambda *_: None)
    metrics = {name: np.ones(4) for name in ("loss", "grad_norm", "learning_rate")}
    for resume_step, seconds, total in ((None, 10, 10), (4, 5, 15)):
        writer = Writer(tmp_path, resume_step=resume_step, tensorboard=False)
        meter = loop.Meter(TIMETABLE, [writer], silent)
        clock.now += 1000  # before the training
        meter.start()
        clock.now += seconds
        meter.read((resume_step or 0) + 4, metrics)
        last = writer.timings()[-1]
        assert last["seconds"] == total and last["images_per_second"] == 4 * 8 / seconds
        writer.close()

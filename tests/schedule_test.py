"""Calls cover every step once, whatever step a run continues from."""

import pytest

from rnnae.config import default
from rnnae.data import pipeline
from rnnae.training.schedule import Schedule

SCHEDULES = [
    Schedule(images=50_000, batch_size=256, total=9766, steps_per_call=13, eval_every_epochs=2),
    Schedule(images=48, batch_size=8, total=18, steps_per_call=4, eval_every_epochs=1),
    Schedule(images=10, batch_size=7, total=23, steps_per_call=100, eval_every_epochs=3),
    Schedule(images=5, batch_size=20, total=9, steps_per_call=2, eval_every_epochs=0),
]


@pytest.mark.parametrize("schedule", SCHEDULES, ids=str)
def test_calls_cover_every_step_once_and_end_with_the_epochs(schedule):
    calls = list(schedule.calls(0))
    assert [s for first, count in calls for s in range(first, first + count)] == list(
        range(schedule.total)
    )
    assert max(count for _, count in calls) <= schedule.steps_per_call
    ends = {first + count for first, count in calls}
    epochs = range(1, int(schedule.epoch(schedule.total)) + 1)
    assert {pipeline.epoch_end(e, schedule.images, schedule.batch_size) for e in epochs} - {
        schedule.total
    } <= ends


@pytest.mark.parametrize("schedule", SCHEDULES[1:], ids=str)
def test_a_continued_run_makes_the_same_calls_as_an_unbroken_one(schedule):
    calls = list(schedule.calls(0))
    for index, (first, _) in enumerate(calls):
        assert list(schedule.calls(first)) == calls[index:]


def test_validation_after_the_first_epoch_every_second_and_at_the_end():
    schedule = Schedule(images=48, batch_size=8, total=33, steps_per_call=4, eval_every_epochs=2)
    assert [s for s in range(34) if schedule.validation_due(s)] == [6, 12, 24, 33]
    assert not any(SCHEDULES[3].validation_due(s) for s in range(10))


def test_a_schedule_is_built_from_a_config():
    config = default()
    assert Schedule.from_config(config, 50_000).total == 9766
    config.train.max_steps = 5
    config.data.train_on_all = True
    schedule = Schedule.from_config(config, 50_000)
    assert schedule.total == 5 and not schedule.validation_due(5)

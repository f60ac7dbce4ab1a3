"""Calls cover every step once, whatever step a run continues from."""

import pytest

from rnnae.config import default
from rnnae.data import pipeline
from rnnae.training.schedule import Timetable

TABLES = [
    Timetable(images=50_000, size=256, total=9766, steps_per_call=13, eval_every_epochs=2),
    Timetable(images=48, size=8, total=18, steps_per_call=4, eval_every_epochs=1),
    Timetable(images=10, size=7, total=23, steps_per_call=100, eval_every_epochs=3),
    Timetable(images=5, size=20, total=9, steps_per_call=2, eval_every_epochs=0),
]


@pytest.mark.parametrize("table", TABLES, ids=str)
def test_calls_cover_every_step_once_and_end_at_epochs(table):
    calls = list(table.calls(0))
    assert [s for first, count in calls for s in range(first, first + count)] == list(
        range(table.total)
    )
    assert max(count for _, count in calls) <= table.steps_per_call
    ends = {first + count for first, count in calls}
    epochs = range(1, int(table.epoch(table.total)) + 1)
    assert {pipeline.epoch_end(e, table.images, table.size) for e in epochs} - {table.total} <= ends


@pytest.mark.parametrize("table", TABLES[1:], ids=str)
def test_a_continued_run_makes_the_calls_of_the_unbroken_one(table):
    calls = list(table.calls(0))
    for index, (first, _) in enumerate(calls):
        assert list(table.calls(first)) == calls[index:]


def test_validation_after_the_first_epoch_every_second_and_at_the_end():
    table = Timetable(images=48, size=8, total=33, steps_per_call=4, eval_every_epochs=2)
    assert [s for s in range(34) if table.validation_due(s)] == [6, 12, 24, 33]
    assert not any(TABLES[3].validation_due(s) for s in range(10))


def test_from_config():
    config = default()
    assert Timetable.of(config, 50_000).total == 9766
    config.train.max_steps = 5
    config.data.train_on_all = True
    table = Timetable.of(config, 50_000)
    assert table.total == 5 and not table.validation_due(5)

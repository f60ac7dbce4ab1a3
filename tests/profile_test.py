"""--profile traces program calls and changes no metric."""

import gzip
import json

import pytest

from rnnae.training.train import train
from tests import runs


@pytest.mark.slow
def test_a_traced_run_has_the_same_metrics(tmp_path, capsys):
    config = runs.config(tmp_path, train__steps_per_call=2)
    train(config, tmp_path / "plain")
    assert "profile" not in capsys.readouterr().out
    train(config, tmp_path / "traced", profile=2)
    assert "ui.perfetto.dev" in capsys.readouterr().out
    plain, traced = (tmp_path / name / "metrics.jsonl" for name in ("plain", "traced"))
    assert plain.read_bytes() == traced.read_bytes()
    (trace,) = (tmp_path / "traced" / "profile").rglob("perfetto_trace.json.gz")
    with gzip.open(trace) as file:
        events = json.load(file)["traceEvents"]
    # Calls have 2 steps, and the first one is not traced.
    calls = [e for e in events if e.get("ph") == "X" and e["name"].startswith("PjitFunction(")]
    assert len(events) > 100 and len(calls) >= 2


@pytest.mark.slow
@pytest.mark.parametrize(
    "steps, words",
    [pytest.param(2, "profile in", marks=pytest.mark.exhaustive), (6, "nothing was profiled")],
)
def test_a_run_that_ends_before_all_calls_are_traced(steps, words, tmp_path, capsys):
    config = runs.config(tmp_path, train__epochs=1, train__steps_per_call=steps)
    train(config, tmp_path / "run", profile=100)
    assert words in capsys.readouterr().out

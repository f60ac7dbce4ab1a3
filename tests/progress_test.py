"""Plain lines off a terminal, a bar on one, silence in other processes."""

import io

import pytest
from rich.console import Console

from rnnae.training import progress
from rnnae.training.progress import Progress


@pytest.fixture
def screen(monkeypatch):
    """What is printed, and whether it is a terminal."""

    def make(terminal: bool) -> io.StringIO:
        out = io.StringIO()
        monkeypatch.setattr(
            progress,
            "Console",
            lambda **kwargs: Console(**kwargs, file=out, force_terminal=terminal, width=120),
        )
        return out

    return make


def test_plain_lines_at_most_one_in_ten_seconds_and_the_last(screen):
    out = screen(terminal=False)
    with Progress(100, 10) as bar:
        for step in (10, 20, 30, 100):
            bar.update(step, 0.5, 1234.0, 61)
        bar.say("[done]")
    lines = out.getvalue().splitlines()
    assert lines == [
        "epoch 2/10  step 10/100  loss 0.5  1,234 images/s  1:01 left",
        "epoch 10/10  step 100/100  loss 0.5  1,234 images/s  1:01 left",
        "[done]",
    ]


def test_a_bar_on_a_terminal(screen):
    out = screen(terminal=True)
    with Progress(100, 10) as bar:
        bar.update(55, 0.5, 1234.0, 61)
        bar.say("validation")
    assert "step 55/100" in out.getvalue() and "validation" in out.getvalue()
    assert "\x1b[" in out.getvalue()


def test_only_the_primary_process_prints(screen, capsys):
    out = screen(terminal=False)
    with Progress(100, 10, primary=False) as bar:
        bar.update(10, 0.5, 1.0, 1)
        bar.say("nothing")
    assert out.getvalue() == "" and capsys.readouterr().out == ""

"""Plain lines outside a terminal, a bar on one, silence in other processes; readable units."""

import io
import math

import numpy as np
import pytest
from rich.console import Console

from rnnae.likelihoods import LIKELIHOODS
from rnnae.training import progress
from rnnae.training.progress import Progress, Reading, loss_text
from tests import tiny


def show(means):
    return f"{means['loss']:.2f} nats"


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


def test_outside_a_terminal_there_is_a_line_every_ten_seconds_and_at_the_end(screen):
    out = screen(terminal=False)
    with Progress(100, 10, show) as bar:
        for step in (10, 20, 30, 100):
            bar.update(Reading(step, {"loss": 0.5}, 1234.0, 61))
        bar.log("[done]")
    lines = out.getvalue().splitlines()
    assert lines == [
        "epoch 2/10  step 10/100  0.50 nats  1,234 images/s  1:01 left",
        "epoch 10/10  step 100/100  0.50 nats  1,234 images/s  1:01 left",
        "[done]",
    ]


def test_a_terminal_shows_a_bar(screen):
    out = screen(terminal=True)
    with Progress(100, 10, show) as bar:
        bar.update(Reading(55, {"loss": 0.5}, 1234.0, 61))
        bar.log("validation")
    assert "step 55/100" in out.getvalue() and "validation" in out.getvalue()
    assert "\x1b[" in out.getvalue()


def test_only_the_primary_process_prints(screen, capsys):
    out = screen(terminal=False)
    with Progress(100, 10, show, primary=False) as bar:
        bar.update(Reading(10, {"loss": 0.5}, 1.0, 1))
        bar.log("nothing")
    assert out.getvalue() == "" and capsys.readouterr().out == ""


@pytest.mark.parametrize("sigma", [0.5**0.5, 0.1])
def test_squared_error_is_shown_as_the_mean_squared_error(sigma):
    model, params = tiny.build(likelihood__sigma=sigma)
    x = tiny.images()
    terms = tiny.apply(model, params, x, tiny.keys())
    latents = tiny.apply(model, params, x, method="encode")
    error = float(
        np.mean((x - tiny.apply(model, params, latents, tiny.keys(), method="decode_mean")) ** 2)
    )
    means = {"loss": 0.0, "reconstruction": float(-terms.log_prob_B.mean())}
    assert loss_text(model, "8bit")(means) == f"MSE {error:.5f}"


@pytest.mark.parametrize("name", LIKELIHOODS)
def test_every_likelihood_can_be_shown(name):
    model, _ = tiny.build(likelihood__name=name, order="patches")
    means = {"loss": 30.0, "reconstruction": 20.0}
    assert all(loss_text(model, protocol)(means) for protocol in ("8bit", "static", "dynamic"))


def test_other_likelihoods_are_shown_in_nats_or_bits():
    means = {"loss": 24 * math.log(2) * 1.5, "reconstruction": 0.0}
    model, _ = tiny.build("sweep", likelihood__name="logistic_mixture")
    assert loss_text(model, "8bit")(means) == "1.500 bits/dim"
    model, _ = tiny.build("sweep")
    assert loss_text(model, "dynamic")(means) == f"{means['loss']:.2f} nats"

"""Signals are deferred during training, and immediate before and after it."""

import os
import signal

import pytest

from rnnae.devices import signals
from rnnae.errors import Stopped


def send(number):
    os.kill(os.getpid(), number)


@pytest.mark.parametrize(
    "number, code",
    [(signal.SIGTERM, 143), (signal.SIGINT, 130), (signal.SIGHUP, 129), (signal.SIGUSR1, 138)],
)
def test_a_deferred_signal_stops_the_run_at_the_next_check(number, code):
    before = signal.getsignal(number)
    with signals.handled():
        signals.defer()
        signals.check("anywhere")
        send(number)
        assert signals.received()
        with pytest.raises(Stopped, match="at step 3; the same command continues") as stopped:
            signals.check("at step 3")
    assert stopped.value.exit_code == code
    assert signal.getsignal(number) is before
    signals.check("after the run, which has no signals any more")


def test_signals_are_immediate_before_the_first_step():
    with signals.handled(), pytest.raises(Stopped):
        send(signal.SIGTERM)


def test_signals_are_immediate_after_the_last_step():
    with signals.handled():
        signals.defer()
        signals.stop_immediately("after the last step")
        with pytest.raises(Stopped):
            send(signal.SIGINT)


def test_a_second_signal_is_immediate(monkeypatch):
    """But a signal that is sent twice, as by a program that passes Ctrl-C on, is one."""
    seconds = iter([100.0, 100.9, 101.1])
    monkeypatch.setattr(signals.time, "monotonic", lambda: next(seconds))
    with signals.handled():
        signals.defer()
        send(signal.SIGINT)
        send(signal.SIGINT)
        with pytest.raises(Stopped, match="at once"):
            send(signal.SIGINT)


def test_a_deferred_signal_is_not_lost_at_the_end():
    with signals.handled():
        signals.defer()
        send(signal.SIGTERM)
        with pytest.raises(Stopped):
            signals.stop_immediately("after the last step")


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGUSR1])
def test_a_signal_that_the_process_was_started_to_ignore_stays_ignored(number):
    """nohup does so."""
    before = signal.signal(number, signal.SIG_IGN)
    try:
        with signals.handled():
            send(number)
        assert signal.getsignal(number) is signal.SIG_IGN
    finally:
        signal.signal(number, before)

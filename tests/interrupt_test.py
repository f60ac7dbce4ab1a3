"""Signals wait while there is something to save, and not otherwise."""

import os
import signal

import pytest

from rnnae.devices.signals import Interrupt
from rnnae.errors import Stopped


def send(number):
    os.kill(os.getpid(), number)


@pytest.mark.parametrize("number, code", [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_deferred_until_checked(number, code):
    before = signal.getsignal(number)
    with Interrupt() as interrupt:
        interrupt.defer()
        interrupt.check("anywhere")
        send(number)
        assert interrupt.requested
        with pytest.raises(Stopped, match="at step 3; the same command continues") as stopped:
            interrupt.check("at step 3")
    assert stopped.value.exit_code == code
    assert signal.getsignal(number) is before


def test_at_once_before_and_after_the_steps_and_the_second_time():
    with Interrupt(), pytest.raises(Stopped):
        send(signal.SIGTERM)
    with Interrupt() as interrupt:
        interrupt.defer()
        interrupt.nothing_to_lose()
        with pytest.raises(Stopped):
            send(signal.SIGINT)
    with Interrupt() as interrupt:
        interrupt.defer()
        send(signal.SIGINT)
        with pytest.raises(Stopped):
            send(signal.SIGINT)
    with Interrupt() as interrupt:
        interrupt.defer()
        send(signal.SIGTERM)
        with pytest.raises(Stopped):
            interrupt.nothing_to_lose()

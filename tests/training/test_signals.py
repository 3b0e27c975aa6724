"""Signals take effect, but cut nothing in two."""

import signal
import threading

import pytest

from civilwar.errors import Terminated
from civilwar.training.signals import sigterm_interrupts, uninterrupted


def test_a_signal_waits_for_the_end_of_the_block() -> None:
    before = signal.getsignal(signal.SIGINT)
    done = []
    with pytest.raises(KeyboardInterrupt):  # noqa: SIM117, PT012
        with uninterrupted():
            signal.raise_signal(signal.SIGINT)
            done.append("the rest")
            with uninterrupted():
                signal.raise_signal(signal.SIGINT)
                done.append("the rest within")
    assert done == ["the rest", "the rest within"]
    assert signal.getsignal(signal.SIGINT) is before


def test_without_a_signal_nothing_happens_and_an_error_goes_through() -> None:
    with uninterrupted():
        pass
    with pytest.raises(ZeroDivisionError), uninterrupted():
        _ = 1 / 0
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_sigterm_is_an_interruption_of_its_own_unless_somebody_else_handles_it() -> None:
    with pytest.raises(Terminated), sigterm_interrupts():
        signal.raise_signal(signal.SIGTERM)
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    came = []
    signal.signal(signal.SIGTERM, lambda number, frame: came.append(number))
    try:
        with sigterm_interrupts():
            signal.raise_signal(signal.SIGTERM)
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
    assert came == [signal.SIGTERM]


def test_in_another_thread_nothing_is_changed() -> None:
    found = []

    def work() -> None:
        with sigterm_interrupts(), uninterrupted():
            found.append((signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert found == [(signal.default_int_handler, signal.SIG_DFL)]

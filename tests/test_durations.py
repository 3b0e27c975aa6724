"""How long the rest takes: known once it is known, and not from the steps that are no measure of it."""

import pytest

from civilwar.durations import LEAST, WARM_UP, TimeLeft, in_words


def test_nothing_is_said_before_there_is_a_rate() -> None:
    left = TimeLeft()
    left.snapshot(9.0)
    for _ in range(WARM_UP + LEAST - 1):
        left.step(1.0)
        assert left.seconds(100, 2) is None
    left.step(1.0)
    assert left.seconds(100, 2) == 100 + 2 * 9


def test_the_first_steps_and_a_snapshot_at_each_of_them_do_not_make_hours_of_minutes() -> None:
    """As a run begins: five snapshots within the first nine steps, of which the very first take longest."""
    left = TimeLeft()
    for step in range(9):
        if step in (0, 1, 2, 4, 8):
            left.snapshot(30.0 if step == 0 else 2.0)
        left.step(40.0 if step < WARM_UP else 0.5)
    assert left.seconds(480, 30) == 480 * 0.5 + 30 * 2.0


def test_one_slow_moment_changes_nothing_and_a_slower_machine_does() -> None:
    left = TimeLeft()
    for step in range(30):
        left.step(60.0 if step == 20 else 1.0)
    assert left.seconds(10, 0) == 10
    for _ in range(40):
        left.step(3.0)
    assert left.seconds(10, 0) == 30


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.4, "0 s"),
        (89.4, "89 s"),
        (90, "2 min"),
        (5 * 60, "5 min"),
        (89.6 * 60, "1 h 30 min"),
        (125 * 60, "2 h 05 min"),
    ],
)
def test_durations_in_words(seconds: float, words: str) -> None:
    assert in_words(seconds) == words

"""Numbered stages: what is said before, while and after each."""

import threading

import pytest

from civilwar.pages.stages import Stage, Stages, plan

PLANNED = [Stage("text", "read it", 61.0, 45.0), Stage("training", "489 steps", 340.0), Stage("book", "the pages")]


def test_the_plan_says_what_each_will_take() -> None:
    assert plan(PLANNED) == [
        "  1/3 text      read it    about 61 s, 45 MB of disk",
        "  2/3 training  489 steps  about 6 min",
        "  3/3 book      the pages  time not known yet",
    ]


def test_a_stage_says_that_it_begins_goes_on_and_is_done() -> None:
    said: list[str] = []
    beaten = threading.Event()

    def say(line: str) -> None:
        said.append(line)
        if "so far" in line:
            beaten.set()

    stages = Stages(PLANNED, say, beat=0.01)
    with stages.stage("text") as tell:
        tell("1 of 2")
        assert beaten.wait(30)
    assert said[:2] == ["[1/3] text: read it", "[1/3] text: 1 of 2"]
    assert "[1/3] text: 1 of 2, 0 s so far" in said
    assert said[-1] == "[1/3] text: done in 0 s"
    assert set(stages.took) == {"text"}
    # nothing is said any more once it is over
    count = len(said)
    assert not threading.Event().wait(0.05)
    assert len(said) == count


def test_a_stage_that_fails_is_not_done() -> None:
    said: list[str] = []
    stages = Stages(PLANNED, said.append)
    with pytest.raises(ZeroDivisionError), stages.stage("training", speaks=True):
        _ = 1 / 0
    assert said == ["[2/3] training: 489 steps"]
    assert stages.took == {}

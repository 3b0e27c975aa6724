"""What things are called: no two alike, nothing without a sentence."""

import re
from collections.abc import Mapping
from typing import Any

import pytest

from civilwar.inspector.of_model import MEASURED
from civilwar.names.kinds import KINDS, kind_of_score
from civilwar.names.measures import DEFAULT, MEASURES
from civilwar.names.variants import LABELS, VARIANTS, Variant
from civilwar.names.verdicts import PENDING, VERDICTS, color_of
from civilwar.recipe.plan import BASELINE
from civilwar.runs.schema import TABLES

ALL: dict[str, Mapping[str, Any]] = {"kinds": KINDS, "measures": MEASURES, "variants": VARIANTS, "verdicts": VERDICTS}


@pytest.mark.parametrize("names", ALL.values(), ids=list(ALL))
def test_no_two_are_called_alike_and_all_say_what_they_are(names: Mapping[str, Any]) -> None:
    assert len({record.label for record in names.values()}) == len(names) > 0
    assert len({record.says for record in names.values()}) == len(names)
    assert all(record.label and record.says for record in names.values())
    assert all(key == getattr(record, "key", record.label) for key, record in names.items())


@pytest.mark.parametrize("names", [KINDS, VARIANTS, VERDICTS], ids=["kinds", "variants", "verdicts"])
def test_every_one_has_a_colour_of_its_own(names: Mapping[str, Any]) -> None:
    colors = [record.color for record in names.values()]
    assert len(set(colors)) == len(colors)
    assert all(re.fullmatch("#[0-9a-f]{6}", color) for color in colors)


def test_kinds_have_codes_of_two_letters_and_scores_name_them() -> None:
    assert len({kind.code for kind in KINDS.values()}) == len(KINDS)
    assert all(len(kind.code) == 2 for kind in KINDS.values())
    assert kind_of_score("broad") is KINDS["gatherer"]
    assert kind_of_score("sink") is KINDS["sink"]


def test_the_baseline_comes_first_and_changes_nothing() -> None:
    assert next(iter(VARIANTS)) == BASELINE
    assert not VARIANTS[BASELINE].changes
    assert all(variant.changes for key, variant in VARIANTS.items() if key != BASELINE)
    assert {key: variant.label for key, variant in VARIANTS.items()} == LABELS


GOOD = {"key": "slow_muon", "label": "slow Muon", "color": "#1a5fd0", "says": "half of Muon's learning rate"}


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"key": "Slow Muon"}, "lower-case"),
        ({"color": "blue"}, "six digits"),
        ({"color": "#1A5FD0 "}, "six digits"),
        ({"color": ""}, "six digits"),
        ({"label": ""}, "label"),
        ({"says": ""}, "what is changed"),
    ],
)
def test_a_variant_that_no_figure_could_draw_is_refused(wrong: dict[str, str], said: str) -> None:
    assert Variant(**GOOD).changes == {}
    with pytest.raises(ValueError, match=said):
        Variant(**(GOOD | wrong))


def test_no_verdict_yet_has_a_colour_too() -> None:
    assert PENDING.label not in VERDICTS
    assert color_of(PENDING.label) == PENDING.color
    assert color_of("there") == VERDICTS["there"].color
    with pytest.raises(KeyError):
        color_of("true")


def test_a_model_without_a_run_shows_measures_that_have_names() -> None:
    assert DEFAULT in MEASURED
    assert set(MEASURED) <= set(MEASURES)
    assert {measure.table for measure in MEASURES.values()} <= set(TABLES)

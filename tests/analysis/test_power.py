"""What the dip test can see: the reviewer's numbers, the rate of false alarms, and how alike heads are."""

import math

import numpy as np
import pandas as pd
import pytest

from civilwar.analysis import power
from civilwar.analysis.statistics import generator

#: Eight seeds, six layers, four heads: the sweep's.
SHAPE = (8, 6, 4)


def test_power_is_that_of_the_review(monkeypatch: pytest.MonkeyPatch) -> None:
    # the review centred each layer and left its scale as it was; in its own scale a little more is seen
    assert power.power(SHAPE, membership="one a layer") == pytest.approx(0.57, abs=0.08)
    monkeypatch.setattr(power, "in_own_scale", lambda values, shape: values)
    assert power.power(SHAPE) > 0.95
    assert power.power(SHAPE, membership="one a layer") == pytest.approx(0.48, abs=0.08)
    assert power.power(SHAPE, membership="one a layer", icc=0.36) == pytest.approx(0.03, abs=0.03)
    # a tenth of the heads is not seen however far away
    assert power.power(SHAPE, share=0.1, separation=7) == 0


def test_one_population_is_no_two() -> None:
    for icc in (0.0, 0.4):
        assert power.power(SHAPE, separation=0, icc=icc) <= 0.025


def test_layers_of_any_place_and_spread_come_to_one_scale() -> None:
    x = generator(3).normal(size=SHAPE)
    moved = 5 * np.arange(6)[None, :, None] + np.geomspace(0.01, 100, 6)[None, :, None] * x
    np.testing.assert_allclose(power.in_own_scale(moved.ravel(), SHAPE), power.in_own_scale(x.ravel(), SHAPE))
    within = power.in_own_scale(x.ravel(), SHAPE).reshape(SHAPE).var(2, ddof=1).mean(0)
    np.testing.assert_allclose(within, 1)
    moved[:, 2] = 7.0
    assert np.isnan(power.in_own_scale(moved.ravel(), SHAPE).reshape(SHAPE)).all((0, 2)).tolist() == [
        i == 2 for i in range(6)
    ]


def test_what_is_undefined_has_no_power() -> None:
    assert math.isnan(power.power(SHAPE, icc=math.nan))
    assert math.isnan(power.power(SHAPE, icc=1.0))
    assert power.power(SHAPE, icc=-0.2, draws=20) == power.power(SHAPE, icc=0.0, draws=20)


@pytest.mark.parametrize("icc", [0.0, 0.4, 0.8])
def test_heads_are_as_alike_as_they_were_made(icc: float) -> None:
    found = []
    for key in range(60):
        values = power.populations(generator(0, key), SHAPE, 0.5, 0.0, icc)
        index = pd.MultiIndex.from_product([range(n) for n in SHAPE], names=["seed", "layer", "kv_head"])
        found.append(power.intraclass(pd.DataFrame({"value": values}, index=index).reset_index()))
    assert np.mean(found) == pytest.approx(icc, abs=0.05)


def test_likeness_needs_seeds_and_heads() -> None:
    one_seed = pd.DataFrame({"seed": 1, "layer": [0, 0, 1, 1], "value": [0.1, 0.2, 0.5, 0.4]})
    assert math.isnan(power.intraclass(one_seed))
    assert math.isnan(power.intraclass(one_seed[:0]))
    equal = pd.DataFrame({"seed": [0, 0, 1, 1], "layer": 0, "value": 8.0})
    assert math.isnan(power.intraclass(equal))


def test_members_are_as_many_as_asked_for() -> None:
    far = power.populations(generator(1), (200, 1, 4), 0.1, 1000, 0.0)
    assert (far > 400).mean() == pytest.approx(0.1, abs=0.03)
    one = power.populations(generator(1), (50, 3, 4), 0.1, 1000, 0.0, "one a layer").reshape(50, 3, 4)
    assert ((one > 500).sum(-1) == 1).all()


def test_curves_rise_with_separation_and_begin_at_false_alarms() -> None:
    table = power.curves(SHAPE, 0.4, shares=(0.5,), separations=(0, 8), draws=20)
    assert table.columns.to_list() == ["share", "separation", "icc", "power"]
    for _, curve in table.groupby("icc"):
        assert curve["power"].iloc[0] < 0.2 < 0.9 < curve["power"].iloc[-1]

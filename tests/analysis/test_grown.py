"""What a grown model's heads do, on a small table whose answers are known."""

import numpy as np
import pandas as pd
import pytest

from civilwar.analysis import grown, speed
from civilwar.plots import grown as draw
from civilwar.plots import style


def result(sharp: bool) -> dict:
    """Four layers of 6 query and 3 KV heads; the longer the keys, the sharper the attention where ``sharp``."""
    layers, heads = np.arange(24) // 6, np.arange(24) % 6
    kv_heads = heads // 2
    entropy = 0.9 - 0.2 * kv_heads + 0.01 * heads if sharp else 0.5 + 0.1 * ((heads * 5 + layers * 7) % 3)
    return {
        "model": "small",
        "parameters": 1000,
        "texts": 2,
        "tokens": 64,
        "sink_horizon": 64,
        "induction_uniform": 0.01,
        "query_heads": {
            "layer": layers.tolist(),
            "query_head": heads.tolist(),
            "kv_head": kv_heads.tolist(),
            "sink": np.where(heads == 5, 0.9, 0.1).tolist(),
            "entropy_normalised": entropy.tolist(),
            "induction_score": np.where((heads == 0) & (layers == 3), 0.8, 0.05).tolist(),
            "max_logit": np.linspace(1, 24, 24).tolist(),
        },
        "kv_heads": {
            "layer": (np.arange(12) // 3).tolist(),
            "kv_head": (np.arange(12) % 3).tolist(),
            "key_norm": (5.0 + np.arange(12) % 3).tolist(),
            "participation_ratio": [8.0] * 12,
            "d_head": [64] * 12,
        },
    }


def test_heads_are_counted_by_the_rules_of_the_book() -> None:
    numbers = grown.summary(result(sharp=True), draws=99)
    assert (numbers["grown_heads"], numbers["grown_sinks"], numbers["grown_induction"]) == (24, 4, 1)
    assert numbers["grown_share_median"] == pytest.approx(8 / 64)
    assert numbers["grown_largest_logit"] == 24
    by_layer = grown.by_layer(grown.heads(result(sharp=True)))
    assert by_layer["induction"].tolist() == pytest.approx([0, 0, 0, 1 / 6])


def test_the_correlation_stands_beside_norms_that_were_dealt_anew() -> None:
    there = grown.against_null(grown.heads(result(sharp=True)), "entropy_normalised", draws=99)
    assert there["rho"] < -0.9 < there["low"]
    assert there["p"] <= 0.05
    none = grown.against_null(grown.heads(result(sharp=False)), "entropy_normalised", draws=99)
    assert none["low"] <= none["rho"] <= none["high"]


def test_what_was_recorded_of_the_grown_model_can_be_drawn() -> None:
    table = grown.heads(speed.measured("grown"))
    assert isinstance(table, pd.DataFrame)
    for draws in (draw.sinks, draw.focus):
        _, ax = style.single()
        draws(table, ax)
        assert ax.get_xlabel()
        assert len(ax.collections) == 2

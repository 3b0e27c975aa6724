"""The inspector's data: parts that do not fit each other are refused when they are put together."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from civilwar.inspector.pack import unpack
from civilwar.inspector.payload import Gain, Kind, Kinds, Null, Patterns, Payload, Series, Text

LAYERS, QUERY_HEADS, KV_HEADS, D_HEAD = 3, 4, 2, 6
STEPS, LATER = (0, 1, 4), (0, 4)


@pytest.fixture
def payload() -> Payload:
    """Every axis of another size."""
    return Payload(
        name="made",
        n_layers=LAYERS,
        n_query_heads=QUERY_HEADS,
        n_kv_heads=KV_HEADS,
        d_head=D_HEAD,
        context=None,
        last_step=5,
        default="norm",
        measures=(
            Series("norm", "norm", "", "kv_head", "A length.", STEPS, np.ones((3, LAYERS, KV_HEADS))),
            Series(
                *("spread", "spread", "nats", "query_head", "A spread.", LATER, np.ones((2, LAYERS, QUERY_HEADS))),
                Null("nothing", (0,), np.zeros((1, LAYERS, 2))),
            ),
        ),
        gain=Gain(
            steps=LATER,
            gain=np.ones((2, LAYERS, D_HEAD)),
            energy_steps=STEPS,
            energy=np.ones((3, LAYERS, KV_HEADS, D_HEAD)),
            golden=np.zeros((LAYERS, D_HEAD), np.uint8),
            rank=np.zeros((LAYERS, D_HEAD), np.int32),
            wavelength=np.ones(D_HEAD // 2, np.float32),
        ),
        texts=(Text(("a", "b"), (False, True)),),
        kinds=Kinds((Kind("sink", "Si", "#ff0000"),), LATER, np.zeros((2, LAYERS, QUERY_HEADS), np.uint8)),
        patterns=Patterns(LATER, np.zeros((2, 1, LAYERS, QUERY_HEADS, 3), np.uint8)),
    )


def test_the_browser_s_header(payload: Payload) -> None:
    meta, arrays = unpack(payload.core)
    assert meta["clocks"] == [list(STEPS), list(LATER), [0]]
    assert [measure["clock"] for measure in meta["measures"]] == [0, 1]
    assert [measure["null"] for measure in meta["measures"]] == [None, {"says": "nothing", "clock": 2}]
    assert (meta["kind_clock"], meta["gain_clock"], meta["energy_clock"], meta["pattern_clock"]) == (1, 1, 0, 1)
    assert meta["texts"] == [{"tokens": ["a", "b"], "separator": [False, True]}]
    assert meta["kinds"] == [{"name": "sink", "code": "Si", "color": "#ff0000"}]
    assert set(arrays) == {"norm", "spread", "null_spread", "kind", "gain", "energy", "golden", "rank", "wavelength"}
    assert payload.metrics == ("norm", "spread", "kind")


def test_what_a_model_lacks_is_left_out(payload: Payload) -> None:
    bare = replace(payload, kinds=None, patterns=None)
    meta, arrays = unpack(bare.core)
    assert (meta["kinds"], meta["kind_clock"], meta["pattern_clock"]) == ([], None, None)
    assert "kind" not in arrays
    assert bare.metrics == ("norm", "spread")
    with pytest.raises(ValueError, match="made has no attention patterns"):
        bare.layer(0)


BROKEN: dict[str, Callable[[Payload], Payload]] = {
    "3 KV heads": lambda p: replace(p, n_kv_heads=3),
    "'loudness' among them": lambda p: replace(p, default="loudness"),
    "different keys": lambda p: replace(p, measures=p.measures * 2),
    # as many numbers, but of the other kind of heads
    r"norm: expected float64 \[3, 3, 4\]": lambda p: replace(
        p, measures=(replace(p.measures[0], owner="query_head"), p.measures[1])
    ),
    r"norm: expected float64 \[2, 3, 2\]": lambda p: replace(
        p, measures=(replace(p.measures[0], steps=LATER), p.measures[1])
    ),
    "norm: expected steps from 0 on that rise": lambda p: replace(
        p, measures=(replace(p.measures[0], steps=(0, 4, 1)), p.measures[1])
    ),
    r"null of norm: expected float64 \[1, 3, 2\]": lambda p: replace(
        p, measures=(replace(p.measures[0], null=Null("x", (0,), np.zeros((1, 2, 3)))), p.measures[1])
    ),
    "kind: codes up to 7, for 1 kinds": lambda p: replace(
        p, kinds=Kinds((Kind("sink", "Si", "#ff0000"),), LATER, np.full((2, LAYERS, QUERY_HEADS), 7, np.uint8))
    ),
    "golden: expected uint8": lambda p: replace(p, gain=replace(p.gain, golden=p.gain.golden.astype(bool))),
    r"energy: expected float64 \[3, 3, 2, 6\]": lambda p: replace(p, gain=replace(p.gain, energy=p.gain.gain)),
    "wavelength: expected float32": lambda p: replace(p, gain=replace(p.gain, wavelength=np.ones(D_HEAD // 2))),
    "whether it is a separator": lambda p: replace(p, texts=(Text(("a", "b"), (False,)),)),
    r"pattern: expected uint8 \[2, 1, 3, 4, 6\]": lambda p: replace(p, texts=(Text(("a",) * 3, (False,) * 3),)),
}


@pytest.mark.parametrize("said", BROKEN)
def test_parts_that_do_not_fit_are_refused(payload: Payload, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        BROKEN[said](payload)

"""Packing for the browser: nothing is lost but the last bits of floats, and the same data give the same bytes."""

import gzip
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from civilwar.inspector.pack import ALIGNMENT, LARGEST, pack, unpack


@given(
    arrays(
        np.float64,
        array_shapes(max_dims=4, max_side=4),
        elements=st.floats(-1e6, 1e6, width=32, allow_subnormal=False) | st.just(float("nan")),
    ),
    st.text(),
)
def test_floats_come_back_within_half_a_step(values: np.ndarray, text: str) -> None:
    meta, found = unpack(pack({"text": text}, {"first": np.zeros(3, np.uint8), "values": values}))
    assert meta == {"text": text}
    assert found["values"].shape == values.shape
    defined = np.isfinite(values)
    assert (np.isfinite(found["values"]) == defined).all()
    if defined.any():
        half = np.ptp(values[defined]) / LARGEST / 2
        rounding = 1e-6 * np.abs(values[defined]).max()
        assert np.abs(found["values"] - values)[defined].max() <= half + rounding


def test_plain_arrays_come_back_as_they_were() -> None:
    given_arrays = {
        "wide": np.array([[6.28, 1e7]], np.float32),
        "codes": np.arange(256, dtype=np.uint8).reshape(4, 64),
        "steps": np.array([-7, 0, 2**31 - 1], np.int32),
    }
    _, found = unpack(pack({}, given_arrays))
    for name, array in given_arrays.items():
        assert found[name].dtype == array.dtype
        assert (found[name] == array).all()


def test_arrays_begin_where_typed_arrays_may() -> None:
    raw = gzip.decompress(
        pack({"odd": "é"}, {"a": np.zeros(3, np.uint8), "b": np.zeros(5), "c": np.zeros(2, np.int32)})
    )
    header = json.loads(raw[4 : 4 + int.from_bytes(raw[:4], "little")])
    assert [entry["offset"] % ALIGNMENT for entry in header["arrays"].values()] == [0, 0, 0]


def test_the_same_data_give_the_same_bytes() -> None:
    assert pack({"a": 1}, {"x": np.linspace(0, 1, 9)}) == pack({"a": 1}, {"x": np.linspace(0, 1, 9)})


def test_what_a_browser_could_not_read_is_refused() -> None:
    with pytest.raises(ValueError, match="JSON"):
        pack({"value": float("nan")}, {})
    with pytest.raises(TypeError, match="int64"):
        pack({}, {"x": np.zeros(2, np.int64)})

"""Packing for the browser: nothing is lost but the last bits of floats, and the same data give the same bytes."""

import gzip
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from civilwar.inspector.pack import KEY, LARGEST, as_it_arrives, pack, unpack


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
    odd = {"a": np.zeros(3, np.uint8), "b": np.zeros(5), "c": np.zeros(3, np.int32), "d": np.zeros(1, np.float32)}
    raw = gzip.decompress(pack({"odd": "é"}, odd))
    size = int.from_bytes(raw[:8], "little")
    header = json.loads(raw[8 : 8 + size])
    assert set(header) == {"__metadata__", *odd}
    assert set(header["__metadata__"]) == {KEY}
    for name in odd:
        width = {"U8": 1, "U16": 2, "I32": 4, "F32": 4}[header[name]["dtype"]]
        assert (8 + size + header[name]["data_offsets"][0]) % width == 0


def test_what_a_browser_gets_can_be_had_without_packing() -> None:
    values = np.array([[0.1, np.nan], [7.0, -3.0]])
    _, found = unpack(pack({}, {"values": values}))
    np.testing.assert_array_equal(found["values"], as_it_arrives(values))


def test_the_same_data_give_the_same_bytes() -> None:
    def made() -> bytes:
        arrays = {name: np.linspace(0, 1, 9) for name in "xyzuvw"}
        return pack({"a": 1, "b": ["c"]}, arrays | {"codes": np.arange(9, dtype=np.uint8)})

    # safetensors would order several entries of metadata differently from time to time
    assert {made() for _ in range(20)} == {made()}
    assert made()[4:8] == bytes(4)  # gzip's time stamp


def test_what_a_browser_could_not_read_is_refused() -> None:
    with pytest.raises(ValueError, match="JSON"):
        pack({"value": float("nan")}, {})
    with pytest.raises(TypeError, match="int64"):
        pack({}, {"x": np.zeros(2, np.int64)})

"""A header and named arrays as one compressed block of bytes, for the browser. `js/codec.js` undoes it.

Layout, before gzip: the header's length in bytes (uint32, little-endian), the header (JSON, padded with spaces), then the
arrays, each beginning at a multiple of 8 bytes counted from the start. Arrays of float64 travel as 16-bit steps between their
smallest and largest value, so they come back to within 1/131,068 of that range; the top code stands for undefined. That is
fine for measures and useless for what spans many sizes: send such an array as float32, which travels as it is.
"""

import gzip
import json
from collections.abc import Mapping
from typing import Any

import numpy as np

#: The code of an undefined value, and the largest code of a defined one.
UNDEFINED = 65535
LARGEST = UNDEFINED - 1
ALIGNMENT = 8
#: What travels as it is.
PLAIN = {"uint8": np.uint8, "int32": np.int32, "float32": np.float32}


def pack(meta: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> bytes:
    """``meta`` (whatever JSON can say) and ``arrays`` (uint8, int32, float32, float64) as bytes; the same every time."""
    bodies: list[bytes] = []
    described: dict[str, dict[str, Any]] = {}
    for name, array in arrays.items():
        described[name], body = _encode(array)
        bodies.append(body + bytes(-len(body) % ALIGNMENT))
    header = _header(meta, described, bodies)
    # no time stamp and no file name: the same run gives the same bytes
    return gzip.compress(len(header).to_bytes(4, "little") + header + b"".join(bodies), mtime=0)


def unpack(packed: bytes) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Inverse of `pack`, up to the 16-bit steps; float64 comes back as float32."""
    raw = gzip.decompress(packed)
    size = int.from_bytes(raw[:4], "little")
    header = json.loads(raw[4 : 4 + size])
    return header["meta"], {name: _decode(raw, entry) for name, entry in header["arrays"].items()}


def _header(meta: Mapping[str, Any], described: dict[str, dict[str, Any]], bodies: list[bytes]) -> bytes:
    """JSON with every array's offset. The offsets depend on the header's length, so room is left for them."""
    room = 24 * len(described)
    for entry in described.values():
        entry["offset"] = 0
    length = len(_json({"meta": meta, "arrays": described})) + room
    length += -(4 + length) % ALIGNMENT
    offset = 4 + length
    for entry, body in zip(described.values(), bodies, strict=True):
        entry["offset"] = offset
        offset += len(body)
    return _json({"meta": meta, "arrays": described}).ljust(length)


def _json(value: Mapping[str, Any]) -> bytes:
    # NaN is not JSON, and a browser would refuse the whole header
    return json.dumps(value, allow_nan=False, separators=(",", ":")).encode()


def _encode(array: np.ndarray) -> tuple[dict[str, Any], bytes]:
    kind = str(array.dtype)
    if kind in PLAIN:
        return {"dtype": kind, "shape": array.shape}, np.ascontiguousarray(array).tobytes()
    if array.dtype.kind != "f":
        raise TypeError(f"arrays of {kind} do not travel: expected float64, float32, uint8 or int32.")
    finite = np.isfinite(array)
    low, high = (float(array[finite].min()), float(array[finite].max())) if finite.any() else (0.0, 0.0)
    step = (high - low) / LARGEST
    codes = np.full(array.shape, UNDEFINED, dtype="<u2")
    codes[finite] = np.rint((array[finite] - low) / step) if step > 0 else 0
    return {"dtype": "steps", "shape": array.shape, "low": low, "step": step}, codes.tobytes()


def _decode(raw: bytes, entry: Mapping[str, Any]) -> np.ndarray:
    count = int(np.prod(entry["shape"]))
    if entry["dtype"] in PLAIN:
        plain = np.frombuffer(raw, PLAIN[entry["dtype"]], count, entry["offset"])
        return plain.reshape(entry["shape"])
    codes = np.frombuffer(raw, "<u2", count, entry["offset"]).reshape(entry["shape"])
    values = entry["low"] + codes.astype(np.float64) * entry["step"]
    return np.where(codes == UNDEFINED, np.nan, values).astype(np.float32)

"""A header and named arrays as one compressed block of bytes, for the browser. `js/codec.js` undoes it.

The block is a gzipped safetensors file (https://github.com/huggingface/safetensors): the length of its own header in bytes
(uint64, little-endian), that header (JSON), then the arrays. Ours stands in its metadata as JSON under `KEY`, in two parts:
``meta``, and ``steps``. Arrays of float64 travel as 16-bit steps between their smallest and largest value, so they come back
to within 1/131,068 of that range; the top code stands for undefined, and ``steps`` has the smallest value and the step of
each. That is fine for measures and useless for what spans many sizes: send such an array as float32, which travels as it is.
"""

import gzip
import json
import zlib
from collections.abc import Mapping
from typing import Any

import numpy as np
import safetensors.numpy

#: The one entry of the metadata: safetensors writes several in no certain order.
KEY = "inspector"
#: The code of an undefined value, and the largest code of a defined one.
UNDEFINED = 65535
LARGEST = UNDEFINED - 1
#: What travels as it is.
PLAIN = ("uint8", "int32", "float32")


def pack(meta: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> bytes:
    """``meta`` (whatever JSON can say) and ``arrays`` (uint8, int32, float32, float64) as bytes; the same every time.

    Raises TypeError for arrays of another type, and ValueError for what JSON cannot say.
    """
    tensors: dict[str, np.ndarray] = {}
    steps: dict[str, tuple[float, float]] = {}
    for name, array in arrays.items():
        if str(array.dtype) in PLAIN:
            tensors[name] = np.ascontiguousarray(array)
        else:
            tensors[name], *scale = quantised(array)
            steps[name] = (scale[0], scale[1])
    # NaN is not JSON, and a browser would refuse the whole header
    said = json.dumps({"meta": meta, "steps": steps}, allow_nan=False, separators=(",", ":"))
    return _gzipped(safetensors.numpy.save(tensors, {KEY: said}))


def unpack(packed: bytes) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Inverse of `pack`, up to the 16-bit steps; float64 comes back as float32."""
    raw = gzip.decompress(packed)
    size = int.from_bytes(raw[:8], "little")
    said = json.loads(json.loads(raw[8 : 8 + size])["__metadata__"][KEY])
    arrays = safetensors.numpy.load(raw)
    return said["meta"], arrays | {name: _restored(arrays[name], *scale) for name, scale in said["steps"].items()}


def quantised(array: np.ndarray) -> tuple[np.ndarray, float, float]:
    """Codes (uint16) of an array's values, the smallest value, and the step between two codes."""
    if array.dtype != np.float64:
        raise TypeError(f"arrays of {array.dtype} do not travel: expected float64, {', '.join(PLAIN)}.")
    finite = np.isfinite(array)
    low, high = (float(array[finite].min()), float(array[finite].max())) if finite.any() else (0.0, 0.0)
    step = (high - low) / LARGEST
    codes = np.full(array.shape, UNDEFINED, dtype=np.uint16)
    codes[finite] = np.rint((array[finite] - low) / step) if step > 0 else 0
    return codes, low, step


def as_it_arrives(array: np.ndarray) -> np.ndarray:
    """An array of float64 as the browser has it after its travel: the nearest 16-bit step, as float32."""
    return _restored(*quantised(array))


def _gzipped(raw: bytes) -> bytes:
    """The smaller of two ways, without time stamp and file name, so that the same run gives the same bytes."""
    ways = []
    # small numbers that seldom repeat, as attention weights are, do better where only long repetitions count
    for strategy in (zlib.Z_DEFAULT_STRATEGY, zlib.Z_FILTERED):
        press = zlib.compressobj(9, zlib.DEFLATED, 16 + zlib.MAX_WBITS, zlib.DEF_MEM_LEVEL, strategy)
        ways.append(press.compress(raw) + press.flush())
    return min(ways, key=len)


def _restored(codes: np.ndarray, low: float, step: float) -> np.ndarray:
    values = low + codes.astype(np.float64) * step
    return np.where(codes == UNDEFINED, np.nan, values).astype(np.float32)

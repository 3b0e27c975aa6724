"""What a compiled graph calls: operators that no compiler looks into, which look up who listens when they run.

Each writes to `CLOCK`, so that a compiler neither drops nor reorders them.
"""

import torch
from torch import Tensor

from civilwar.hear.call import Allowed, Call
from civilwar.hear.hearing import OPEN

#: Operators run so far.
CLOCK = torch.zeros((), dtype=torch.int64)


@torch.library.custom_op("civilwar::begin", mutates_args=("clock",))
def begin(clock: Tensor, number: int, counted: bool, padding: Tensor | None) -> None:
    """`Hearing.begin` in a compiled graph."""
    clock += 1
    if number in OPEN:
        OPEN[number].begin(counted, padding)


@torch.library.custom_op("civilwar::end", mutates_args=("clock",))
def end(clock: Tensor, number: int) -> None:
    """`Hearing.end` in a compiled graph."""
    clock += 1
    if number in OPEN:
        OPEN[number].end()


@torch.library.custom_op("civilwar::attended", mutates_args=("clock",))
def attended(
    clock: Tensor,
    number: int,
    place: str,
    query: Tensor,
    key: Tensor,
    value: Tensor | None,
    output: Tensor | None,
    scaling: float,
    causal: bool,
    window: int | None,
    offset: int,
    mask: Tensor | None,
    softcap: float | None,
    sinks: Tensor | None,
    bias: Tensor | None,
    repeated: bool,
) -> None:
    """`Hearing.hear` in a compiled graph."""
    clock += 1
    if number in OPEN:
        allowed = Allowed(causal, window, mask, offset)
        OPEN[number].hear(place, Call(query, key, value, output, scaling, allowed, softcap, sinks, bias, repeated))

"""One call, told to everyone who listens to its model: at once, or from a compiled graph by an operator."""

from dataclasses import dataclass

import torch
from torch import nn

from civilwar.hear import compiled
from civilwar.hear.hearing import OPEN, Call


@dataclass
class Depth:
    """How many attention functions that were already told of the program is inside of."""

    n: int = 0


INSIDE = Depth()


def place_in(number: int, module: nn.Module) -> str | None:
    """The module's qualified name in the model of an open hearing; None where it is another model's."""
    return OPEN[number].names.get(id(module))


def tell(number: int, place: str, call: Call) -> None:
    """Hand one call to the hearing ``number``."""
    if not torch.compiler.is_compiling():
        OPEN[number].hear(place, call)
        return
    tensors = (call.query, call.key, call.value, call.output, call.allowed.mask, call.sinks, call.bias)
    query, key, value, output, mask, sinks, bias = [x if x is None else x.detach() for x in tensors]
    allowed = call.allowed
    compiled.attended(
        compiled.CLOCK,
        number,
        place,
        query,
        key,
        value,
        output,
        call.scaling,
        allowed.causal,
        allowed.window,
        allowed.offset,
        mask,
        call.softcap,
        sinks,
        bias,
    )

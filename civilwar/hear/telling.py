"""One call, told to everyone who listens to its model: at once, or from a compiled graph by an operator."""

import threading

import torch
from torch import nn

from civilwar.hear import compiled
from civilwar.hear.call import Call
from civilwar.hear.hearing import OPEN


class Depth(threading.local):
    """How many attention functions that will be told of this thread is inside of."""

    n = 0


INSIDE = Depth()


def place_in(number: int, module: nn.Module) -> str | None:
    """The module's qualified name in the model of an open hearing; None where it is another model's."""
    hearing = OPEN.get(number)
    return None if hearing is None else hearing.names.get(id(module))


def tell(number: int, place: str, call: Call) -> None:
    """Hand one call to the hearing ``number``."""
    if not torch.compiler.is_compiling():
        if (hearing := OPEN.get(number)) is not None:
            hearing.hear(place, call)
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
        call.repeated,
    )

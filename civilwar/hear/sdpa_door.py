"""The second door: `torch.nn.functional.scaled_dot_product_attention`, which models of one's own call.

The name is replaced where it stands: in the library, and in the files of the model's own modules that imported it by name.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from civilwar.hear.call import Allowed, Call
from civilwar.hear.hearing import OPEN
from civilwar.hear.replacing import replaced, spaces_of
from civilwar.hear.telling import INSIDE, place_in, tell

_library = F.scaled_dot_product_attention
#: How many callers up a module is looked for.
CALLERS = 12


@contextmanager
def opened(root: nn.Module) -> Iterator[None]:
    """Listen at the function, as long as anybody listens."""
    with replaced(
        [vars(F), *spaces_of(root)],
        lambda value: _attend if value is _library else None,
        lambda value: _library if value is _attend else None,
    ):
        yield


def _attend(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Tensor:
    out: Tensor = _library(query, key, value, attn_mask, dropout_p, is_causal, scale=scale, enable_gqa=enable_gqa)
    if not INSIDE.n:
        for number in list(OPEN):
            place = _caller(number)
            if place is not None:
                scaling = query.shape[-1] ** -0.5 if scale is None else scale
                allowed = Allowed(causal=is_causal, mask=attn_mask)
                tell(
                    number,
                    place,
                    Call(_whole(query), _whole(key), _whole(value), _whole(out), scaling, allowed, repeated=True),
                )
    return out


def _whole(x: Tensor) -> Tensor:
    """[batch, head, pos, d]: without a batch it is one of one text."""
    return x[None] if x.ndim == 3 else x.flatten(0, -4)


def _caller(number: int) -> str | None:
    """The module that called, by its qualified name; empty where it cannot be told, None where another model's did."""
    if torch.compiler.is_compiling():
        return ""
    frame: Any = sys._getframe(2)
    for _ in range(CALLERS):
        if frame is None:
            break
        owner = frame.f_locals.get("self")
        if isinstance(owner, nn.Module):
            return place_in(number, owner)
        frame = frame.f_back
    hearing = OPEN.get(number)
    return "" if hearing is not None and hearing.inside else None

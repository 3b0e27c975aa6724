"""The first door: where every model of transformers asks for its attention function.

What is handed out is the function itself, in a wrapper that calls it and then tells. Nothing is registered: a name of its
own without a mask function of its own would take the model's masks away.
"""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

from torch import Tensor, nn

from civilwar.hear.call import Allowed, Call
from civilwar.hear.hearing import OPEN, Unheard
from civilwar.hear.replacing import replaced, spaces_of
from civilwar.hear.telling import INSIDE, place_in, tell

#: What follows the module in a call.
TENSORS = ("query", "key", "value", "attention_mask")

#: What files of models call the table that they ask.
TABLE = "ALL_ATTENTION_FUNCTIONS"


@contextmanager
def opened(root: nn.Module) -> Iterator[None]:
    """Put a table that tells in the place of each that the model's files ask, as long as anybody listens.

    A table of another type is what makes a compiled model look again.
    """
    library = sys.modules.get("transformers.modeling_utils")
    if library is None:
        yield
        return
    kind = _telling(library.AttentionInterface)
    with replaced(
        spaces_of(root),
        lambda value: kind(value) if isinstance(value, library.AttentionInterface) else None,
        lambda value: value.original if isinstance(value, kind) else None,
    ):
        yield


@cache
def _telling(interface: type[Any]) -> type[Any]:
    """The table's type, but for what it hands out."""

    class TellingAttention(interface):  # type: ignore[misc]
        """What the original hands out, in a wrapper that tells."""

        def __init__(self, original: Any) -> None:
            self.original = original
            self._local_mapping = original._local_mapping

        def get_interface(self, attn_implementation: str, default: Callable[..., Any]) -> Callable[..., Any]:
            return _wrapper(super().get_interface(attn_implementation, default), attn_implementation or "eager")

    return TellingAttention


def _wrapper(function: Callable[..., Any], implementation: str) -> Callable[..., Any]:
    def attend(module: nn.Module, *args: Any, **kwargs: Any) -> Any:
        INSIDE.n += 1
        try:
            out = function(module, *args, **kwargs)
        finally:
            INSIDE.n -= 1
        given = {**kwargs, **dict(zip(TENSORS, args, strict=False))}
        for number in list(OPEN):
            place = place_in(number, module)
            if place is not None:
                _tell(number, place, module, implementation, given, out[0])
                if OPEN[number].edit is not None:
                    out = (OPEN[number].edited(place, out[0]), *out[1:])
        return out

    return attend


def _tell(
    number: int, place: str, module: nn.Module, implementation: str, given: dict[str, Any], output: Tensor
) -> None:
    query, key, value = given["query"], given["key"], given["value"]
    if given.get("sinks") is not None:
        raise Unheard(
            f"{place} has sinks that differ by query, which are not understood here; hand its queries and keys over with "
            "observe(q, k, layer=...), or leave the model out."
        )
    scaling = given.get("scaling")
    call = Call(
        query,
        key,
        value,
        output.transpose(1, 2),
        query.shape[-1] ** -0.5 if scaling is None else scaling,
        allowed_by(implementation, module, given, place),
        given.get("softcap"),
        given.get("s_aux"),
        given.get("position_bias"),
    )
    tell(number, place, call)


def allowed_by(implementation: str, module: nn.Module, given: dict[str, Any], place: str) -> Allowed:
    """Which keys a query may see, as the implementation understands what it was given. Raises Unheard where unknown."""
    mask = given.get("attention_mask")
    n_queries, n_keys = given["query"].shape[2], given["key"].shape[2]
    if implementation == "eager":
        return Allowed(mask=mask)
    told = given.get("is_causal")
    causal = bool(getattr(module, "is_causal", True) if told is None else told)
    if implementation == "sdpa":
        return Allowed(causal=causal and mask is None and n_queries > 1, mask=mask)
    if implementation.startswith("flash_attention") and given.get("cu_seq_lens_q") is None:
        real = None if mask is None else mask.bool()
        return Allowed(
            causal,
            given.get("sliding_window"),
            None if real is None else real[:, None, None],
            n_keys - n_queries,
            real,
        )
    if implementation == "flex_attention" and mask is not None and hasattr(mask, "mask_mod"):
        # loads the compiler, which takes seconds
        from torch.nn.attention.flex_attention import create_mask

        n_texts, n_heads, *_ = mask.shape
        device = str(given["query"].device)
        return Allowed(mask=create_mask(mask.mask_mod, n_texts, n_heads, n_queries, n_keys, device))
    raise Unheard(
        f"{place} attends by {implementation!r}, whose masks are not known here: load the model with "
        "attn_implementation='sdpa' or 'eager' to hear it."
    )

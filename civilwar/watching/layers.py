"""Which attention call of a model is which layer: found once, from one forward pass, and held to from then on."""

from collections.abc import Sequence

import torch
from torch import nn

from civilwar.hear.heard import Heard
from civilwar.hear.names import unwrapped


class Layers:
    """The attention calls of a model, in order, each known by its name.

    They are numbered by their place in the model, as the model numbers its layers; where two calls share a place, as self- and
    cross-attention do, all are numbered in the order of their calls.
    """

    def __init__(self, heard: Sequence[Heard]) -> None:
        """Raises ValueError where nothing was heard, or where a model's heads differ so that no table could hold them."""
        if not heard:
            raise ValueError("nothing was heard of this model: hand its queries and keys over with watch.observe.")
        first = list({one.name: one for one in heard}.values())
        told = [one.layer for one in first]
        numbers = told if len(set(told)) == len(told) and min(told) >= 0 else list(range(len(told)))
        self._order = numbers
        self._numbers = {one.name: number for one, number in zip(first, numbers, strict=True)}
        self._places = {number: one.name for one, number in zip(first, numbers, strict=True)}
        self.group_sizes = {
            number: max(1, one.n_query_heads // one.n_kv_heads) for one, number in zip(first, numbers, strict=True)
        }
        self.n_layers = max(numbers) + 1
        self.n_query_heads = max(one.n_query_heads for one in first)
        self.n_kv_heads = max(one.n_kv_heads for one in first)
        if self.n_query_heads % self.n_kv_heads:
            self.n_kv_heads = self.n_query_heads
        self.d_head = max(one.key.shape[-1] for one in first)
        self.causal = all(_is_causal(one) for one in first)

    @property
    def names(self) -> tuple[str, ...]:
        """Name of every layer's attention, empty where a layer has none."""
        return tuple(self._places.get(layer, "") for layer in range(self.n_layers))

    @property
    def numbers(self) -> list[int]:
        """Layers that have attention."""
        return sorted(self._places)

    def knows(self, heard: Heard) -> bool:
        """Whether the call is one of those found at first."""
        return self._found(heard) is not None

    def number(self, heard: Heard) -> int:
        """The layer of a call."""
        found = self._found(heard)
        if found is None:
            raise KeyError(heard.name)
        return found

    def _found(self, heard: Heard) -> int | None:
        if heard.name in self._numbers:
            return self._numbers[heard.name]
        # a compiled graph knows calls by their order only
        place = heard.name.removeprefix("sdpa ")
        if not place.isdecimal() or int(place) >= len(self._order):
            return None
        return self._order[int(place)]

    def modules(self, model: nn.Module) -> dict[int, nn.Module]:
        """The module that attends, of every layer where one is known."""
        by_name = dict(unwrapped(model).named_modules())
        return {layer: by_name[name] for layer, name in self._places.items() if name in by_name}


def _is_causal(heard: Heard) -> bool:
    """Whether no query of a call saw a key after it."""
    n = heard.query.shape[2]
    if n != heard.key.shape[2]:
        return False
    seen, _ = heard.allowed.block(slice(0, 1), slice(0, n), n, heard.query.device)
    if seen is None:
        return n < 2
    after = torch.ones(n, n, dtype=torch.bool, device=heard.query.device).triu(1)
    return not bool((seen & after).any())

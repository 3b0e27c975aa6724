"""Who listens to which model: the calls of one forward pass in order, and what must not be counted left out."""

import itertools
from collections import Counter
from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor, nn

from civilwar.hear.call import Call
from civilwar.hear.heard import Heard
from civilwar.hear.names import layer_of, names_of, unwrapped

Listener = Callable[[Heard], None]
#: Takes a layer's number and its heads' outputs, [batch, pos, query_head, d_value], and returns what shall go on instead.
Edit = Callable[[int, Tensor], Tensor]

#: Hearings that are open, by their numbers; a compiled graph knows only the number.
OPEN: dict[int, "Hearing"] = {}
_NUMBERS = itertools.count()


class Unheard(ValueError):
    """A model ran and its attention could not be heard, or not as the model computes it."""


def recomputing() -> bool:
    """Whether activation checkpointing computes a layer again, while gradients are made; it was heard the first time."""
    return torch._C._current_graph_task_id() != -1


class Hearing:
    """One model and its listener, from the opening of `civilwar.hear.doors.hear` to its end."""

    def __init__(
        self, model: nn.Module, listener: Listener, *, evaluation: bool, refuse: bool, edit: Edit | None = None
    ) -> None:
        self.number = next(_NUMBERS)
        self.root = unwrapped(model)
        self.names = names_of(self.root)
        self.modules = {id(module): module for module in self.root.modules()}
        self.listener = listener
        #: Called after the listener with the call's queries and keys as autograd knows them; never from a compiled graph.
        self.live: Callable[[Heard, Tensor, Tensor], None] | None = None
        self.evaluation = evaluation
        self.refuse = refuse
        self.edit = edit
        #: Forward passes begun; those without gradients too, where they are asked for.
        self.forward = -1
        self.inside = False
        self.counted = False
        self.padding: Tensor | None = None
        self.calls: Counter[str] = Counter()
        #: Attention calls heard so far.
        self.n_heard = 0
        self.groups: dict[str, int] = {}

    # ------------------------------------------------------------ a forward pass

    def begin(self, counted: bool, padding: Tensor | None) -> None:
        """A forward pass of the whole model begins."""
        self.inside, self.counted, self.padding = True, counted, padding
        self.calls.clear()
        if counted:
            self.forward += 1

    def end(self) -> None:
        """It ends. Raises Unheard where it should have been heard and was not."""
        self.inside = False
        if self.counted and self.refuse and not self.calls:
            raise Unheard(self.silence())

    def silence(self) -> str:
        """What to do about a model that was not heard, in a sentence."""
        return (
            f"{type(self.root).__name__} ran and none of its attention was heard: it is computed where nothing can listen, so "
            "hand its queries and keys over with observe(q, k, layer=...) in the model's own code, or load the model with "
            "an attention that asks for its function (in transformers attn_implementation='sdpa' or 'eager')."
        )

    @property
    def listens(self) -> bool:
        """Whether an attention call now is one to count."""
        if recomputing():
            return False
        if self.inside:
            return self.counted
        return self.evaluation or torch.is_grad_enabled()

    # ------------------------------------------------------------ one attention call

    def hear(self, place: str, call: Call) -> None:
        """Tell the listener of one call. ``place``: the module's qualified name, empty where it is not known."""
        if not self.listens:
            return
        if not self.inside and self.calls[place]:
            # part of the model called by itself: a pass begins where a module comes again
            self.calls.clear()
        count = self.calls[place]
        self.calls[place] += 1
        self.n_heard += 1
        if place:
            layer = layer_of(place, self._module(place))
            name = f"{place} (call {count + 1})" if count else place
        else:
            layer, name = count, f"sdpa {count}"
        if layer is None:
            layer = sum(self.calls.values()) - 1
        with torch.no_grad(), torch.autocast(call.query.device.type, enabled=False):
            told = self._heard(layer, name, call)
            self.listener(told)
            if self.live is not None:
                self.live(told, call.query, call.key)

    def edited(self, place: str, output: Tensor) -> Tensor:
        """What shall go on in the place of a call's output, [batch, pos, query_head, d_value]; asked after `hear`."""
        if self.edit is None:
            return output
        layer = layer_of(place, self._module(place)) if place else None
        return self.edit(sum(self.calls.values()) - 1 if layer is None else layer, output)

    def _module(self, place: str) -> nn.Module | None:
        return next((self.modules[i] for i, name in self.names.items() if name == place), None)

    def _group(self, name: str, call: Call) -> int:
        """How often each KV head stands in a row; asked once, since the answer waits for the device."""
        if not call.repeated or call.value is None or call.key.shape[1] != call.query.shape[1]:
            return 1
        if name not in self.groups:
            n = call.key.shape[1]
            if not call.key.any() or not call.value.any():
                # all heads alike before they have learned anything: ask again
                return 1
            sizes = [size for size in range(n, 1, -1) if n % size == 0]
            self.groups[name] = next((s for s in sizes if _alike(call.key, s) and _alike(call.value, s)), 1)
        return self.groups[name]

    def _heard(self, layer: int, name: str, call: Call) -> Heard:
        group = self._group(name, call)
        if group > 1:
            value = None if call.value is None else call.value[:, ::group]
            call = replace(call, key=call.key[:, ::group], value=value)
        allowed = replace(call.allowed, mask=_apart(call.allowed.mask))
        real = self.padding
        if allowed.real is None and real is not None and tuple(real.shape) == (call.key.shape[0], call.key.shape[2]):
            allowed = replace(allowed, real=real.bool())
        return Heard(
            layer,
            name,
            call.query.detach(),
            call.key.detach(),
            float(call.scaling),
            allowed,
            call.softcap,
            _apart(call.sinks),
            _apart(call.bias),
            _apart(call.output),
            _apart(call.value),
            max(self.forward, 0),
        )


def _alike(x: Tensor, size: int) -> bool:
    """Whether heads are equal in groups of ``size``."""
    heads = x.unflatten(1, (-1, size))
    return bool((heads == heads[:, :, :1]).all())


def _apart(x: Tensor | None) -> Tensor | None:
    """Outside autograd."""
    return None if x is None else x.detach()

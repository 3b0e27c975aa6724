"""What was heard of training batches, kept on the device step by step until it is written: sums, counts and maxima only.

Parts of a step add up, whether they are micro-batches of one process or the batches of many. The host gets one copy for all
the steps of a flush.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import torch
import torch.distributed as dist
from torch import Tensor

from civilwar.hear.statistics import PLACES, Statistics, merged

#: Of keys' moments nothing is kept between snapshots: a matrix a head and step would fill the device.
DROPPED = ("key_sum", "key_outer_sum")
#: (layer, kind of head) of what was measured, by name.
Heads = dict[tuple[int, str], dict[str, Tensor]]


@dataclass
class Step:
    """One step so far, on the device."""

    step: int
    full: bool
    heads: Heads = field(default_factory=dict)
    loss: list[Tensor] = field(default_factory=list)
    gain: dict[str, Tensor] = field(default_factory=dict)

    def add(self, layer: int, found: Statistics, n_texts: int) -> None:
        """One more attention call of a layer, on so many texts."""
        for kind, heads in (("query_head", found.query_heads), ("kv_head", found.kv_heads)):
            kept = {name: value for name, value in heads.items() if name not in DROPPED}
            at = (layer, kind)
            if "max_logit_text" in kept:
                kept["text_count"] = torch.tensor(n_texts, device=kept["max_logit_text"].device)
            self.heads[at] = _counted_on([self.heads[at], kept]) if at in self.heads else kept

    def listen_for_gradients(self, layer: int, query: Tensor, key: Tensor, scale: float) -> None:
        """Keep the squares of the gradients that will reach queries and keys, [batch, head, pos, d_head]."""
        for kind, name, x in (("query_head", "query_gradient_sum", query), ("kv_head", "key_gradient_sum", key)):
            if x.requires_grad:
                x.register_hook(self._square(layer, kind, name, scale))

    def _square(self, layer: int, kind: str, name: str, scale: float) -> Callable[[Tensor], None]:
        def add(gradient: Tensor) -> None:
            with torch.no_grad():
                squares = (gradient.detach().float() * scale).square().sum((0, 2, 3), dtype=_wide(gradient))
                heads = self.heads.setdefault((layer, kind), {})
                heads[name] = heads[name] + squares if name in heads else squares

        return add


def _counted_on(parts: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """`merged`, with texts numbered on from part to part."""
    before: Tensor | int = 0
    numbered = []
    for part in parts:
        if "text_count" in part:
            numbered.append({**part, "max_logit_text": part["max_logit_text"] + before})
            before = before + part["text_count"]
        else:
            numbered.append(dict(part))
    return merged(numbered)


def _wide(x: Tensor) -> torch.dtype:
    return torch.float32 if x.device.type == "mps" else torch.float64


def n_processes() -> int:
    """How many processes train together."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def is_first() -> bool:
    """Whether this is the process that writes."""
    return n_processes() == 1 or dist.get_rank() == 0


def reduced(steps: Sequence[Step]) -> None:
    """Add up what all processes heard of ``steps``, in place; each of them calls this at the same step."""
    if n_processes() == 1 or not steps:
        return
    device = _common_device(steps)
    adding: list[tuple[dict[str, Tensor], str]] = []
    larger: list[tuple[dict[str, Tensor], str]] = []
    for step in steps:
        total = torch.stack([x.detach().float().mean() for x in step.loss]) if step.loss else torch.zeros(0)
        step.heads[-1, "loss"] = {
            "loss_sum": total.sum().double()[None].to(device),
            "loss_count": torch.tensor([float(len(step.loss))], dtype=torch.float64, device=device),
        }
        for at in sorted(step.heads):
            for name in sorted(step.heads[at]):
                slot = (step.heads[at], name)
                if name not in (*PLACES, "text_count"):
                    (larger if name.endswith("_max") else adding).append(slot)
    # this first: it asks how many texts each process had
    _all_merge(larger, device)
    _all_reduce(adding, device)
    for step in steps:
        loss = step.heads.pop((-1, "loss"))
        count = loss["loss_count"]
        step.loss = [(loss["loss_sum"] / count)[0]] if float(count) else []


def _common_device(steps: Sequence[Step]) -> torch.device:
    for step in steps:
        for heads in step.heads.values():
            for value in heads.values():
                return value.device
    return torch.device("cuda", torch.cuda.current_device()) if torch.cuda.is_available() else torch.device("cpu")


def _all_reduce(slots: Sequence[tuple[dict[str, Tensor], str]], device: torch.device) -> None:
    flat = _flat([heads[name] for heads, name in slots], device)
    dist.all_reduce(flat)
    for (heads, name), part in zip(slots, _parts(flat, [heads[name] for heads, name in slots]), strict=True):
        heads[name] = part


def _all_merge(slots: Sequence[tuple[dict[str, Tensor], str]], device: torch.device) -> None:
    """The larger of every process's maxima, each with its place; a text's number counts on from process to process."""
    if not slots:
        return
    names = [
        (heads, [name, *((*PLACES, "text_count") if name == "max_logit_max" and PLACES[0] in heads else ())])
        for heads, name in slots
    ]
    values = [heads[name] for heads, some in names for name in some]
    flat = _flat(values, device)
    everyone = [torch.empty_like(flat) for _ in range(n_processes())]
    dist.all_gather(everyone, flat)
    by_process = [iter(_parts(one, values)) for one in everyone]
    for heads, some in names:
        whole = _counted_on([{name: next(parts) for name in some} for parts in by_process])
        heads.update(whole)


def _flat(values: Sequence[Tensor], device: torch.device) -> Tensor:
    wide = torch.float32 if device.type == "mps" else torch.float64
    if not values:
        return torch.zeros(0, dtype=wide, device=device)
    return torch.cat([value.detach().reshape(-1).to(device, wide) for value in values])


def _parts(flat: Tensor, like: Sequence[Tensor]) -> list[Tensor]:
    return [part.view(x.shape) for part, x in zip(flat.split([x.numel() for x in like]), like, strict=True)]


def on_host(steps: Sequence[Step]) -> list[Mapping[tuple[int, str], Mapping[str, Tensor]]]:
    """What every step's heads come to, and under (-1, "loss") and (layer, "gain") the rest: one copy for all."""
    device = _common_device(steps)
    found: list[dict[tuple[int, str], dict[str, Tensor]]] = []
    for step in steps:
        more: dict[tuple[int, str], dict[str, Tensor]] = dict(step.heads)
        if step.loss:
            more[-1, "loss"] = {"loss": torch.stack([x.detach().float().mean().to(device) for x in step.loss]).mean()}
        if step.gain:
            more[-1, "gain"] = step.gain
        found.append(more)
    values = [value for one in found for heads in one.values() for value in heads.values()]
    parts = iter(_parts(_flat(values, device).cpu(), values))
    return [{at: {name: next(parts) for name in heads} for at, heads in one.items()} for one in found]

"""What `test_ways.py` runs in a process of its own, since neither runtime checks of types nor other tests' settings go together
with a compiler: real compiled steps. Prints what it found as JSON.
"""

import contextlib
import dataclasses
import json
import sys
from typing import Any

import torch
from torch import Tensor

from civilwar.measure.hooks import watch_queries_keys
from civilwar.measure.tracker import summary
from civilwar.model.decoder import Decoder
from civilwar.model.loss import total_next_token_loss
from civilwar.model.ways import Ways
from civilwar.recipe.config import RunConfig, make_config
from civilwar.runs.manifest import MANIFEST
from civilwar.runs.reader import Run
from civilwar.training import loop
from civilwar.training.choice import cannot_compile


def wide() -> RunConfig:
    """One layer of the laptop's model, with few words: enough for several threads to share each sum."""
    laptop = make_config("laptop")
    return dataclasses.replace(laptop, model=dataclasses.replace(laptop.model, n_layers=1, vocab_size=512))


def step(model: Decoder, ways: Ways) -> list[Tensor]:
    """Loss, gradients and what the tracker sees of one training pass."""
    model.compute(ways)
    generator = torch.Generator().manual_seed(0)
    tokens, targets = (torch.randint(512, (4, 512), generator=generator) for _ in range(2))
    model.zero_grad()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        hidden, seen = model.summarised(tokens, summary)
        loss = total_next_token_loss(hidden, model.embedding.weight, targets, ways.compiled)
    (loss / targets.numel()).backward()
    gradients = [parameter.grad.clone() for parameter in model.parameters() if parameter.grad is not None]
    return [loss.detach(), *gradients, *(tensor for layer in seen for tensor in layer)]


def differences() -> dict[str, Any]:
    """How far compiled steps are from plain ones, and from those of more threads."""
    model = Decoder(wide().model, 0)
    plain = step(model, Ways())
    blocks = step(model, Ways(attention_in_blocks=True))
    compiled = step(model, Ways(compiled=True, attention_in_blocks=True))
    again = step(model, Ways(compiled=True, attention_in_blocks=True))
    torch.set_num_threads(2)
    two_threads = step(model, Ways(compiled=True, attention_in_blocks=True))
    torch.set_num_threads(1)
    heard: list[int] = []
    with watch_queries_keys(model, lambda event: heard.append(event.layer)):
        step(model, Ways(compiled=True))

    def apart(one: list[Tensor], other: list[Tensor]) -> float:
        return max(float((a - b).norm() / b.norm()) for a, b in zip(one, other, strict=True))

    def same(one: list[Tensor], other: list[Tensor]) -> bool:
        return all(torch.equal(a, b) for a, b in zip(one, other, strict=True))

    return {
        "blocks_apart": apart(blocks, plain),
        "compiled_apart": apart(compiled, plain),
        "compiled_is_something_else": not same(compiled, blocks),
        "again_the_same": same(compiled, again),
        "two_threads_the_same": same(compiled, two_threads),
        "graphs": torch._dynamo.utils.counters["stats"]["unique_graphs"],
        "hooks_heard": heard,
    }


def resumed(corpus: str) -> dict[str, Any]:
    """A run that is interrupted in its fourth step and goes on, beside one that is not."""
    smoke = make_config("smoke", corpus=corpus)
    config = dataclasses.replace(smoke, train=dataclasses.replace(smoke.train, steps=6))
    whole = loop.train(config, "whole", "cpu", progress=False)
    update = loop.Session.update

    def stop(session: loop.Session) -> None:
        if session.n_updates == 3:
            raise KeyboardInterrupt
        update(session)

    loop.Session.update = stop  # type: ignore[method-assign]
    with contextlib.suppress(KeyboardInterrupt):
        loop.train(config, "halves", "cpu", checkpoint_every=2, progress=False)
    loop.Session.update = update  # type: ignore[method-assign]
    torch._dynamo.reset()
    halves = loop.train(config, "halves", "cpu", progress=False)

    def sums(run: Run) -> dict[str, str]:
        return {name: value for name, value in run.manifest["files"].items() if name != MANIFEST}

    return {
        "resumed_the_same": sums(whole) == sums(halves),
        "ways": [sitting["ways"] for sitting in halves.sittings],
        "resumed_at": halves.manifest["resumed_at"],
    }


if __name__ == "__main__":
    trouble = cannot_compile()
    print(json.dumps({"trouble": trouble} if trouble else differences() | resumed(sys.argv[1])))

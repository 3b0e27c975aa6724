"""What watching costs: the same training loop without it, with it, and with the usual ways to look at attention.

Run by hand on a quiet machine: ``python benchmarks/watching.py``. Loops alternate, a step of each in turn, so that a slower
minute of the machine slows all of them; the number is the median over steps of a loop's time over that of the plain loop's
step beside it. It goes to ``data/benchmarks/watching.csv``.

Ways: ``plain``; ``watched``, lengths and largest logits at every step and everything at every eighth; ``hooks``, forward
hooks that ask for each head's largest key norm with ``.item()``; ``output_attentions``, every weight of every head.
"""

import argparse
import contextlib
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import torch
from torch import Tensor, nn

import civilwar
from civilwar import paths

WAYS = ("plain", "watched", "hooks", "output_attentions")
#: Of the presets' laptop model, in transformers' own code.
SHAPE = {"layers": 6, "width": 256, "heads": 8, "kv_heads": 4, "vocabulary": 8192, "tokens": 512, "texts": 4}


def model_of(shape: dict[str, int], attention: str) -> nn.Module:
    """A Llama of that shape, the same each time."""
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=shape["vocabulary"],
        hidden_size=shape["width"],
        intermediate_size=4 * shape["width"],
        num_hidden_layers=shape["layers"],
        num_attention_heads=shape["heads"],
        num_key_value_heads=shape["kv_heads"],
        max_position_embeddings=shape["tokens"],
        attn_implementation=attention,
    )
    model: nn.Module = LlamaForCausalLM(config).train()
    return model


class Loop:
    """One way to train, a step at a time."""

    def __init__(self, way: str, shape: dict[str, int], out: Path) -> None:
        self.way, self.steps = way, 0
        # only the plain softmax gives weights
        self.model = model_of(shape, "eager" if way == "output_attentions" else "sdpa")
        self.optimizer = torch.optim.AdamW(self.model.parameters(), 1e-4)
        self.seen: list[float] = []
        self.watch = civilwar.watch(self.model, out / way, snapshots=None) if way == "watched" else None
        if way == "hooks":
            for name, module in self.model.named_modules():
                if name.endswith("k_proj"):
                    module.register_forward_hook(self._largest(shape["kv_heads"]))

    def _largest(self, heads: int) -> Callable[[nn.Module, object, Tensor], None]:
        def look(module: nn.Module, args: object, keys: Tensor) -> None:
            norms = keys.detach().unflatten(-1, (heads, -1)).norm(dim=-1).amax((0, 1))
            self.seen += [norm.item() for norm in norms]

        return look

    def step(self, batch: Tensor) -> float:
        """Seconds of one update."""
        begun = time.perf_counter()
        listening = self.watch.step(self.steps) if self.watch is not None else contextlib.nullcontext()
        with listening:
            asked = {"output_attentions": True} if self.way == "output_attentions" else {}
            out = self.model(input_ids=batch, labels=batch, **asked)
        if self.way == "output_attentions":
            self.seen += [float(layer.detach().amax()) for layer in out.attentions]
        out.loss.backward()
        self.optimizer.step()
        self.optimizer.zero_grad()
        if batch.is_cuda:
            torch.cuda.synchronize()
        self.steps += 1
        return time.perf_counter() - begun


def measure(steps: int, shape: dict[str, int], out: Path) -> pd.DataFrame:
    """way, steps, seconds (median of a step), ratio (median over steps to the plain loop beside it)."""
    loops = {way: Loop(way, shape, out) for way in WAYS}
    generator = torch.Generator().manual_seed(1)
    taken: dict[str, list[float]] = {way: [] for way in WAYS}
    for number in range(steps):
        batch = torch.randint(0, shape["vocabulary"], (shape["texts"], shape["tokens"]), generator=generator)
        # whoever comes first finds the caches cold
        for way in WAYS[number % len(WAYS) :] + WAYS[: number % len(WAYS)]:
            taken[way].append(loops[way].step(batch))
    loops["watched"].watch.finish()  # type: ignore[union-attr]
    table = pd.DataFrame(taken)
    return pd.DataFrame(
        {
            "way": list(WAYS),
            "steps": steps,
            "seconds": [table[way].median() for way in WAYS],
            "ratio": [(table[way] / table["plain"]).median() for way in WAYS],
        }
    )


def main() -> None:
    """Measure, print, and write what was measured."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--out", type=Path, default=paths.recorded() / "benchmarks" / "watching.csv")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = measure(options.steps, SHAPE, Path(folder))
    found.to_csv(options.out, index=False, float_format="%.4f", lineterminator="\n")
    print(found.to_string(index=False))


if __name__ == "__main__":
    main()

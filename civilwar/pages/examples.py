"""What the pages on watching train: a decoder as people write it, a Llama, a Lightning module; bytes for tokens.

Small, so that a page is made in seconds, and read from this package's own docstrings, so that it needs no network.
"""

import inspect
import logging
import warnings
from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from civilwar.measure import metrics

#: Of every example.
LAYERS, HEADS, WIDTH, CONTEXT, TEXTS_A_BATCH = 3, 4, 64, 64, 8
#: One token a byte.
VOCABULARY = 256


class Bytes:
    """A tokenizer whose tokens are bytes."""

    def encode(self, text: str) -> list[int]:
        """One id a byte of UTF-8."""
        return list(text.encode())

    def decode(self, ids: list[int]) -> str:
        """Their text; part of a character is a replacement character."""
        return bytes(ids).decode(errors="replace")


def prose() -> str:
    """What this package says of its measures."""
    functions = [value for value in vars(metrics).values() if inspect.isfunction(value)]
    return "\n".join(filter(None, map(inspect.getdoc, functions)))


def probe_texts(n: int = 3) -> list[str]:
    """The beginning of some of it."""
    every = prose().encode()
    return [every[i * 500 : i * 500 + CONTEXT].decode(errors="replace") for i in range(n)]


def batches(steps: int) -> Iterator[Tensor]:
    """Stretches of it, [text, byte], the same each time."""
    every = torch.tensor(list(prose().encode()))
    generator = torch.Generator().manual_seed(0)
    for _ in range(steps):
        first = torch.randint(0, len(every) - CONTEXT, (TEXTS_A_BATCH,), generator=generator)
        yield torch.stack([every[i : i + CONTEXT] for i in first])


class Stretches(Dataset[dict[str, Tensor]]):
    """The same as trainers want it, a text an item."""

    def __init__(self, steps: int) -> None:
        self._rows = torch.cat(list(batches(steps)))

    def __len__(self) -> int:
        """How many texts."""
        return len(self._rows)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        """One text, which is what it is to predict too."""
        return {"input_ids": self._rows[index], "labels": self._rows[index]}


class Attention(nn.Module):
    """One matrix for queries, keys and values, as many heads of each."""

    def __init__(self) -> None:
        super().__init__()
        self.qkv, self.out = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        """[text, pos, width] to the same."""
        q, k, v = (y.unflatten(-1, (HEADS, -1)).transpose(1, 2) for y in self.qkv(x).chunk(3, -1))
        mixed = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        y: Tensor = self.out(mixed.transpose(1, 2).flatten(2))
        return y


class Block(nn.Module):
    """Attention and an MLP, each on what a norm makes of the stream."""

    def __init__(self) -> None:
        super().__init__()
        self.norms = nn.ModuleList(nn.LayerNorm(WIDTH) for _ in range(2))
        self.attention = Attention()
        self.mlp = nn.Sequential(nn.Linear(WIDTH, 2 * WIDTH), nn.GELU(), nn.Linear(2 * WIDTH, WIDTH))

    def forward(self, x: Tensor) -> Tensor:
        """[text, pos, width] to the same."""
        x = x + self.attention(self.norms[0](x))
        y: Tensor = x + self.mlp(self.norms[1](x))
        return y


class SmallGPT(nn.Module):
    """A decoder of one's own. Gives (logits, loss)."""

    def __init__(self) -> None:
        super().__init__()
        self.block_size = CONTEXT
        self.tokens, self.positions = nn.Embedding(VOCABULARY, WIDTH), nn.Embedding(CONTEXT, WIDTH)
        self.blocks = nn.ModuleList(Block() for _ in range(LAYERS))
        self.head = nn.Linear(WIDTH, VOCABULARY, bias=False)

    def forward(self, ids: Tensor, targets: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        """Logits of every position; the loss of the next token where ``targets`` are given."""
        x = self.tokens(ids) + self.positions(torch.arange(ids.shape[1]))
        for block in self.blocks:
            x = block(x)
        logits = self.head(x)
        if targets is None:
            return logits, None
        return logits, F.cross_entropy(logits[:, :-1].flatten(0, 1), targets[:, 1:].flatten())


def small_gpt() -> tuple[nn.Module, torch.optim.Optimizer]:
    """The decoder, the same each time, and what trains it."""
    torch.manual_seed(0)
    model = SmallGPT()
    return model, torch.optim.AdamW(model.parameters(), 3e-3)


def small_llama() -> nn.Module:
    """A Llama of the same size, the same each time."""
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=WIDTH,
        intermediate_size=2 * WIDTH,
        num_hidden_layers=LAYERS,
        num_attention_heads=HEADS,
        num_key_value_heads=HEADS // 2,
        max_position_embeddings=CONTEXT,
    )
    model: nn.Module = LlamaForCausalLM(config)
    return model


def trainer(steps: int, folder: str, callback: Any) -> Any:
    """transformers' trainer of that Llama, which writes nothing but what the callback does."""
    from transformers import PrinterCallback, Trainer, TrainingArguments

    arguments = TrainingArguments(
        output_dir=folder,
        max_steps=steps,
        learning_rate=3e-3,
        per_device_train_batch_size=TEXTS_A_BATCH,
        report_to=[],
        save_strategy="no",
        logging_strategy="no",
        disable_tqdm=True,
        use_cpu=True,
    )
    made = Trainer(small_llama(), arguments, train_dataset=Stretches(steps), callbacks=[callback])
    # a page shows what was watched, not what a trainer prints
    made.remove_callback(PrinterCallback)
    return made


def lightning_trainer(steps: int, callback: Any) -> tuple[Any, Any, DataLoader[dict[str, Tensor]]]:
    """Lightning's trainer, a module that holds the decoder as ``model``, and its data."""
    import lightning

    # of its advice a page needs none
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module="lightning")

    class Module(lightning.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.model, _ = small_gpt()

        def training_step(self, batch: dict[str, Tensor], index: int) -> Tensor:
            loss: Tensor = self.model(batch["input_ids"], batch["labels"])[1]
            return loss

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return torch.optim.AdamW(self.parameters(), 3e-3)

    trains = lightning.Trainer(
        max_steps=steps,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=[callback],
    )
    return trains, Module(), DataLoader(Stretches(steps), batch_size=TEXTS_A_BATCH)

"""The trainers of transformers and of Lightning: one callback, nothing else."""

from pathlib import Path
from typing import Any

import foreign
import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

import civilwar as cw


class Batch(Dataset[dict[str, Tensor]]):
    def __init__(self) -> None:
        self.rows = torch.cat(foreign.batches(4, texts=4))

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        return {"input_ids": self.rows[index], "labels": self.rows[index]}


# what these two libraries warn of on a small machine is no matter of ours
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("accumulate", [1, 2])
def test_transformers_trainer(tmp_path: Path, accumulate: int) -> None:
    import transformers

    callback = cw.HeadCallback(tmp_path / "run", foreign.words(), foreign.TEXTS, full_every=2, snapshots=[0])
    transformers.Trainer(
        model=foreign.made("Llama"),
        args=transformers.TrainingArguments(
            output_dir=str(tmp_path / "out"),
            max_steps=2,
            per_device_train_batch_size=4,
            gradient_accumulation_steps=accumulate,
            report_to=[],
            save_strategy="no",
            disable_tqdm=True,
            use_cpu=True,
        ),
        train_dataset=Batch(),
        callbacks=[callback],
    ).train()
    run = callback.run
    assert run is not None
    assert run.table("train")["step"].tolist() == [0, 1, 2]
    assert run.table("train")["loss"].notna().all()
    assert run.table("step_attention")["max_logit"].notna().all()
    assert run.table("step_attention").query("step == 0")["query_gradient"].notna().all()
    assert run.snapshots == [0, 2]


@pytest.mark.filterwarnings("ignore")
def test_lightning_trainer(tmp_path: Path) -> None:
    import lightning as L

    class Module(L.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.model: nn.Module = foreign.made("nanoGPT")

        def training_step(self, batch: dict[str, Tensor], index: int) -> Tensor:
            loss: Tensor = self.model(batch["input_ids"], batch["labels"])[1]
            return loss

        def configure_optimizers(self) -> Any:
            return torch.optim.SGD(self.parameters(), 0.1)

    callback = cw.LightningHeadCallback(
        tmp_path / "run", foreign.words(), foreign.TEXTS, part="model", full_every=2, snapshots=[0]
    )
    L.Trainer(
        max_steps=2,
        accumulate_grad_batches=2,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=[callback],
    ).fit(Module(), DataLoader(Batch(), batch_size=4))
    run = callback.run
    assert run is not None
    assert run.table("train")["step"].tolist() == [0, 1, 2]
    assert run.table("train")["loss"].notna().all()
    assert run.table("step_attention")["max_logit"].notna().all()

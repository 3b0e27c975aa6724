"""Checkpoints read one after another give what watching gave live; twins, gaps, a kill in between."""

from pathlib import Path
from typing import Any

import foreign
import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

import civilwar as cw
from civilwar.errors import RunMismatch
from civilwar.runs.reader import Run
from civilwar.watching import series as reading

STEPS = (0, 2, 3)


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, Path]:
    """A watched run, and the checkpoints that its loop saved."""
    root = tmp_path_factory.mktemp("series")
    model = foreign.made("Qwen3").train()
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    watch = cw.watch(model, root / "live", foreign.words(), foreign.TEXTS, snapshots=STEPS)
    for step, batch in enumerate(foreign.batches(3)):
        (root / "checkpoints").mkdir(exist_ok=True)
        if step in STEPS:
            save_file(model.state_dict(), root / "checkpoints" / f"step{step}")
        with watch.step(step):
            loss = foreign.loss_of(model, batch)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    save_file(model.state_dict(), root / "checkpoints" / "step3")
    (root / "checkpoints" / "notes.txt").write_text("no checkpoint", encoding="utf-8")
    return watch.finish(), root / "checkpoints"


def read(checkpoints: Any, out: Path, **options: Any) -> Run:
    model = foreign.made("Qwen3")
    return cw.series(checkpoints, model, foreign.words(), foreign.TEXTS, out=out, progress=False, **options)


def test_checkpoints_reread_give_the_live_numbers(live: tuple[Run, Path], tmp_path: Path) -> None:
    run, folder = live
    series = read(folder, tmp_path / "series", expected=range(5))
    assert series.complete
    assert series.snapshots == run.snapshots == list(STEPS)
    for name in ("probe_query_heads", "probe_kv_heads", "probe_sinks", "probe_induction", "probe_loss"):
        one, other = (of.table(name).sort_values(list(of.table(name))[:4], ignore_index=True) for of in (run, series))
        assert len(one) == len(other)
        for column in one.select_dtypes("number"):
            np.testing.assert_allclose(other[column], one[column], rtol=1e-5, atol=1e-6, err_msg=f"{name}.{column}")
    np.testing.assert_allclose(series.array("gain")["k_gain"][0], run.array("gain")["k_gain"][0])
    assert series.config.notes["gaps"] == [1, 4]
    assert set(series.manifest["weights"]) == {"0", "2", "3"}
    # asked again, it is there
    assert read(folder, tmp_path / "series").manifest == series.manifest
    with pytest.raises(RunMismatch, match="finished run of other steps"):
        read({0: folder / "step0"}, tmp_path / "series")


def test_twins_under_different_steps_are_refused(live: tuple[Run, Path], tmp_path: Path) -> None:
    file = live[1] / "step0"
    with pytest.raises(RunMismatch, match="steps 5 and 9 have the same weights"):
        read({5: file, 9: file}, tmp_path / "twins")
    assert not Run(tmp_path / "twins").complete


def test_a_series_that_was_killed_goes_on(live: tuple[Run, Path], tmp_path: Path) -> None:
    asked = []

    def load(file: Any) -> nn.Module:
        asked.append(Path(file).name)
        if len(asked) == 3:
            raise KeyboardInterrupt
        model = foreign.made("Qwen3")
        return reading._into(model)(file)

    checkpoints = {step: live[1] / f"step{step}" for step in STEPS}
    options: dict[str, Any] = {"out": tmp_path / "run", "progress": False}
    with pytest.raises(KeyboardInterrupt):
        cw.series(checkpoints, load, foreign.words(), foreign.TEXTS, **options)
    assert Run(tmp_path / "run").table("train")["step"].tolist() == [0, 2]
    run = cw.series(checkpoints, load, foreign.words(), foreign.TEXTS, **options)
    assert asked == ["step0", "step2", "step3", "step3"]
    assert run.table("train")["step"].tolist() == list(STEPS)


def test_names_tell_their_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub

    assert reading.steps_named(["main", "checkpoint-20", "step_3", "v2"]) == {3: "step_3", 20: "checkpoint-20"}
    ref = type("Ref", (), {})
    names = []
    for name in ("main", "step0", "step8", "other7"):
        one = ref()
        one.name = name
        names.append(one)
    refs = type("Refs", (), {"branches": names, "tags": []})()
    monkeypatch.setattr(huggingface_hub, "list_repo_refs", lambda repo: refs)
    assert reading._given("a/model", "step*") == {0: "step0", 8: "step8"}
    with pytest.raises(ValueError, match="expected one or more, each by its step"):
        cw.series({}, nn.Identity(), None, [[1, 2]])

"""The tracker against a slow reading of the same model."""

import dataclasses
import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from slow_reading import CONFIG, GROUP, SEED, SEPARATORS, close, participation, sharpened, slow_reading
from torch import Tensor

from civilwar.measure.tracker import StepTracker
from civilwar.model.decoder import Decoder
from civilwar.model.loss import next_token_loss
from civilwar.runs.reader import Run


@pytest.fixture(scope="module")
def model() -> Decoder:
    return sharpened(CONFIG.model)


def tracked(model: Decoder, batches: list[Tensor], separators: Tensor = SEPARATORS) -> Any:
    steps = StepTracker(model, separators)
    for step, tokens in enumerate(batches):
        with steps.watching(tokens):
            logits = model(tokens)
        steps.close_step(step, next_token_loss(logits, tokens).mean())
    return steps.take()


def batches(n: int = 2) -> list[Tensor]:
    return [torch.randint(307, (3, 23), generator=torch.Generator().manual_seed(10 + step)) for step in range(n)]


def test_key_statistics_of_every_head_at_every_step(model: Decoder) -> None:
    table = tracked(model, batches()).tables["step_kv_heads"].set_index(["step", "layer", "kv_head"])
    assert len(table) == 2 * 2 * 3
    for step, tokens in enumerate(batches()):
        separator = SEPARATORS[tokens].numpy()
        assert 0 < separator.sum() < separator.size / 2
        for layer, read in enumerate(slow_reading(model, tokens)):
            for head in range(3):
                row = table.loc[step, layer, head]
                keys = read["k"][:, head]
                norms = np.array([[math.sqrt(sum(x * x for x in key)) for key in text] for text in keys])
                flat = keys.reshape(-1, 10)
                unit = flat / norms.reshape(-1, 1)
                n = len(unit)
                cosines = [unit[i] @ unit[j] for i in range(n) for j in range(n) if i != j]
                expected = {
                    "norm_mean": norms.mean(),
                    "norm_std": norms.std(ddof=1),
                    "norm_q05": np.quantile(norms, 0.05),
                    "norm_q50": np.median(norms),
                    "norm_q95": np.quantile(norms, 0.95),
                    "norm_first": norms[:, 0].mean(),
                    "norm_separator": norms[separator].mean(),
                    "max_abs": np.abs(keys).max(),
                    "coordinate_participation_ratio": np.mean([participation(key) for key in flat]),
                    "key_cosine": np.mean(cosines),
                }
                assert list(row.index) == list(expected)
                for name, value in expected.items():
                    assert close(row[name], value), (step, layer, head, name)


def test_query_statistics_belong_to_the_query_head_and_its_own_keys(model: Decoder) -> None:
    table = tracked(model, batches(1)).tables["step_query_heads"].set_index(["layer", "query_head"])
    assert table.kv_head.tolist() == [0, 0, 1, 1, 2, 2] * 2
    for layer, read in enumerate(slow_reading(model, batches(1)[0])):
        query_norm = np.linalg.norm(read["q"], axis=-1).mean((0, 2))
        key_norm = np.linalg.norm(read["k"], axis=-1).mean((0, 2))
        # norms of different heads are far enough apart to be told apart
        assert np.diff(np.sort(query_norm)).min() > 1e-3
        assert np.diff(np.sort(key_norm)).min() > 1e-3
        for head in range(6):
            row = table.loc[layer, head]
            assert close(row.query_norm_mean, query_norm[head])
            assert close(row.query_key_norm_ratio, query_norm[head] / key_norm[head // GROUP])


def test_energy_on_the_gain_gives_the_mean_squared_norm(model: Decoder) -> None:
    records = tracked(model, batches())
    energy, gain = records.arrays["energy"]["energy"], records.arrays["gain"]["k_gain"]
    assert energy.shape == (2, 2, 3, 10)
    np.testing.assert_allclose(energy.mean(-1), 1, rtol=1e-5)
    for step, tokens in enumerate(batches()):
        for layer, read in enumerate(slow_reading(model, tokens)):
            squared = read["raw"] ** 2
            expected = (squared / squared.mean(-1, keepdims=True)).mean((0, 2))
            np.testing.assert_allclose(energy[step, layer], expected, rtol=1e-4)
            mean_squared_norm = (read["k"] ** 2).sum(-1).mean((0, 2))
            np.testing.assert_allclose(
                (energy * gain[:, :, None] ** 2).sum(-1)[step, layer], mean_squared_norm, rtol=1e-3
            )


def test_gains_are_those_of_the_moment(model: Decoder) -> None:
    changing = sharpened(CONFIG.model)
    steps = StepTracker(changing, SEPARATORS)
    expected = []
    for step, tokens in enumerate(batches(3)):
        with steps.watching(tokens):
            changing(tokens)
        steps.close_step(step, torch.tensor(0.0))
        expected.append([block.attention.k_norm.weight.tolist() for block in changing.blocks])
        with torch.no_grad():
            for block in changing.blocks:
                block.attention.k_norm.weight *= 0.9
                block.attention.q_norm.weight *= 0.8
    records = steps.take()
    k_gain, q_gain = records.arrays["gain"]["k_gain"], records.arrays["gain"]["q_gain"]
    np.testing.assert_array_equal(k_gain, np.array(expected, dtype=np.float32))
    np.testing.assert_allclose(q_gain[2], q_gain[0] * 0.64, rtol=1e-6)
    table = records.tables["step_layers"]
    assert table[["step", "layer"]].to_numpy().tolist() == [[s, layer] for s in range(3) for layer in range(2)]
    np.testing.assert_allclose(table.k_gain_rms, np.sqrt((k_gain**2).mean(-1)).ravel(), rtol=1e-6)
    np.testing.assert_allclose(table.q_gain_rms, np.sqrt((q_gain**2).mean(-1)).ravel(), rtol=1e-6)


def test_without_a_norm_gains_are_null_and_all_else_is_measured() -> None:
    bare = Decoder(dataclasses.replace(CONFIG.model, qk_norm="none"), SEED)
    records = tracked(bare, batches())
    assert records.tables["step_layers"][["k_gain_rms", "q_gain_rms"]].isna().all(axis=None)
    assert np.isnan(records.arrays["gain"]["k_gain"]).all()
    assert records.tables["step_kv_heads"].notna().all(axis=None)
    assert np.isfinite(records.arrays["energy"]["energy"]).all()
    read = slow_reading(bare, batches()[1])
    row = records.tables["step_kv_heads"].set_index(["step", "layer", "kv_head"]).loc[1, 1, 2]
    assert close(row.norm_mean, np.linalg.norm(read[1]["raw"][:, 2], axis=-1).mean())


def test_a_batch_without_separators_has_no_norm_there(model: Decoder) -> None:
    table = tracked(model, batches(1), torch.zeros(307, dtype=torch.bool)).tables["step_kv_heads"]
    assert table.norm_separator.isna().all()
    assert table.drop(columns="norm_separator").notna().all(axis=None)


def test_rows_are_handed_over_once(model: Decoder) -> None:
    steps = StepTracker(model, SEPARATORS)
    assert steps.take().tables == {}
    with steps.watching(batches()[0]):
        model(batches()[0])
    steps.close_step(7, torch.tensor(2.5))
    first = steps.take().tables
    assert first["train"].to_dict("list") == {"step": [7], "loss": [2.5]}
    assert steps.take().tables == {}


HOST_COPIES = ("item", "cpu", "tolist", "numpy", "__array__", "__float__", "__int__", "__bool__", "__index__")


@pytest.fixture
def host_copies(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Names of the tensor methods that were called and that wait for the device."""
    calls: list[str] = []
    for name in HOST_COPIES:
        original = getattr(Tensor, name)

        def counting(self: Tensor, *args: Any, _name: str = name, _original: Any = original, **kwargs: Any) -> Any:
            calls.append(_name)
            return _original(self, *args, **kwargs)

        monkeypatch.setattr(Tensor, name, counting)
    yield calls
    monkeypatch.undo()


def test_nothing_is_copied_to_the_host_while_a_step_is_tracked(model: Decoder, host_copies: list[str]) -> None:
    steps, (tokens, _) = StepTracker(model, SEPARATORS), batches()
    for step in range(3):
        with steps.watching(tokens):
            logits = model(tokens)
        steps.close_step(step, next_token_loss(logits, tokens).mean())
    assert host_copies == []
    steps.take()
    # one copy per kind of row, whatever the number of steps, layers and heads; so the count does count
    assert 0 < host_copies.count("cpu") <= 6
    assert set(host_copies) <= {"cpu", "numpy"}


@pytest.mark.cuda
def test_a_tracked_step_never_waits_for_the_gpu() -> None:
    model, tokens = sharpened(CONFIG.model).to("cuda"), batches()[0].to("cuda")
    steps = StepTracker(model, SEPARATORS.to("cuda"))
    torch.cuda.set_sync_debug_mode("error")
    try:
        with steps.watching(tokens):
            logits = model(tokens)
        steps.close_step(0, next_token_loss(logits, tokens).mean())
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert len(steps.take().tables["step_kv_heads"]) == 6


# ---------------------------------------------------------------- a real run


def test_a_run_starts_from_what_is_true_by_construction(smoke_run: Run) -> None:
    heads = smoke_run.table("step_kv_heads")
    start = heads[heads.step == 0]
    # C01 for heads of size 16, but for the norm's eps
    np.testing.assert_allclose(start[["norm_mean", "norm_q05", "norm_q95"]], 4, rtol=2e-3)
    gain, energy = smoke_run.array("gain"), smoke_run.array("energy")["energy"]
    assert (gain["k_gain"][0] == 1).all()
    # the identity, at every step of a run under autocast
    mean_squared = heads.norm_mean.astype(float) ** 2 + heads.norm_std.astype(float) ** 2 * (255 / 256)
    by_gain = (energy * gain["k_gain"][:, :, None] ** 2).sum(-1).ravel()
    np.testing.assert_allclose(mean_squared, by_gain, rtol=2e-3)

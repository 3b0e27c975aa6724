"""The tracker against a slow reading of the same model: NumPy, one head and one token at a time."""

import dataclasses
import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor

from civilwar import prober, tracker
from civilwar.config import ModelConfig, ProbeConfig, RunConfig, make_config
from civilwar.model import NORM_EPS, Decoder, next_token_loss
from civilwar.prober import Prober, ProbeTexts
from civilwar.rope import pair_frequencies
from civilwar.runs import Run
from civilwar.tracker import StepTracker

GROUP, SEED = 2, 5
CONFIG = dataclasses.replace(
    make_config("smoke", seed=SEED),
    model=ModelConfig(
        n_layers=2,
        d_model=29,
        n_query_heads=6,
        n_kv_heads=3,
        d_head=10,
        d_ff=37,
        vocab_size=307,
        context=23,
        rope_order="shuffled",
    ),
    # a horizon beyond the context is left out
    probe=ProbeConfig(
        n_texts=4, n_repeated=5, short_tokens=9, report_tokens=13, sink_horizons=(3, 16, 23, 64), sink_positions=(1, 3)
    ),
)
SEPARATORS = torch.arange(307) % 7 == 0
FLOAT32 = torch.autocast("cpu", enabled=False)


def sharpened(config: ModelConfig) -> Decoder:
    """Heads that differ: random gains, and matrices large enough for attention to choose."""
    model = Decoder(config, SEED)
    generator = torch.Generator().manual_seed(1)
    for name, parameter in model.named_parameters():
        if "norm" in name:
            parameter.data = 0.3 + 1.4 * torch.rand(parameter.shape, generator=generator)
        elif "qkvo" in name:
            parameter.data *= 20
    return model


@pytest.fixture(scope="module")
def model() -> Decoder:
    return sharpened(CONFIG.model)


@pytest.fixture(scope="module")
def texts() -> ProbeTexts:
    generator = torch.Generator().manual_seed(2)
    long, short = (torch.randint(307, shape, generator=generator) for shape in ((4, 24), (2, 9)))
    return ProbeTexts(long, short, SEPARATORS, CONFIG, torch.device("cpu"))


# ---------------------------------------------------------------- the slow reading


def normalised(raw: np.ndarray, norm: torch.nn.Module) -> np.ndarray:
    if isinstance(norm, torch.nn.Identity):
        return raw
    return raw / np.sqrt(np.mean(raw**2) + NORM_EPS) * norm.weight.detach().double().numpy()


def turned(vector: np.ndarray, position: int, frequencies: np.ndarray) -> np.ndarray:
    turned_pairs = (vector[0::2] + 1j * vector[1::2]) * np.exp(1j * position * frequencies)
    return np.stack([turned_pairs.real, turned_pairs.imag], axis=-1).reshape(-1)


def slow_reading(model: Decoder, tokens: Tensor) -> list[dict[str, np.ndarray]]:
    """Per layer: raw keys, and queries and keys before and after RoPE, each [text, head, pos, d_head]."""
    inputs: list[np.ndarray] = []
    hooks = [
        block.attention.register_forward_pre_hook(lambda module, args: inputs.append(args[0].double().numpy()))
        for block in model.blocks
    ]
    with torch.no_grad():
        model(tokens)
    for hook in hooks:
        hook.remove()
    n_texts, n_tokens = tokens.shape
    frequencies = pair_frequencies(model.config, SEED)
    layers = []
    for layer, block in enumerate(model.blocks):
        matrix = block.attention.qkvo[0].detach().double().numpy()
        read = {name: np.zeros((n_texts, 6, n_tokens, 10)) for name in ("q", "q_rope")}
        read |= {name: np.zeros((n_texts, 3, n_tokens, 10)) for name in ("raw", "k", "k_rope")}
        for b in range(n_texts):
            for t in range(n_tokens):
                x = inputs[layer][b, t]
                for head in range(6):
                    q = normalised(matrix[10 * head : 10 * head + 10] @ x, block.attention.q_norm)
                    read["q"][b, head, t] = q
                    read["q_rope"][b, head, t] = turned(q, t, frequencies[layer])
                for head in range(3):
                    raw = matrix[60 + 10 * head : 70 + 10 * head] @ x
                    k = normalised(raw, block.attention.k_norm)
                    read["raw"][b, head, t] = raw
                    read["k"][b, head, t] = k
                    read["k_rope"][b, head, t] = turned(k, t, frequencies[layer])
        layers.append(read)
    return layers


def softmax(logits: np.ndarray) -> np.ndarray:
    weights = np.exp(logits - logits.max())
    return weights / weights.sum()


def entropy(weights: np.ndarray) -> float:
    return -sum(w * math.log(w) for w in weights if w > 0)


def causal(read: dict[str, np.ndarray], text: int, head: int, scale: np.ndarray | None = None) -> list[np.ndarray]:
    """Attention of each query over the keys up to it; keys first scaled, one number per position, if asked."""
    queries, keys = read["q_rope"][text, head], read["k_rope"][text, head // GROUP]
    keys = keys if scale is None else keys * scale[:, None]
    return [softmax(keys[: i + 1] @ queries[i] / math.sqrt(10)) for i in range(len(queries))]


def participation(vector: np.ndarray) -> float:
    return (vector**2).sum() ** 2 / (vector**4).sum()


# ---------------------------------------------------------------- every step


def tracked(model: Decoder, batches: list[Tensor], separators: Tensor = SEPARATORS) -> Any:
    steps = StepTracker(model, separators)
    for step, tokens in enumerate(batches):
        with steps.watching(tokens):
            logits = model(tokens)
        steps.close_step(step, next_token_loss(logits, tokens).mean())
    return steps.take()


def batches(n: int = 2) -> list[Tensor]:
    return [torch.randint(307, (3, 23), generator=torch.Generator().manual_seed(10 + step)) for step in range(n)]


def close(measured: float, expected: float) -> bool:
    return measured == pytest.approx(expected, rel=1e-4, abs=1e-5)


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


# ---------------------------------------------------------------- snapshots


@pytest.fixture(scope="module")
def snapshot(model: Decoder, texts: ProbeTexts) -> Any:
    return Prober(model, CONFIG, texts).measure(32, FLOAT32)


def test_ranks_of_every_head_and_text(model: Decoder, texts: ProbeTexts, snapshot: Any) -> None:
    table = snapshot.tables["probe_kv_heads"]
    assert len(table) == 4 * 2 * 3
    table = table.set_index(["step", "layer", "kv_head", "text"])
    for layer, read in enumerate(slow_reading(model, texts.long[:, :-1])):
        for head in range(3):
            for text in range(4):
                expected = {"norm_mean": np.linalg.norm(read["k"][text, head], axis=-1).mean()}
                for suffix in ("", "_rope"):
                    keys = read["k" + suffix][text, head]
                    singular = np.linalg.svd(keys - keys.mean(0), compute_uv=False)
                    spread = singular**2
                    share = singular / singular.sum()
                    expected[f"coordinate_participation_ratio{suffix}"] = np.mean([participation(k) for k in keys])
                    expected[f"participation_ratio{suffix}"] = spread.sum() ** 2 / (spread**2).sum()
                    expected[f"effective_rank{suffix}"] = math.exp(entropy(share))
                    expected[f"stable_rank{suffix}"] = spread.sum() / spread.max()
                row = table.loc[32, layer, head, text]
                assert list(row.index) == list(expected)
                for name, value in expected.items():
                    assert close(row[name], value), (layer, head, text, name)


def test_attention_of_every_head_and_text(model: Decoder, texts: ProbeTexts, snapshot: Any) -> None:
    table = snapshot.tables["probe_query_heads"]
    assert len(table) == 4 * 2 * 6
    assert (table.kv_head == table.query_head // GROUP).all()
    table = table.set_index(["step", "layer", "query_head", "text"])
    separator = SEPARATORS[texts.long[:, :-1]].numpy()
    for layer, read in enumerate(slow_reading(model, texts.long[:, :-1])):
        for text in range(4):
            key_norms = np.linalg.norm(read["k"][text], axis=-1)
            for head in range(6):
                rows = causal(read, text, head)
                rescaled = causal(read, text, head, key_norms.mean() / key_norms[head // GROUP])
                queries, keys = read["q"][text, head, :13], read["k"][text, head // GROUP, :13]
                top = [
                    (read["k_rope"][text, head // GROUP, : i + 1] @ read["q_rope"][text, head, i]).max() / math.sqrt(10)
                    for i in range(23)
                ]
                expected = {
                    "kv_head": head // GROUP,
                    "entropy": np.mean([entropy(row) for row in rows]),
                    "entropy_normalised": np.mean([entropy(rows[i]) / math.log(i + 1) for i in range(1, 23)]),
                    "entropy_report": np.mean([entropy(softmax(keys @ q / math.sqrt(10))) for q in queries]),
                    "max_weight": np.mean([row.max() for row in rows]),
                    "entropy_rescaled": np.mean([entropy(rescaled[i]) / math.log(i + 1) for i in range(1, 23)]),
                    "top_logit_spread": np.std(top[11:], ddof=1),
                    "separator_mass": np.mean([row[separator[text, : len(row)]].sum() for row in rows]),
                    "previous_token_score": np.mean([rows[i][i - 1] for i in range(1, 23)]),
                    "nearby_mass": np.mean(
                        [
                            sum(row[j] for j in range(i + 1) if i - j in (0, 2, 3, 4, 5, 6, 7))
                            for i, row in enumerate(rows)
                        ]
                    ),
                }
                row = table.loc[32, layer, head, text]
                assert list(row.index) == list(expected)
                for name, value in expected.items():
                    assert close(row[name], value), (layer, head, text, name)
    # far from the trivial ends, so that the agreement says something
    assert table.entropy_normalised.between(0.05, 0.95).all()


def test_sinks_of_every_head_and_text(model: Decoder, texts: ProbeTexts, snapshot: Any) -> None:
    table = snapshot.tables["probe_sinks"]
    assert sorted(table.horizon.unique()) == [3, 16, 23]
    assert sorted(table.position.unique()) == [1, 3]
    assert len(table) == 4 * 2 * 6 * 3 * 2
    assert (table.kv_head == table.query_head // GROUP).all()
    keys = ["layer", "query_head", "text", "horizon", "position"]
    alpha = table.set_index(keys).alpha
    assert alpha.index.is_unique
    for layer, read in enumerate(slow_reading(model, texts.long[:, :-1])):
        for text in range(4):
            for head in range(6):
                rows = causal(read, text, head)
                for horizon in (3, 16, 23):
                    for k in (1, 3):
                        weights = [rows[i - 1][k - 1] for i in range(k, horizon + 1)]
                        expected = sum(weights) / (horizon - k + 1)
                        assert close(alpha.loc[layer, head, text, horizon, k], expected), (layer, head, text)


def test_induction_of_every_head_and_sequence(model: Decoder, texts: ProbeTexts, snapshot: Any) -> None:
    table = snapshot.tables["probe_induction"]
    assert len(table) == 5 * 2 * 6
    assert (table.kv_head == table.query_head // GROUP).all()
    table = table.set_index(["layer", "query_head", "text"])
    assert texts.repeated.shape == (5, 22)
    assert torch.equal(texts.repeated[:, :11], texts.repeated[:, 11:])
    for layer, read in enumerate(slow_reading(model, texts.repeated)):
        for text in range(5):
            for head in range(6):
                rows = causal(read, text, head)
                found = table.loc[layer, head, text]
                assert close(found.induction_score, np.mean([rows[i][i - 10] for i in range(11, 22)]))
                assert close(found.duplicate_token_score, np.mean([rows[i][i - 11] for i in range(11, 22)]))


def test_shuffled_texts_are_the_same_tokens_in_another_order(
    model: Decoder, texts: ProbeTexts, snapshot: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Tensor] = []
    original = Prober._measure_text

    def recording(self: Prober, text: Tensor) -> Any:
        seen.append(text)
        return original(self, text)

    monkeypatch.setattr(Prober, "_measure_text", recording)
    table = Prober(model, CONFIG, texts).measure_shuffled(FLOAT32)
    assert len(seen) == len(texts.long)
    for shuffled, text in zip(seen, texts.long, strict=True):
        assert torch.equal(shuffled.sort().values, text.sort().values)
        assert not torch.equal(shuffled, text)
    assert len(table) == 4 * 2 * 6
    straight = Prober(
        model, CONFIG, ProbeTexts(torch.stack(seen), texts.short, SEPARATORS, CONFIG, torch.device("cpu"))
    )
    expected = straight.measure(0, FLOAT32).tables
    for name in ("entropy", "separator_mass", "nearby_mass"):
        np.testing.assert_allclose(table[name], expected["probe_query_heads"][name])
    # 64 is beyond this context; 23 is the nearest horizon that is not
    first = expected["probe_sinks"].query("position == 1 and horizon == 23")
    np.testing.assert_allclose(table["sink_alpha"], first["alpha"])


def test_loss_of_every_text(model: Decoder, texts: ProbeTexts, snapshot: Any) -> None:
    with torch.no_grad():
        logits = model(texts.long[:, :-1]).double().log_softmax(-1).numpy()
    for text, row in snapshot.tables["probe_loss"].set_index("text").iterrows():
        targets = texts.long[text, 1:].tolist()
        assert close(row.loss, -np.mean([logits[text, t, target] for t, target in enumerate(targets)]))


def test_patterns_are_whole_attention_in_8_bits(model: Decoder, texts: ProbeTexts, snapshot: Any) -> None:
    pattern = snapshot.arrays["patterns"]["pattern"]
    assert snapshot.arrays["patterns"]["step"].tolist() == [32]
    assert pattern.shape == (1, 2, 2, 6, 9 * 10 // 2)
    assert pattern.dtype == np.uint8
    for layer, read in enumerate(slow_reading(model, texts.short)):
        for text in range(2):
            for head in range(6):
                rows = causal(read, text, head)
                stored = pattern[0, text, layer, head] / 255
                start = 0
                for i, row in enumerate(rows):
                    np.testing.assert_allclose(stored[start : start + i + 1], row, atol=0.5 / 255 + 1e-5)
                    assert stored[start : start + i + 1].sum() == pytest.approx(1, abs=(i + 1) * 0.5 / 255 + 1e-9)
                    start += i + 1
                assert start == 45
    assert len(np.unique(pattern)) > 20


@pytest.mark.parametrize("block", [1, 5, 22])
def test_the_size_of_query_blocks_changes_nothing(
    model: Decoder, texts: ProbeTexts, snapshot: Any, block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    shapes: list[tuple[int, ...]] = []
    original = prober._measure_block

    def recording(queries: Tensor, keys: Tensor, *args: Any) -> dict[str, Tensor]:
        shapes.append((queries.shape[-2], keys.shape[-2]))
        return original(queries, keys, *args)

    monkeypatch.setattr(prober, "QUERY_BLOCK", block)
    monkeypatch.setattr(prober, "_measure_block", recording)
    again = Prober(model, CONFIG, texts).measure(32, FLOAT32)
    assert max(queries for queries, _ in shapes) == block
    assert sum(queries for queries, _ in shapes) == 4 * 2 * 23
    for name, table in snapshot.tables.items():
        pd.testing.assert_frame_equal(again.tables[name], table, rtol=1e-5, atol=1e-6)


def test_measuring_leaves_the_model_as_it_was(model: Decoder, texts: ProbeTexts) -> None:
    before = {name: value.clone() for name, value in model.state_dict().items()}
    Prober(model, CONFIG, texts).measure(0, FLOAT32)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())
    assert all(not module._forward_hooks for module in model.modules())


def test_under_autocast_attention_is_measured_in_float32_on_the_trained_model(
    model: Decoder, texts: ProbeTexts, snapshot: Any
) -> None:
    rounded = Prober(model, CONFIG, texts).measure(32, torch.autocast("cpu", dtype=torch.bfloat16))
    exact, other = snapshot.tables["probe_query_heads"], rounded.tables["probe_query_heads"]
    assert not np.array_equal(exact.entropy, other.entropy)
    np.testing.assert_allclose(exact.entropy, other.entropy, atol=0.1)


def test_a_diverged_model_is_recorded_as_undefined(texts: ProbeTexts) -> None:
    broken = sharpened(CONFIG.model)
    broken.blocks[0].mlp.up.weight.data[:] = math.nan
    records = Prober(broken, CONFIG, texts).measure(0, FLOAT32)
    table = records.tables["probe_kv_heads"]
    assert table[table.layer == 0].notna().all(axis=None)
    assert table[table.layer == 1].effective_rank.isna().all()


# ---------------------------------------------------------------- the probe


def test_uniform_baselines_are_the_closed_forms(texts: ProbeTexts) -> None:
    baselines = texts.uniform_baselines()
    assert baselines["entropy"] == pytest.approx(math.lgamma(24) / 23)
    harmonic = sum(1 / i for i in range(1, 24))
    assert baselines["max_weight"] == pytest.approx(harmonic / 23)
    assert baselines["previous_token_score"] == pytest.approx((harmonic - 1) / 22)
    assert baselines["induction_score"] == pytest.approx(np.mean([1 / i for i in range(12, 23)]))
    flags = SEPARATORS[texts.long[:, :-1]].numpy()
    expected = [np.mean([row[: i + 1].mean() for i in range(23)]) for row in flags]
    assert baselines["separator_mass"] == pytest.approx(expected)


def test_uniform_baselines_are_what_a_model_with_zero_queries_scores(texts: ProbeTexts) -> None:
    blind = Decoder(CONFIG.model, SEED)
    for block in blind.blocks:
        block.attention.q_norm.weight.data[:] = 0
    tables, baselines = Prober(blind, CONFIG, texts).measure(0, FLOAT32).tables, texts.uniform_baselines()
    for name in ("entropy", "max_weight", "previous_token_score", "nearby_mass"):
        np.testing.assert_allclose(tables["probe_query_heads"][name], baselines[name], rtol=1e-5)
    np.testing.assert_allclose(tables["probe_query_heads"].entropy_normalised, 1, rtol=1e-5)
    for name in prober.PROBE_INDUCTION_COLUMNS:
        np.testing.assert_allclose(tables["probe_induction"][name], baselines["induction_score"], rtol=1e-5)
    mass = tables["probe_query_heads"].groupby("text").separator_mass.agg(["min", "max"])
    np.testing.assert_allclose(mass.to_numpy(), np.array(baselines["separator_mass"])[:, None].repeat(2, 1), rtol=1e-4)


def test_repeated_tokens_do_not_depend_on_the_seed_of_the_run() -> None:
    long, short = torch.zeros(1, 24, dtype=torch.long), torch.zeros(2, 9, dtype=torch.long)
    one, two = (
        ProbeTexts(long, short, SEPARATORS, dataclasses.replace(CONFIG, seed=seed), torch.device("cpu")).repeated
        for seed in (1, 2)
    )
    assert torch.equal(one, two)
    assert len(one.unique()) > 30


# ---------------------------------------------------------------- the tables of a real run

HEADS = {"kv_head": 2, "query_head": 4}


def axis_columns(table: pd.DataFrame) -> list[str]:
    axes = ("step", "layer", "query_head", "kv_head", "text", "horizon", "position")
    return [name for name in axes if name in table]


@pytest.mark.parametrize(
    ("name", "rows_per_step", "columns"),
    [
        ("train", 1, {"step", "loss"}),
        ("step_layers", 2, {"step", "layer", "k_gain_rms", "q_gain_rms"}),
        ("step_kv_heads", 2 * 2, {"step", "layer", "kv_head", *tracker.STEP_KV_COLUMNS}),
        ("step_query_heads", 2 * 4, {"step", "layer", "query_head", "kv_head", *tracker.STEP_QUERY_COLUMNS}),
        ("probe_kv_heads", 3 * 2 * 2, {"step", "layer", "kv_head", "text", *prober.PROBE_KV_COLUMNS}),
        (
            "probe_query_heads",
            3 * 2 * 4,
            {"step", "layer", "query_head", "kv_head", "text", *prober.PROBE_QUERY_COLUMNS},
        ),
        (
            "probe_sinks",
            3 * 2 * 4 * 3 * 4,
            {"step", "layer", "query_head", "kv_head", "text", "horizon", "position", "alpha"},
        ),
        (
            "probe_induction",
            2 * 2 * 4,
            {"step", "layer", "query_head", "kv_head", "text", *prober.PROBE_INDUCTION_COLUMNS},
        ),
        ("probe_loss", 3, {"step", "text", "loss"}),
    ],
)
def test_tables_of_a_run_are_tidy_and_whole(
    smoke_run: Run, smoke_config: RunConfig, name: str, rows_per_step: int, columns: set[str]
) -> None:
    table = smoke_run.table(name)
    assert set(table) == columns
    steps = smoke_config.snapshot_steps() if name.startswith("probe") else list(range(25))
    assert table.step.unique().tolist() == steps
    assert (table.groupby("step").size() == rows_per_step).all()
    axes = axis_columns(table)
    assert not table.duplicated(axes).any()
    assert {str(table[axis].dtype) for axis in axes} == {"int32"}
    assert {str(table[column].dtype) for column in columns - set(axes)} == {"float32"}
    assert table.notna().all(axis=None)
    for axis in set(axes) - {"step", "horizon", "position"}:
        assert sorted(table[axis].unique()) == list(range(table[axis].max() + 1))
    if "query_head" in table:
        assert (table.kv_head == table.query_head // 2).all()


def test_arrays_of_a_run_have_their_steps_first(smoke_run: Run, smoke_config: RunConfig) -> None:
    gain, energy, patterns = (smoke_run.array(name) for name in ("gain", "energy", "patterns"))
    assert gain["step"].tolist() == energy["step"].tolist() == list(range(25))
    assert gain["k_gain"].shape == gain["q_gain"].shape == (25, 2, 16)
    assert energy["energy"].shape == (25, 2, 2, 16)
    assert patterns["step"].tolist() == smoke_config.snapshot_steps()
    assert patterns["pattern"].shape == (len(smoke_config.snapshot_steps()), 2, 2, 4, 16 * 17 // 2)


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

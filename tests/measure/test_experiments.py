"""Experiments on a trained model, against losses, keys and head outputs computed by hand, one head at a time."""

import copy
import dataclasses
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor

from civilwar.measure import experiments
from civilwar.measure.experiments import Bench, ablation, capacity, key_energy
from civilwar.measure.hooks import edit_keys
from civilwar.model.decoder import Decoder
from civilwar.recipe.config import ModelConfig, ProbeConfig, RunConfig, make_config

SEED, GROUP = 5, 2
SCORES = ["loss", "separator_loss", "induction_gain"]
CONFIG = dataclasses.replace(
    make_config("smoke", seed=SEED),
    model=ModelConfig(
        n_layers=3, d_model=29, n_query_heads=6, n_kv_heads=3, d_head=10, d_ff=37, vocab_size=307, context=23
    ),
    # ranks of d_head and more are left out
    probe=ProbeConfig(
        n_repeated=5,
        short_tokens=9,
        report_tokens=13,
        sink_horizons=(16, 23),
        capacity_ranks=(1, 4, 7, 10, 48),
        random_draws=2,
    ),
)
RANKS = (0, 1, 4, 7)
SEPARATORS = torch.arange(307) % 7 == 0


def sharpened(config: ModelConfig) -> Decoder:
    """Gains that differ, one of them negative, and matrices large enough for keys to matter to the loss."""
    model = Decoder(config, SEED)
    generator = torch.Generator().manual_seed(1)
    for name, parameter in model.named_parameters():
        if "norm" in name and parameter.requires_grad:
            parameter.data = 0.3 + 1.4 * torch.rand(parameter.shape, generator=generator)
        elif "qkvo" in name:
            parameter.data *= 20
    model.final_norm.weight.data *= 20
    for block in model.blocks:
        if config.qk_norm == "learned":
            block.attention.k_norm.weight.data[6] = -1.9
    return model


def bench_of(config: RunConfig, separators: Tensor = SEPARATORS) -> Bench:
    generator = torch.Generator().manual_seed(2)
    texts, basis = (torch.randint(1, 307, shape, generator=generator) for shape in ((4, 24), (5, 23)))
    # separators that are not first words of a text either, and one that is
    texts[0, 0], texts[1, 5], texts[3, 22] = 7, 14, 21
    once = torch.randint(1, 307, (3, 11), generator=generator)
    repeated = torch.cat([once, once], dim=1)
    model = sharpened(config.model)
    return Bench(model, config, texts, basis, repeated, separators, torch.autocast("cpu", enabled=False))


@pytest.fixture
def bench() -> Bench:
    return bench_of(CONFIG)


# ---------------------------------------------------------------- by hand


def nats(model: Decoder, text: Tensor) -> list[float]:
    """Loss of every token of a text but its first, each from those before it."""
    with torch.no_grad():
        logits = model(text[None, :-1])[0].double().numpy()
    return [
        float(math.log(np.exp(row - row.max()).sum()) + row.max() - row[token])
        for row, token in zip(logits, text[1:].tolist(), strict=True)
    ]


def scores_by_hand(bench: Bench, model: Decoder | None = None) -> dict[str, float]:
    model = bench.model if model is None else model
    every: list[float] = []
    after_separator: list[float] = []
    for text in bench.texts:
        for before, loss in zip(text.tolist(), nats(model, text), strict=False):
            every.append(loss)
            if before % 7 == 0:
                after_separator.append(loss)
    first, second = [], []
    for text in bench.repeated:
        # the loss at place i is that of token i + 1; token 11 opens the second copy, which nothing announces
        losses = nats(model, text)
        first += [losses[token - 1] for token in range(1, 11)]
        second += [losses[token - 1] for token in range(12, 22)]
    return {
        "loss": float(np.mean(every)),
        "separator_loss": float(np.mean(after_separator)),
        "induction_gain": float(np.mean(first) - np.mean(second)),
    }


def attention_inputs(model: Decoder, tokens: Tensor) -> list[Tensor]:
    """What every layer's attention reads, [batch, pos, d_model]."""
    inputs: list[Tensor] = []
    hooks = [
        block.attention.register_forward_pre_hook(lambda module, args: inputs.append(args[0])) for block in model.blocks
    ]
    with torch.no_grad():
        model(tokens)
    for hook in hooks:
        hook.remove()
    return inputs


def raw_keys(model: Decoder, tokens: Tensor) -> np.ndarray:
    """Keys before their norm, [layer, kv_head, batch, pos, d_head]."""
    layers = []
    for block, x in zip(model.blocks, attention_inputs(model, tokens), strict=True):
        matrix = block.attention.qkvo[0].detach()[60:90].numpy()
        layers.append([x.numpy() @ matrix[10 * head : 10 * head + 10].T for head in range(3)])
    return np.array(layers)


def normed_keys(model: Decoder, tokens: Tensor) -> np.ndarray:
    raw = raw_keys(model, tokens)
    gain = np.stack([block.attention.k_norm.weight.detach().numpy() for block in model.blocks])
    return raw / np.sqrt((raw**2).mean(-1, keepdims=True)) * gain[:, None, None, None]


def mean_head_outputs(model: Decoder, tokens: Tensor) -> np.ndarray:
    """[layer, query_head, d_head], one head and one query at a time."""
    means = np.zeros((3, 6, 10))
    for layer, (block, x) in enumerate(zip(model.blocks, attention_inputs(model, tokens), strict=True)):
        attention = block.attention
        with torch.no_grad():
            q, k, v, _ = (
                part.unflatten(-1, (-1, 10)) for part in (x @ attention.qkvo[0].T).split(attention.widths, dim=-1)
            )
            q, k = (attention.rope(norm(part)) for norm, part in ((attention.q_norm, q), (attention.k_norm, k)))
        for head in range(6):
            outputs = []
            for queries, keys, values in zip(q, k, v, strict=True):
                queries, keys, values = (
                    queries[:, head].numpy(),
                    keys[:, head // GROUP].numpy(),
                    values[:, head // GROUP].numpy(),
                )
                for i, query in enumerate(queries):
                    weight = np.exp(keys[: i + 1] @ query / math.sqrt(10))
                    outputs.append(weight @ values[: i + 1] / weight.sum())
            means[layer, head] = np.mean(outputs, axis=0)
    return means


def agree(found: Any, expected: dict[str, float]) -> bool:
    return all(found[name] == pytest.approx(expected[name], abs=1e-4) for name in SCORES)


# ---------------------------------------------------------------- scores


def test_scores_are_losses_computed_by_hand(bench: Bench) -> None:
    assert agree(bench.score(), scores_by_hand(bench))


def test_the_loss_after_a_separator_counts_no_other_token(bench: Bench) -> None:
    before = bench.score()
    texts = bench.texts.clone()
    # another last target, which comes after the separator that text 3 ends on; and one that comes after none
    texts[3, 23] = 100
    bench.texts = texts
    assert bench.score()["separator_loss"] != before["separator_loss"]
    texts[3, 23] = 0
    bench.texts[2, 23] = next(t for t in range(1, 307) if t != int(bench.texts[2, 23]))
    assert int(bench.texts[2, 22]) % 7
    assert bench.score()["separator_loss"] == pytest.approx(scores_by_hand(bench)["separator_loss"], rel=1e-5)


def test_without_separators_only_their_loss_is_undefined() -> None:
    scores = bench_of(CONFIG, torch.zeros(307, dtype=torch.bool)).score()
    assert math.isnan(scores["separator_loss"])
    assert math.isfinite(scores["loss"])
    assert math.isfinite(scores["induction_gain"])


class Copier(torch.nn.Module):
    """Knows every token from the first token's second turn on, but never sees that turn coming."""

    def forward(self, tokens: Tensor) -> Tensor:
        logits = torch.zeros(*tokens.shape, 307)
        for text, row in enumerate(tokens.tolist()):
            for i in range(11, len(row)):
                logits[text, i, row[i - 10]] = 30.0
            # the one between the copies costs dearly, and belongs to neither
            logits[text, 10, row[0]] = -50.0
        return logits


def test_the_gain_by_repetition_of_a_perfect_copier_is_all_there_is_to_gain(bench: Bench) -> None:
    bench.model = Copier()
    assert bench.score()["induction_gain"] == pytest.approx(math.log(307), abs=1e-5)


def test_keys_and_head_means_are_those_of_the_training_text(bench: Bench) -> None:
    keys = bench.keys()
    assert keys.shape == (3, 5 * 23, 3, 10)
    expected = normed_keys(bench.model, bench.basis_texts).reshape(3, 3, 5 * 23, 10).transpose(0, 2, 1, 3)
    np.testing.assert_allclose(keys, expected, rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(bench.head_means(), mean_head_outputs(bench.model, bench.basis_texts), atol=1e-4)


# ---------------------------------------------------------------- capacity


def test_every_rank_is_tried_by_every_method(bench: Bench) -> None:
    table = capacity(bench)
    assert list(table) == ["method", "rank", "draw", *SCORES]
    expected = {("full", 10, 0)}
    expected |= {(method, rank, 0) for method in ("directions", "gains") for rank in RANKS}
    expected |= {
        (method, rank, draw)
        for method in ("random_directions", "random_dimensions")
        for rank in RANKS[1:]
        for draw in range(2)
    }
    found = list(table[["method", "rank", "draw"]].itertuples(index=False, name=None))
    assert len(found) == len(expected)
    assert set(found) == expected
    assert table[SCORES].notna().all(axis=None)
    assert agree(table[table["method"] == "full"].iloc[0], scores_by_hand(bench))


@contextmanager
def keys_through(model: Decoder, project: Callable[[int, int, np.ndarray], np.ndarray]) -> Iterator[None]:
    """Keys of every layer and head changed one vector set at a time; hooked here, not by the code under test."""

    def hook_of(layer: int) -> Callable[..., Tensor]:
        def hook(module: Any, args: Any, keys: Tensor) -> Tensor:
            heads = [project(layer, head, keys[:, :, head].double().numpy()) for head in range(3)]
            return torch.from_numpy(np.stack(heads, axis=2)).float()

        return hook

    hooks = [block.attention.k_norm.register_forward_hook(hook_of(layer)) for layer, block in enumerate(model.blocks)]
    yield
    for hook in hooks:
        hook.remove()


@pytest.mark.parametrize("rank", RANKS)
def test_the_directions_kept_are_the_leading_ones_of_an_independent_svd(bench: Bench, rank: int) -> None:
    keys = normed_keys(bench.model, bench.basis_texts).reshape(3, 3, -1, 10).astype(np.float64)
    mean = keys.mean(-2, keepdims=True)
    leading = np.linalg.svd(keys - mean, full_matrices=False).Vh[..., :rank, :]

    def project(layer: int, head: int, x: np.ndarray) -> np.ndarray:
        centre, basis = mean[layer, head], leading[layer, head]
        return centre + (x - centre) @ basis.T @ basis

    with keys_through(bench.model, project):
        expected = scores_by_hand(bench)
    table = capacity(bench)
    found = table[(table["method"] == "directions") & (table["rank"] == rank)]
    assert len(found) == 1
    assert agree(found.iloc[0], expected)
    # far enough from what nothing or everything would give for the agreement to say something
    assert abs(expected["loss"] - scores_by_hand(bench)["loss"]) > 0.005


@pytest.mark.parametrize("rank", RANKS)
def test_the_gains_kept_are_the_largest_by_size_and_nothing_else_stays(bench: Bench, rank: int) -> None:
    gains = [block.attention.k_norm.weight.detach().numpy() for block in bench.model.blocks]
    kept = [sorted(range(10), key=lambda d, gain=gain: -abs(gain[d]))[:rank] for gain in gains]
    # the negative gain is the largest by size
    assert all(6 in dimensions for dimensions in kept) or not rank

    def select(layer: int, head: int, x: np.ndarray) -> np.ndarray:
        return x * np.isin(np.arange(10), kept[layer])

    with keys_through(bench.model, select):
        expected = scores_by_hand(bench)
    table = capacity(bench)
    assert agree(table[(table["method"] == "gains") & (table["rank"] == rank)].iloc[0], expected)


def capacity_edits(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> dict[tuple[str, int, int], Any]:
    """What `capacity` does to keys, by method, rank and draw: a function of layer and keys."""
    edits: list[Any] = []

    @contextmanager
    def recording(model: Decoder, edit: Any) -> Iterator[None]:
        edits.append(edit)
        with edit_keys(model, edit):
            yield

    monkeypatch.setattr(experiments, "edit_keys", recording)
    table = capacity(bench)
    labels = table[["method", "rank", "draw"]].iloc[1:].itertuples(index=False, name=None)
    return dict(zip(labels, edits, strict=True))


def matrices(edit: Any, mean: Tensor) -> np.ndarray:
    """The projection that an edit applies about a mean, [layer, kv_head, d_head, d_head]."""
    found = []
    for layer in range(3):
        around = mean[layer] + torch.eye(10)[:, None]  # [unit vector, kv_head, d_head]
        found.append((edit(layer, around[None])[0] - mean[layer]).transpose(0, 1))
    return torch.stack(found).double().numpy()


def test_every_basis_is_orthonormal_and_of_its_rank(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    mean = bench.keys().mean(1)
    edits = capacity_edits(bench, monkeypatch)
    projections = {key: matrices(edit, mean) for key, edit in edits.items() if "directions" in key[0]}
    assert len(projections) == 4 + 3 * 2
    for (_, rank, _), projection in projections.items():
        # symmetric, and the same when done twice: an orthogonal projection, whose trace is its rank
        np.testing.assert_allclose(projection, projection.swapaxes(-1, -2), atol=1e-5)
        np.testing.assert_allclose(projection @ projection, projection, atol=1e-5)
        np.testing.assert_allclose(np.trace(projection, axis1=-2, axis2=-1), rank, atol=1e-4)
    # each head of each layer has a basis of its own
    for method in ("directions", "random_directions"):
        of_heads = projections[method, 4, 0].reshape(9, 100)
        assert np.linalg.norm(of_heads[:, None] - of_heads, axis=-1)[~np.eye(9, dtype=bool)].min() > 0.1


def test_rank_zero_leaves_the_mean_key_or_none(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    edits = capacity_edits(bench, monkeypatch)
    keys = torch.randn(2, 5, 3, 10, generator=torch.Generator().manual_seed(4))
    mean = normed_keys(bench.model, bench.basis_texts).mean((2, 3))
    for layer in range(3):
        left = edits["directions", 0, 0](layer, keys)
        np.testing.assert_allclose(left, np.broadcast_to(mean[layer], (2, 5, 3, 10)), rtol=1e-3, atol=1e-4)
        assert (edits["gains", 0, 0](layer, keys) == 0).all()


def test_all_directions_change_no_loss(bench: Bench) -> None:
    keys = bench.keys().transpose(1, 2)
    mean = keys.mean(-2)
    basis = torch.linalg.qr(torch.randn(3, 3, 10, 10, generator=torch.Generator().manual_seed(0))).Q
    before = bench.score()
    with edit_keys(bench.model, experiments._projection(mean, basis)):
        assert agree(bench.score(), before)
    with edit_keys(bench.model, experiments._selection(torch.arange(10).repeat(3, 1))):
        assert bench.score() == before


def test_random_dimensions_are_other_ones_in_every_draw_and_layer(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    edits = capacity_edits(bench, monkeypatch)
    drawn: set[tuple[int, ...]] = set()
    for draw in range(2):
        for layer in range(3):
            kept = edits["random_dimensions", 4, draw](layer, torch.ones(1, 1, 3, 10))[0, 0]
            assert (kept == kept[0]).all()
            assert kept.sum(-1).tolist() == [4, 4, 4]
            drawn.add(tuple(torch.nonzero(kept[0])[:, 0].tolist()))
    assert len(drawn) >= 5


def test_random_draws_differ_from_each_other_and_are_the_same_on_a_second_call(bench: Bench) -> None:
    table, again = capacity(bench), capacity(bench)
    pd.testing.assert_frame_equal(table, again)
    random = table[table["draw"].isin([0, 1]) & table["method"].str.startswith("random")]
    spread = random.groupby(["method", "rank"])["loss"].agg(lambda losses: losses.max() - losses.min())
    assert len(spread) == 2 * 3
    assert (spread > 1e-5).all()
    other = capacity(bench_of(dataclasses.replace(CONFIG, seed=SEED + 1)))
    same = table["loss"] == other["loss"]
    assert table.loc[same, "method"].unique().tolist() == ["full", "directions", "gains"]
    assert not same[table["method"].str.startswith("random")].any()


@pytest.mark.parametrize("qk_norm", ["frozen", "none"])
def test_without_a_learned_gain_no_dimension_is_preferred(qk_norm: Any) -> None:
    config = dataclasses.replace(CONFIG, model=dataclasses.replace(CONFIG.model, qk_norm=qk_norm))
    table = capacity(bench_of(config))
    assert sorted(table["method"].unique()) == ["directions", "full", "random_dimensions", "random_directions"]
    assert table[SCORES].notna().all(axis=None)


# ---------------------------------------------------------------- ablation

KINDS = {"sink": [(0, 1), (2, 0), (2, 3)], "induction": [(1, 5)], "gatherer": [(1, head) for head in range(6)]}


def of_kind(table: pd.DataFrame, kind: str, mode: str) -> pd.Series:
    rows = table[(table["kind"] == kind) & (table["mode"] == mode) & (table["group"] == "kind")]
    assert len(rows) == 1
    return rows.iloc[0]


def test_ablating_by_zero_is_a_model_whose_output_rows_of_these_heads_are_zero(bench: Bench) -> None:
    table = ablation(bench, KINDS)
    for kind, heads in KINDS.items():
        cut = copy.deepcopy(bench.model)
        for layer, head in heads:
            cut.blocks[layer].attention.weights()[1].data[10 * head : 10 * head + 10] = 0
        assert agree(of_kind(table, kind, "zero"), scores_by_hand(bench, cut))


def test_ablating_by_the_mean_adds_what_the_heads_add_on_average_over_the_training_text(bench: Bench) -> None:
    means = mean_head_outputs(bench.model, bench.basis_texts)
    table = ablation(bench, KINDS)
    for kind, heads in KINDS.items():
        cut = copy.deepcopy(bench.model)
        for layer, block in enumerate(cut.blocks):
            constant = torch.zeros(29)
            w_o = block.attention.weights()[1].data
            for head in (head for where, head in heads if where == layer):
                rows = slice(10 * head, 10 * head + 10)
                constant += torch.from_numpy(means[layer, head]).float() @ w_o[rows]
                w_o[rows] = 0
            block.attention.register_forward_hook(lambda module, args, output, constant=constant: output + constant)
        expected = scores_by_hand(bench, cut)
        found = of_kind(table, kind, "mean")
        assert agree(found, expected)
        assert abs(found["loss"] - of_kind(table, kind, "zero")["loss"]) > 1e-3


def test_the_table_has_a_row_for_every_group_and_mode_and_one_for_the_whole_model(bench: Bench) -> None:
    table = ablation(bench, KINDS)
    assert list(table) == ["kind", "mode", "group", "draw", "n_heads", *SCORES]
    expected = [("none", "none", "none", 0, 0)]
    for kind, heads in KINDS.items():
        for group, draw in (("kind", 0), ("random", 0), ("random", 1)):
            expected += [(kind, mode, group, draw, len(heads)) for mode in ("mean", "zero")]
    found = table[["kind", "mode", "group", "draw", "n_heads"]].itertuples(index=False, name=None)
    assert list(found) == expected
    assert agree(table.iloc[0], scores_by_hand(bench))
    pd.testing.assert_frame_equal(ablation(bench, KINDS), table)
    assert len(ablation(bench, {})) == 1


def test_where_a_kind_is_a_whole_layer_there_is_nothing_to_compare(bench: Bench) -> None:
    table = ablation(bench, {"gatherer": KINDS["gatherer"]})
    for mode in ("mean", "zero"):
        assert table[table["mode"] == mode]["loss"].nunique() == 1


def silenced_heads(bench: Bench, kinds: Any, monkeypatch: pytest.MonkeyPatch) -> list[list[tuple[int, int]]]:
    """The heads that each ablation by zero silences, in the table's order."""
    groups: list[list[tuple[int, int]]] = []

    @contextmanager
    def recording(model: Decoder, edit: Any) -> Iterator[None]:
        outputs = [edit(layer, torch.ones(1, 1, 6, 10)) for layer in range(3)]
        silent = [(layer, head) for layer in range(3) for head in range(6) if (outputs[layer][0, 0, head] == 0).all()]
        whole = sum(int((output == 1).sum()) for output in outputs)
        assert whole + 10 * len(silent) == 180
        groups.append(silent)
        yield

    monkeypatch.setattr(bench, "head_means", lambda: torch.zeros(3, 6, 10))
    monkeypatch.setattr(experiments, "edit_head_outputs", recording)
    ablation(bench, kinds)
    # by the mean, which is 0 here, and by zero
    assert groups[::2] == groups[1::2]
    return groups[::2]


def test_random_groups_have_as_many_heads_in_each_layer(monkeypatch: pytest.MonkeyPatch) -> None:
    many = dataclasses.replace(CONFIG, probe=dataclasses.replace(CONFIG.probe, random_draws=20))
    bench = bench_of(many)
    groups = silenced_heads(bench, KINDS, monkeypatch)
    assert len(groups) == 3 * (1 + 20)
    for number, heads in enumerate(KINDS.values()):
        chosen, *random = groups[21 * number : 21 * number + 21]
        assert chosen == sorted(heads)
        layers = sorted(layer for layer, _ in heads)
        assert all([layer for layer, _ in group] == layers for group in random)
        if len(heads) < 6:
            assert len({tuple(group) for group in random}) > 4
    # drawn from all heads of the layer, those of the kind included
    assert {group[0] for group in groups[22:42]} == {(1, head) for head in range(6)}


# ---------------------------------------------------------------- energy of keys


def test_key_energy_is_that_of_all_first_and_separator_tokens(bench: Bench) -> None:
    table = key_energy(bench)
    assert set(table) == {"layer", "kv_head", "tokens", "dimension", "energy"}
    assert len(table) == 3 * 3 * 3 * 10
    np.testing.assert_allclose(table.groupby(["layer", "kv_head", "tokens"])["energy"].mean(), 1, rtol=1e-5)

    raw = raw_keys(bench.model, bench.texts[:, :-1]).astype(np.float64)
    energy = 10 * raw**2 / (raw**2).sum(-1, keepdims=True)
    inputs = bench.texts[:, :-1].numpy()
    spots = {
        "all": [(text, i) for text in range(4) for i in range(23)],
        "first": [(text, 0) for text in range(4)],
        "separator": [(text, i) for text in range(4) for i in range(23) if inputs[text, i] % 7 == 0],
    }
    assert len(spots["separator"]) not in (0, 4, 92)
    values = table.set_index(["layer", "kv_head", "tokens", "dimension"])["energy"]
    assert values.index.is_unique
    for layer in range(3):
        for head in range(3):
            for tokens, places in spots.items():
                expected = np.mean([energy[layer, head, text, i] for text, i in places], axis=0)
                found = values.loc[layer, head, tokens].sort_index()
                np.testing.assert_allclose(found, expected, rtol=1e-4)


# ---------------------------------------------------------------- what all have in common


@pytest.mark.parametrize("experiment", [capacity, lambda bench: ablation(bench, KINDS), key_energy])
def test_an_experiment_leaves_the_model_as_it_was(bench: Bench, experiment: Callable[[Bench], pd.DataFrame]) -> None:
    before = {name: value.clone() for name, value in bench.model.state_dict().items()}
    experiment(bench)
    assert all(torch.equal(value, before[name]) for name, value in bench.model.state_dict().items())
    assert all(parameter.grad is None for parameter in bench.model.parameters())
    assert all(not module._forward_hooks for module in bench.model.modules())


def test_the_model_computes_in_the_run_s_precision(bench: Bench) -> None:
    exact = bench.score()
    bench.autocast = torch.autocast("cpu", dtype=torch.bfloat16)
    rounded = bench.score()
    assert rounded["loss"] != exact["loss"]
    assert rounded["loss"] == pytest.approx(exact["loss"], abs=0.3)
    assert bench.keys().dtype == bench.head_means().dtype == torch.float32
    assert capacity(bench)[SCORES].notna().all(axis=None)

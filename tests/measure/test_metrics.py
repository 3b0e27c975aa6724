"""Every metric against a closed form or an independent library, on tensors whose axes all differ in size."""

import inspect
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import scipy.special
import scipy.stats
import torch
from jaxtyping import TypeCheckError
from sklearn.metrics.pairwise import cosine_similarity
from torch import Tensor

from civilwar.measure import metrics

BATCH, GROUP, KV, POS, HEAD = 2, 5, 3, 13, 7
QUERY_HEADS = GROUP * KV


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def rotation(n: int, seed: int = 0) -> Tensor:
    return torch.linalg.qr(normal(n, n, seed=seed)).Q


def attention(*batch: int, n: int = POS, seed: int = 0) -> Tensor:
    return metrics.causal_attention(2 * normal(*batch, n, n, seed=seed))


def uniform(n: int) -> Tensor:
    return metrics.causal_attention(torch.zeros(n, n, dtype=torch.float64))


def harmonic(n: int) -> float:
    return sum(1 / i for i in range(1, n + 1))


# one call of each function; also what the tests of untouched inputs go through
CALLS: dict[str, Callable[[], tuple[Any, ...]]] = {
    "vector_norm": lambda: (normal(BATCH, POS, HEAD),),
    "energy": lambda: (normal(BATCH, POS, HEAD),),
    "coordinate_participation_ratio": lambda: (normal(BATCH, POS, HEAD),),
    "direction_sum": lambda: (normal(KV, POS, HEAD),),
    "cosine_of_direction_sum": lambda: (normal(KV, HEAD), POS),
    "covariance_spectrum": lambda: (normal(KV, POS, HEAD),),
    "participation_ratio": lambda: (normal(KV, HEAD).square(),),
    "effective_rank": lambda: (normal(KV, HEAD).square(),),
    "stable_rank": lambda: (normal(KV, HEAD).square(),),
    "attention_logits": lambda: (normal(BATCH, QUERY_HEADS, 11, HEAD), normal(BATCH, KV, POS, HEAD)),
    "causal_mask": lambda: (2, 3, POS, torch.device("cpu")),
    "causal_attention": lambda: (normal(BATCH, KV, 5, POS), 8),
    "attention_entropy": lambda: (attention(BATCH, KV),),
    "normalise_entropy": lambda: (normal(KV, POS).square(), 4),
    "largest_weight": lambda: (attention(BATCH, KV),),
    "top_logit_spread": lambda: (normal(KV, POS),),
    "attention_mass": lambda: (attention(BATCH, KV), torch.arange(POS) % 3 == 0),
    "attention_at": lambda: (attention(BATCH, KV), torch.arange(POS) - 1),
    "sink_alpha": lambda: (normal(KV, POS).square(), 2, 11),
    "previous_weight": lambda: (attention(BATCH, KV)[..., 4:, :], 4),
    "previous_token_score": lambda: (attention(BATCH, KV),),
    "nearby_mass": lambda: (attention(BATCH, KV)[..., 4:, :], 4),
    "induction_target": lambda: (POS, 5, torch.device("cpu")),
    "induction_score": lambda: (attention(BATCH, KV, n=14), 7),
    "duplicate_token_score": lambda: (attention(BATCH, KV, n=14), 7),
    "report_entropy": lambda: (normal(BATCH, QUERY_HEADS, POS, HEAD), normal(BATCH, KV, POS, HEAD), 11),
}


def test_every_metric_is_called_below() -> None:
    public = {
        name
        for name, function in inspect.getmembers(metrics, inspect.isfunction)
        if function.__module__ == metrics.__name__ and not name.startswith("_")
    }
    assert public == set(CALLS)


@pytest.mark.parametrize("name", CALLS)
def test_inputs_are_never_written_to(name: str) -> None:
    arguments = CALLS[name]()
    copies = [value.clone() if isinstance(value, Tensor) else value for value in arguments]
    result = getattr(metrics, name)(*arguments)
    for value, copy in zip(arguments, copies, strict=True):
        assert torch.equal(value, copy) if isinstance(value, Tensor) else value == copy
        # nor handed out for others to write to
        if isinstance(value, Tensor):
            assert result.data_ptr() != value.data_ptr()


@pytest.mark.parametrize("name", CALLS)
def test_a_metric_has_a_formula_in_words_and_annotated_axes(name: str) -> None:
    function = getattr(metrics, name)
    assert len(function.__doc__) > 40
    assert all(p.annotation is not inspect.Parameter.empty for p in inspect.signature(function).parameters.values())


def test_a_wrong_shape_is_refused_while_tests_run() -> None:
    with pytest.raises(TypeCheckError):
        metrics.attention_mass(attention(KV), torch.ones(POS + 1, dtype=torch.bool))


# ---------------------------------------------------------------- one vector per token


def test_vector_norm() -> None:
    x = normal(BATCH, POS, HEAD)
    np.testing.assert_allclose(metrics.vector_norm(x), np.linalg.norm(x.numpy(), axis=-1))
    assert metrics.vector_norm(torch.tensor([3.0, 4.0])).item() == 5


def test_energy_is_the_share_of_each_dimension() -> None:
    x = normal(BATCH, POS, HEAD)
    squared = x.numpy() ** 2
    np.testing.assert_allclose(metrics.energy(x), HEAD * squared / squared.sum(-1, keepdims=True))
    torch.testing.assert_close(metrics.energy(x).mean(-1), torch.ones(BATCH, POS, dtype=x.dtype))
    torch.testing.assert_close(metrics.energy(-31 * x), metrics.energy(x))
    assert metrics.energy(torch.zeros(HEAD)).isnan().all()


def test_energy_on_the_gain_is_the_squared_norm() -> None:
    x, gain = normal(POS, HEAD), normal(HEAD, seed=1)
    normed = torch.nn.functional.rms_norm(x, (HEAD,), gain, eps=0.0)
    torch.testing.assert_close((metrics.energy(x) * gain.square()).sum(-1), metrics.vector_norm(normed).square())


@pytest.mark.parametrize("k", range(1, HEAD + 1))
def test_k_equal_coordinates_participate_as_k(k: int) -> None:
    x = torch.zeros(HEAD, dtype=torch.float64)
    x[:k] = torch.tensor([(-1.0) ** j * 3 for j in range(k)])
    assert metrics.coordinate_participation_ratio(x).item() == pytest.approx(k)


def test_coordinate_participation_is_basis_dependent_and_scale_free() -> None:
    x = normal(POS, HEAD)
    ratio = metrics.coordinate_participation_ratio(x)
    torch.testing.assert_close(metrics.coordinate_participation_ratio(-1e4 * x), ratio)
    assert ((ratio >= 1) & (ratio <= HEAD)).all()
    turned = metrics.coordinate_participation_ratio(torch.eye(HEAD, dtype=torch.float64) @ rotation(HEAD))
    assert (turned > 1.5).all()


def test_random_directions_in_64_dimensions_score_22() -> None:
    # the null of C09: isotropic directions by themselves
    x = normal(200_000, 64)
    ratio = metrics.coordinate_participation_ratio(x)
    assert ratio.mean().item() == pytest.approx(22.7, abs=0.1)
    squared = x.square()
    ratio_of_means = squared.sum(-1).square().mean() / squared.square().sum(-1).mean()
    assert ratio_of_means.item() == pytest.approx((64 + 2) / 3, abs=0.05)


def mean_cosine(x: torch.Tensor) -> torch.Tensor:
    return metrics.cosine_of_direction_sum(metrics.direction_sum(x), x.shape[-2])


def test_the_mean_cosine_is_sklearn_s_off_diagonal_mean() -> None:
    x = normal(KV, POS, HEAD) + 0.5
    off_diagonal = ~np.eye(POS, dtype=bool)
    expected = [cosine_similarity(head.numpy())[off_diagonal].mean() for head in x]
    np.testing.assert_allclose(mean_cosine(x), expected)
    lengths = normal(KV, POS, 1, seed=2).square() + 0.1
    torch.testing.assert_close(mean_cosine(x * lengths), mean_cosine(x))
    torch.testing.assert_close(mean_cosine(x @ rotation(HEAD)), mean_cosine(x))


def test_the_mean_cosine_from_the_direction_sums_of_parts() -> None:
    x = normal(KV, POS, HEAD)
    total = metrics.direction_sum(x[:, :3]) + metrics.direction_sum(x[:, 3:])
    torch.testing.assert_close(total, (x / x.norm(dim=-1, keepdim=True)).sum(1))
    torch.testing.assert_close(metrics.cosine_of_direction_sum(total, POS), mean_cosine(x))


def test_the_mean_cosine_at_its_ends() -> None:
    simplex = torch.eye(HEAD, dtype=torch.float64) - 1 / HEAD
    assert mean_cosine(simplex).item() == pytest.approx(-1 / (HEAD - 1))
    assert mean_cosine(normal(1, HEAD).repeat(POS, 1)).item() == pytest.approx(1)
    assert mean_cosine(normal(KV, 1, HEAD)).isnan().tolist() == [True] * KV


# ---------------------------------------------------------------- covariance


def test_the_covariance_spectrum_is_numpy_s() -> None:
    x = normal(KV, POS, HEAD) * torch.arange(1, HEAD + 1) + 5
    spectrum = metrics.covariance_spectrum(x)
    for head in range(KV):
        expected = np.linalg.eigvalsh(np.cov(x[head].numpy(), rowvar=False))
        np.testing.assert_allclose(spectrum[head], expected, rtol=1e-9)
    # fewer tokens than dimensions: the rest is 0, not a little below
    few = metrics.covariance_spectrum(x[:, :3])
    assert (few >= 0).all()
    assert (few[:, :-2] < 1e-9).all()
    assert (few[:, -2:] > 1e-3).all()


def test_the_covariance_spectrum_of_float32_keys_is_good_to_float32() -> None:
    x = (normal(POS, HEAD) + 100).float()
    expected = np.linalg.eigvalsh(np.cov(x.numpy().astype(np.float64), rowvar=False))
    spectrum = metrics.covariance_spectrum(x)
    assert spectrum.dtype == torch.float32
    np.testing.assert_allclose(spectrum, expected, rtol=1e-6)


def test_a_spectrum_needs_two_tokens_and_finite_ones() -> None:
    with pytest.raises(ValueError, match="at least 2 tokens, got 1"):
        metrics.covariance_spectrum(normal(KV, 1, HEAD))
    x = normal(KV, POS, HEAD)
    x[1, 4, 2] = math.inf
    spectrum = metrics.covariance_spectrum(x)
    assert spectrum.isnan().all(-1).tolist() == [False, True, False]
    assert spectrum[[0, 2]].isfinite().all()


RANKS = (metrics.participation_ratio, metrics.effective_rank, metrics.stable_rank)


@pytest.mark.parametrize("rank", RANKS)
def test_ranks_do_not_depend_on_basis_scale_or_offset(rank: Callable[[Tensor], Tensor]) -> None:
    x = normal(KV, POS, HEAD) * torch.arange(1, HEAD + 1)
    expected = rank(metrics.covariance_spectrum(x))
    for same in (x @ rotation(HEAD), 17 * x, x + normal(HEAD, seed=3)):
        torch.testing.assert_close(rank(metrics.covariance_spectrum(same)), expected)
    assert ((expected > 1.1) & (expected < HEAD - 0.1)).all()
    # unlike the report's ratio
    report = metrics.coordinate_participation_ratio
    assert (report(x @ rotation(HEAD)) - report(x)).abs().max() > 0.5


@pytest.mark.parametrize("rank", RANKS)
@pytest.mark.parametrize("k", range(1, HEAD + 1))
def test_k_equal_eigenvalues_have_rank_k(rank: Callable[[Tensor], Tensor], k: int) -> None:
    spectrum = torch.zeros(HEAD, dtype=torch.float64)
    spectrum[-k:] = 0.37
    assert rank(spectrum).item() == pytest.approx(k)


def test_ranks_against_numpy_and_scipy() -> None:
    x = normal(KV, POS, HEAD) * torch.arange(1, HEAD + 1)
    spectrum = metrics.covariance_spectrum(x)
    for head in range(KV):
        centred = (x[head] - x[head].mean(0)).numpy()
        singular = np.linalg.svd(centred, compute_uv=False)
        covariance = np.cov(centred, rowvar=False)
        participation = np.trace(covariance) ** 2 / np.trace(covariance @ covariance)
        stable = (np.linalg.norm(centred, "fro") / np.linalg.norm(centred, 2)) ** 2
        effective = np.exp(scipy.stats.entropy(singular / singular.sum()))
        assert metrics.participation_ratio(spectrum)[head].item() == pytest.approx(participation)
        assert metrics.stable_rank(spectrum)[head].item() == pytest.approx(stable)
        assert metrics.effective_rank(spectrum)[head].item() == pytest.approx(effective)


# ---------------------------------------------------------------- attention


def test_logits_pair_each_query_head_with_its_own_kv_head() -> None:
    queries, keys = normal(BATCH, QUERY_HEADS, 11, HEAD), normal(BATCH, KV, POS, HEAD, seed=1)
    logits = metrics.attention_logits(queries, keys)
    assert logits.shape == (BATCH, QUERY_HEADS, 11, POS)
    for b in range(BATCH):
        for head in range(QUERY_HEADS):
            expected = queries[b, head].numpy() @ keys[b, head // GROUP].numpy().T / np.sqrt(HEAD)
            np.testing.assert_allclose(logits[b, head], expected)


def test_causal_attention_is_a_softmax_over_the_past() -> None:
    logits = normal(BATCH, KV, POS, POS)
    weights = metrics.causal_attention(logits)
    for i in range(POS):
        expected = scipy.special.softmax(logits[..., i, : i + 1].numpy(), axis=-1)
        np.testing.assert_allclose(weights[..., i, : i + 1], expected)
        assert (weights[..., i, i + 1 :] == 0).all()


def test_the_mask_of_a_block_is_that_part_of_the_whole() -> None:
    whole = metrics.causal_mask(0, POS, POS, torch.device("cpu"))
    np.testing.assert_array_equal(whole, np.tri(POS, dtype=bool))
    np.testing.assert_array_equal(metrics.causal_mask(4, 5, POS, torch.device("cpu")), whole[4:9])


@pytest.mark.parametrize("block", [1, 4, 5, POS])
def test_blocks_of_queries_add_up_to_whole_attention(block: int) -> None:
    queries, keys = normal(QUERY_HEADS, POS, HEAD), normal(KV, POS, HEAD, seed=1)
    logits = metrics.attention_logits(queries, keys)
    whole = metrics.causal_attention(logits)
    flags, previous = torch.arange(POS) % 3 == 1, torch.arange(POS) - 1
    parts: dict[str, list[Tensor]] = {}
    for first in range(0, POS, block):
        last = min(first + block, POS)
        # as the tracker does it: only the keys up to the block's end
        part = metrics.attention_logits(queries[:, first:last], keys[:, :last])
        weights = metrics.causal_attention(part, first)
        entropy = metrics.attention_entropy(weights)
        for name, value in {
            "entropy": entropy,
            "normalised": metrics.normalise_entropy(entropy, first),
            "largest": metrics.largest_weight(weights),
            "mass": metrics.attention_mass(weights, flags[:last]),
            "previous": metrics.attention_at(weights, previous[first:last]),
            "nearby": metrics.nearby_mass(weights, first),
        }.items():
            parts.setdefault(name, []).append(value)
    entropy = metrics.attention_entropy(whole)
    expected = {
        "entropy": entropy,
        "normalised": metrics.normalise_entropy(entropy),
        "largest": metrics.largest_weight(whole),
        "mass": metrics.attention_mass(whole, flags),
        "previous": metrics.attention_at(whole, previous),
        "nearby": metrics.nearby_mass(whole),
    }
    for name, value in expected.items():
        torch.testing.assert_close(torch.cat(parts[name], -1), value, equal_nan=True)


def test_entropy_is_scipy_s() -> None:
    weights = attention(BATCH, KV)
    np.testing.assert_allclose(
        metrics.attention_entropy(weights), scipy.stats.entropy(weights.numpy(), axis=-1), atol=1e-12
    )


@pytest.mark.parametrize("n", [2, 7, 48])
def test_uniform_causal_attention_has_the_closed_forms(n: int) -> None:
    weights = uniform(n)
    entropy = metrics.attention_entropy(weights)
    assert entropy.mean().item() == pytest.approx(math.lgamma(n + 1) / n)
    normalised = metrics.normalise_entropy(entropy)
    assert normalised[0].isnan()
    torch.testing.assert_close(normalised[1:], torch.ones(n - 1, dtype=weights.dtype))
    assert metrics.previous_token_score(weights).item() == pytest.approx((harmonic(n) - 1) / (n - 1))
    assert metrics.largest_weight(weights).mean().item() == pytest.approx(harmonic(n) / n)
    for k in range(1, n + 1):
        alpha = metrics.sink_alpha(weights[..., k - 1], k, n).item()
        assert alpha == pytest.approx((harmonic(n) - harmonic(k - 1)) / (n - k + 1))


def test_one_hot_attention_has_no_entropy() -> None:
    weights = torch.eye(POS, dtype=torch.float64)
    entropy = metrics.attention_entropy(weights)
    assert (entropy == 0).all()
    assert (metrics.normalise_entropy(entropy)[1:] == 0).all()
    assert (metrics.largest_weight(weights) == 1).all()


def test_a_text_of_one_token_has_no_normalised_entropy() -> None:
    entropy = metrics.attention_entropy(uniform(1))
    assert entropy.tolist() == [0]
    assert metrics.normalise_entropy(entropy).isnan().all()


def test_normalised_entropy_divides_by_ln_of_the_position() -> None:
    entropy = normal(KV, 5).square()
    for first in (0, 1, 8):
        position = np.arange(first + 1, first + 6)
        with np.errstate(divide="ignore"):
            expected = np.where(position > 1, entropy.numpy() / np.log(position), np.nan)
        np.testing.assert_allclose(metrics.normalise_entropy(entropy, first), expected)


def test_the_spread_of_the_top_logit() -> None:
    top = normal(BATCH, KV, POS)
    # the second half of the queries: 13 // 2 = 6
    expected = top[..., 6:].numpy().std(-1, ddof=1)
    np.testing.assert_allclose(metrics.top_logit_spread(top), expected)
    torch.testing.assert_close(metrics.top_logit_spread(top + 9), metrics.top_logit_spread(top))
    early = top.clone()
    early[..., :6] = 1e6
    torch.testing.assert_close(metrics.top_logit_spread(early), metrics.top_logit_spread(top))


def test_attention_mass_is_a_sum_over_the_flagged_keys() -> None:
    weights = attention(BATCH, KV)
    flags = torch.tensor([j in (0, 3, 11) for j in range(POS)])
    np.testing.assert_allclose(metrics.attention_mass(weights, flags), weights.numpy()[..., [0, 3, 11]].sum(-1))
    torch.testing.assert_close(metrics.attention_mass(weights, ~flags), 1 - metrics.attention_mass(weights, flags))


def test_attention_at_picks_one_key_per_query() -> None:
    weights, key = attention(BATCH, KV), torch.arange(POS) - 3
    picked = metrics.attention_at(weights, key)
    assert picked[..., :3].isnan().all()
    for i in range(3, POS):
        assert torch.equal(picked[..., i], weights[..., i, i - 3])


def test_sink_alpha_is_gu_s_formula() -> None:
    weights = attention(KV)
    for k, horizon in [(1, 1), (1, POS), (2, 5), (4, 11), (POS, POS)]:
        for head in range(KV):
            terms = [weights[head, i - 1, k - 1].item() for i in range(k, horizon + 1)]
            expected = sum(terms) / (horizon - k + 1)
            assert metrics.sink_alpha(weights[..., k - 1], k, horizon)[head].item() == pytest.approx(expected)


@pytest.mark.parametrize(("position", "horizon"), [(0, 5), (6, 5), (1, POS + 1)])
def test_sink_alpha_refuses_what_does_not_fit(position: int, horizon: int) -> None:
    with pytest.raises(ValueError, match=f"position {position} and horizon {horizon} do not fit {POS} queries"):
        metrics.sink_alpha(normal(KV, POS), position, horizon)


def test_previous_token_score() -> None:
    weights = attention(BATCH, KV)
    expected = np.mean([weights[..., i, i - 1].numpy() for i in range(1, POS)], axis=0)
    np.testing.assert_allclose(metrics.previous_token_score(weights), expected)
    perfect = torch.eye(POS).roll(-1, 1)
    perfect[0] = torch.eye(POS)[0]
    assert metrics.previous_token_score(perfect).item() == 1


def test_nearby_is_oneself_and_two_to_seven_tokens_back() -> None:
    weights = attention(BATCH, KV)
    for i in range(POS):
        keys = [j for j in range(i + 1) if i - j in (0, 2, 3, 4, 5, 6, 7)]
        np.testing.assert_allclose(metrics.nearby_mass(weights)[..., i], weights.numpy()[..., i, keys].sum(-1))
    # all of a query's attention that is neither on the previous token nor further away than 7
    for distance in range(POS):
        one_hot = torch.eye(POS).roll(-distance, 1).tril()
        expected = float(distance in (0, 2, 3, 4, 5, 6, 7))
        assert metrics.nearby_mass(one_hot)[distance:].tolist() == [expected] * (POS - distance)


@pytest.mark.parametrize("n", [1, 2, 7, 8, 9, 48])
def test_uniform_attention_has_the_stated_nearby_mass(n: int) -> None:
    expected = [1.0, *((min(i, 8) - 1) / i for i in range(2, n + 1))]
    np.testing.assert_allclose(metrics.nearby_mass(uniform(n)), expected)


def test_duplicate_tokens_are_looked_for_from_the_second_copy_in_the_first() -> None:
    tokens = [8, 3, 5, 1, 9, 2, 7] * 2
    weights = attention(BATCH, KV, n=14)
    expected = np.mean([weights[..., i, tokens.index(tokens[i])].numpy() for i in range(7, 14)], axis=0)
    np.testing.assert_allclose(metrics.duplicate_token_score(weights, 7), expected)
    perfect = torch.zeros(14, 14)
    perfect[torch.arange(14), torch.tensor([tokens.index(token) for token in tokens])] = 1
    assert metrics.duplicate_token_score(perfect, 7).item() == 1
    # a perfect induction head looks one token further, and the other way round
    assert metrics.induction_score(perfect, 7).item() == 0
    by_chance = np.mean([1 / i for i in range(8, 15)])
    assert metrics.duplicate_token_score(uniform(14), 7).item() == pytest.approx(by_chance)


def test_induction_looks_from_the_second_copy_to_the_token_after_the_first() -> None:
    tokens = [8, 3, 5, 1, 9, 2, 7] * 2
    target = metrics.induction_target(14, 7)
    assert target.tolist() == [-1] * 7 + [1, 2, 3, 4, 5, 6, 7]
    for query in range(7, 14):
        first = tokens.index(tokens[query])
        assert target[query] == first + 1
    weights = attention(BATCH, KV, n=14)
    expected = np.mean([weights[..., i, i - 6].numpy() for i in range(7, 14)], axis=0)
    np.testing.assert_allclose(metrics.induction_score(weights, 7), expected)
    perfect = torch.zeros(14, 14)
    perfect[torch.arange(14), target.clamp_min(0)] = 1
    assert metrics.induction_score(perfect, 7).item() == 1
    by_chance = np.mean([1 / i for i in range(8, 15)])
    assert metrics.induction_score(uniform(14), 7).item() == pytest.approx(by_chance)


def test_the_report_s_entropy_has_no_mask_and_sees_only_its_first_tokens() -> None:
    queries, keys = normal(BATCH, QUERY_HEADS, POS, HEAD), normal(BATCH, KV, POS, HEAD, seed=1)
    measured = metrics.report_entropy(queries, keys, 11)
    for b in range(BATCH):
        for head in range(QUERY_HEADS):
            logits = queries[b, head, :11].numpy() @ keys[b, head // GROUP, :11].numpy().T / np.sqrt(HEAD)
            expected = scipy.stats.entropy(scipy.special.softmax(logits, axis=-1), axis=-1).mean()
            assert measured[b, head].item() == pytest.approx(expected)
    keys[..., 11:, :] = 1e3
    torch.testing.assert_close(metrics.report_entropy(queries, keys, 11), measured)
    zeros = torch.zeros_like(queries)
    torch.testing.assert_close(metrics.report_entropy(zeros, keys, 11), torch.full_like(measured, math.log(11)))
    # by default on as many tokens as the report took
    assert inspect.signature(metrics.report_entropy).parameters["n_tokens"].default == 128

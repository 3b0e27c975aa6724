"""What is measured on keys, queries and attention: pure functions of tensors that never write to their inputs.

Attention functions take rows of causal attention, ``attention[..., query, key]``, and return one value per query, so
that a caller may hand over a block of queries at a time and average afterwards. Positions count from 0 in tensors; the
formulas count from 1, as papers do: query i may look at keys 1 to i. Entropies are in nats.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

#: Positions that count as near: the query's own and the seven before it.
NEARBY = 8

# ---------------------------------------------------------------- keys and queries, one vector per token


def vector_norm(x: Float[Tensor, "*batch d_head"]) -> Float[Tensor, "*batch"]:
    """Euclidean norm of each vector. RoPE leaves it alone; RMSNorm with gain 1 makes it sqrt(d_head)."""
    return torch.linalg.vector_norm(x, dim=-1)


def energy(x: Float[Tensor, "*batch d_head"]) -> Float[Tensor, "*batch d_head"]:
    """Share of each dimension in a vector's squared norm, times d_head: x_j^2 / mean_j x_j^2.

    Range [0, d_head], mean 1. Taken of a key before its norm this is xhat^2, the pre-gain energy, with
    norm^2 = sum_j gain_j^2 xhat_j^2. A zero vector has no direction: NaN.
    """
    squared = x.square()
    return squared / squared.mean(-1, keepdim=True)


def coordinate_participation_ratio(x: Float[Tensor, "*batch d_head"]) -> Float[Tensor, "*batch"]:
    """(sum_j x_j^2)^2 / sum_j x_j^4 of each vector: how many coordinates carry it. Range [1, d_head].

    The report's "effective rank". It depends on the basis and says nothing of rank: isotropic random directions score
    d_head (d_head + 2) / (3 d_head) = (d_head + 2) / 3 as a ratio of means, 22 where d_head = 64.
    """
    squared = x.square()
    return squared.sum(-1).square() / squared.square().sum(-1)


def direction_sum(x: Float[Tensor, "*batch tokens d_head"]) -> Float[Tensor, "*batch d_head"]:
    """sum_t x_t / |x_t|: sums over parts of a text add up. A zero vector has no direction: NaN."""
    return ((1 / vector_norm(x))[..., None, :] @ x)[..., 0, :]


def cosine_of_direction_sum(total: Float[Tensor, "*batch d_head"], n: int) -> Float[Tensor, "*batch"]:
    """Mean cosine between two different vectors of n, from their `direction_sum`: (|sum_t u_t|^2 - n) / (n (n - 1)).

    Range [-1 / (n - 1), 1]; NaN for a single vector.
    """
    squared = total.square().sum(-1)
    return (squared - n) / (n * (n - 1)) if n > 1 else torch.full_like(squared, math.nan)


# ---------------------------------------------------------------- a cloud of vectors, by its covariance spectrum


def covariance_spectrum(x: Float[Tensor, "*batch tokens d_head"]) -> Float[Tensor, "*batch d_head"]:
    """Eigenvalues of the covariance of the centred vectors, ascending, clipped at 0. Units of squared key entries.

    NaN for a cloud with an infinite or undefined entry. Raises ValueError with fewer than 2 tokens. Compare only clouds
    of equally many tokens: the spectrum of few is biased.
    """
    n = x.shape[-2]
    if n < 2:
        raise ValueError(f"a covariance needs at least 2 tokens, got {n}: use a longer text.")
    # MPS has neither float64 nor an eigenvalue solver
    wide = (x.cpu() if x.device.type == "mps" else x).double()
    centred = wide - wide.mean(-2, keepdim=True)
    covariance = centred.mT @ centred / (n - 1)
    # the solver refuses, or never returns from, a matrix that is not finite, as a diverging run's is
    finite = covariance.isfinite().all(-1).all(-1)[..., None]
    spectrum = torch.linalg.eigvalsh(covariance.where(finite[..., None], 0.0)).clamp_min(0)
    return spectrum.where(finite, math.nan).to(x)


def participation_ratio(spectrum: Float[Tensor, "*batch d_head"]) -> Float[Tensor, "*batch"]:
    """(sum lambda)^2 / sum lambda^2 of covariance eigenvalues. Range [1, d_head]; the same in every rotated basis."""
    return spectrum.sum(-1).square() / spectrum.square().sum(-1)


def effective_rank(spectrum: Float[Tensor, "*batch d_head"]) -> Float[Tensor, "*batch"]:
    """exp of the entropy of the normalised singular values, sigma = sqrt(lambda). Range [1, d_head].

    Roy and Vetterli 2007, taken of the centred vectors.
    """
    singular = spectrum.sqrt()
    return torch.special.entr(singular / singular.sum(-1, keepdim=True)).sum(-1).exp()


def stable_rank(spectrum: Float[Tensor, "*batch d_head"]) -> Float[Tensor, "*batch"]:
    """sum lambda / max lambda = |X|_F^2 / |X|_2^2 of the centred vectors. Range [1, d_head]."""
    return spectrum.sum(-1) / spectrum.amax(-1)


# ---------------------------------------------------------------- attention


def attention_logits(
    queries: Float[Tensor, "*batch query_head query d_head"], keys: Float[Tensor, "*batch kv_head key d_head"]
) -> Float[Tensor, "*batch query_head query key"]:
    """q_i . k_j / sqrt(d_head), every query head against the keys of its own KV head (head // group size)."""
    n_queries, d_head = queries.shape[-2:]
    # a group's queries are rows of one matrix product
    grouped = (queries / math.sqrt(d_head)).unflatten(-3, (keys.shape[-3], -1)).flatten(-3, -2)
    return (grouped @ keys.mT).unflatten(-2, (-1, n_queries)).flatten(-4, -3)


def causal_mask(first_query: int, n_queries: int, n_keys: int, device: torch.device) -> Bool[Tensor, "query key"]:
    """True where a query may look: key position <= query position. The block's first query is at ``first_query``."""
    query = torch.arange(first_query, first_query + n_queries, device=device)
    return torch.arange(n_keys, device=device) <= query[:, None]


def causal_attention(
    logits: Float[Tensor, "*batch query key"], first_query: int = 0
) -> Float[Tensor, "*batch query key"]:
    """Softmax over the keys that each query may see; 0 on the rest."""
    mask = causal_mask(first_query, logits.shape[-2], logits.shape[-1], logits.device)
    return logits.masked_fill(~mask, -torch.inf).softmax(-1)


def attention_entropy(attention: Float[Tensor, "*batch query key"]) -> Float[Tensor, "*batch query"]:
    """-sum_j A_ij ln A_ij in nats, of each query. Range [0, ln i] for causal attention, ln i where it is uniform."""
    return torch.special.entr(attention).sum(-1)


def normalise_entropy(entropy: Float[Tensor, "*batch query"], first_query: int = 0) -> Float[Tensor, "*batch query"]:
    """Entropy over its largest possible value, ln i at query i. Range [0, 1]; NaN at i = 1, which has no choice."""
    position = torch.arange(first_query + 1, first_query + 1 + entropy.shape[-1], device=entropy.device)
    ceiling = position.to(entropy.dtype).log()
    return torch.where(position > 1, entropy / ceiling.clamp_min(math.log(2)), math.nan)


def largest_weight(attention: Float[Tensor, "*batch query key"]) -> Float[Tensor, "*batch query"]:
    """max_j A_ij of each query. Range [1 / i, 1]."""
    return attention.amax(-1)


def top_logit_spread(top_logits: Float[Tensor, "*batch query"]) -> Float[Tensor, "*batch"]:
    """Standard deviation over queries of the top logit, max over visible keys of q_i . k_j / sqrt(d_head).

    It tells how much a head's best match depends on which query asks.

    Only the second half of the queries counts, since the largest of i random logits grows with i.
    """
    n = top_logits.shape[-1]
    return top_logits[..., n // 2 :].std(-1)


def attention_mass(
    attention: Float[Tensor, "*batch query key"], keys: Bool[Tensor, "key"]
) -> Float[Tensor, "*batch query"]:
    """sum_j A_ij over the flagged keys, for example separators. Range [0, 1]."""
    return attention @ keys.to(attention.dtype)


def attention_at(
    attention: Float[Tensor, "*batch query key"], key: Int[Tensor, "query"]
) -> Float[Tensor, "*batch query"]:
    """A[i, key_i]: the weight of each query on one key of its own. NaN where key_i is negative."""
    index = key.clamp_min(0).expand(attention.shape[:-1])[..., None]
    picked = attention.gather(-1, index)[..., 0]
    return torch.where(key >= 0, picked, math.nan)


def sink_alpha(weight_on_key: Float[Tensor, "*batch query"], position: int, horizon: int) -> Float[Tensor, "*batch"]:
    """alpha_k = 1 / (T - k + 1) sum_{i=k}^{T} A_ik of the key at ``position`` k (from 1), queries up to ``horizon`` T.

    Gu et al. 2024, section 3. ``weight_on_key[..., i]`` is A_ik for every query. Range [0, 1]; uniform causal attention
    scores (H_T - H_{k-1}) / (T - k + 1) with H the harmonic numbers. Raises ValueError unless 1 <= k <= T <= queries.
    """
    if not 1 <= position <= horizon <= weight_on_key.shape[-1]:
        raise ValueError(f"position {position} and horizon {horizon} do not fit {weight_on_key.shape[-1]} queries.")
    return weight_on_key[..., position - 1 : horizon].mean(-1)


def previous_weight(
    attention: Float[Tensor, "*batch query key"], first_query: int = 0
) -> Float[Tensor, "*batch query"]:
    """A[i, i - 1]: attention on the token before the query. Range [0, 1]; NaN at i = 1."""
    query = torch.arange(first_query, first_query + attention.shape[-2], device=attention.device)
    return attention_at(attention, query - 1)


def previous_token_score(attention: Float[Tensor, "*batch query key"]) -> Float[Tensor, "*batch"]:
    """Mean over queries i > 1 of A[i, i - 1]. Range [0, 1]; uniform causal attention scores (H_T - 1) / (T - 1).

    Takes whole attention, not a block of queries.
    """
    return _mean_but_first(previous_weight(attention))


def nearby_mass(attention: Float[Tensor, "*batch query key"], first_query: int = 0) -> Float[Tensor, "*batch query"]:
    """Attention on the query's own position and the `NEARBY` - 1 before it, the previous token left out. Range [0, 1].

    Uniform causal attention scores 1 at i = 1, and (min(i, 8) - 1) / i after that: the previous token has a score of its
    own.
    """
    query = torch.arange(first_query, first_query + attention.shape[-2], device=attention.device)
    distance = torch.tensor([d for d in range(NEARBY) if d != 1], device=attention.device)
    key = query[:, None] - distance
    picked = attention.gather(-1, key.clamp_min(0).expand(*attention.shape[:-1], -1))
    return picked.where(key >= 0, 0.0).sum(-1)


def induction_target(n_queries: int, period: int, device: torch.device | None = None) -> Int[Tensor, "query"]:
    """Position after a query token's first occurrence where tokens repeat after ``period``; -1 in the first copy."""
    query = torch.arange(n_queries, device=device)
    return torch.where(query >= period, query - period + 1, -1)


def induction_score(attention: Float[Tensor, "*batch query key"], period: int) -> Float[Tensor, "*batch"]:
    """Mean over the second copy's queries of the attention to the token after the first occurrence. Range [0, 1].

    Olsson et al. 2022, on random tokens repeated once, so that nothing but the repetition can guide the head. Takes
    whole attention. Uniform causal attention scores the mean of 1 / i over the second copy.
    """
    target = induction_target(attention.shape[-2], period, attention.device)
    return attention_at(attention, target)[..., period:].mean(-1)


def duplicate_token_score(attention: Float[Tensor, "*batch query key"], period: int) -> Float[Tensor, "*batch"]:
    """Mean over the second copy's queries of the attention to the first occurrence of the same token. Range [0, 1].

    Duplicate-token heads, Wang et al. 2022 (2211.00593), section 3; on random tokens repeated once. Takes whole
    attention. Uniform causal attention scores the mean of 1 / i over the second copy.
    """
    query = torch.arange(attention.shape[-2], device=attention.device)
    first_occurrence = torch.where(query >= period, query - period, -1)
    return attention_at(attention, first_occurrence)[..., period:].mean(-1)


def report_entropy(
    queries: Float[Tensor, "*batch query_head pos d_head"],
    keys: Float[Tensor, "*batch kv_head pos d_head"],
    n_tokens: int = 128,
) -> Float[Tensor, "*batch query_head"]:
    """The report's measure: before RoPE, no causal mask, first ``n_tokens`` tokens; mean over queries, nats.

    Not the entropy of attention that the model uses. Range [0, ln n_tokens]; shown beside `attention_entropy` only.
    """
    logits = attention_logits(queries[..., :n_tokens, :], keys[..., :n_tokens, :])
    return attention_entropy(logits.softmax(-1)).mean(-1)


# ---------------------------------------------------------------- what a snapshot records, by column


def _mean(over_queries: Float[Tensor, "*batch query"]) -> Float[Tensor, "*batch"]:
    return over_queries.mean(-1)


def _nanmean(over_queries: Float[Tensor, "*batch query"]) -> Float[Tensor, "*batch"]:
    return over_queries.nanmean(-1)


def _mean_but_first(over_queries: Float[Tensor, "*batch query"]) -> Float[Tensor, "*batch"]:
    return over_queries[..., 1:].mean(-1)


@dataclass(frozen=True)
class Rows:
    """Rows of one text's causal attention: those of a block of queries, over the keys up to the block's end."""

    attention: Float[Tensor, "query_head query key"]
    logits: Float[Tensor, "query_head query key"]
    """q_i . k_j / sqrt(d_head); far below all others where the key lies in the query's future."""
    separator: Bool[Tensor, "key"]
    """Which keys are separators."""
    first_query: int = 0
    """Position of the first of these queries in the text, from 0."""


@dataclass(frozen=True)
class OfAttention:
    """How a query head's attention to a text becomes one number: per query, then over all queries of the text."""

    of_queries: Callable[[Rows], Float[Tensor, "query_head query"]]
    of_text: Callable[[Float[Tensor, "*batch query"]], Float[Tensor, "*batch"]] = _mean


#: Columns of ``probe_query_heads`` and ``shuffled_query_heads`` that the attention of a text decides. Add one here and to
#: `civilwar.runs.quantities`, and every snapshot has it.
OF_ATTENTION: dict[str, OfAttention] = {
    "entropy": OfAttention(lambda rows: attention_entropy(rows.attention)),
    "entropy_normalised": OfAttention(
        lambda rows: normalise_entropy(attention_entropy(rows.attention), rows.first_query), _nanmean
    ),
    "max_weight": OfAttention(lambda rows: largest_weight(rows.attention)),
    "top_logit_spread": OfAttention(lambda rows: rows.logits.amax(-1), top_logit_spread),
    "separator_mass": OfAttention(lambda rows: attention_mass(rows.attention, rows.separator)),
    "previous_token_score": OfAttention(
        lambda rows: previous_weight(rows.attention, rows.first_query), _mean_but_first
    ),
    "nearby_mass": OfAttention(lambda rows: nearby_mass(rows.attention, rows.first_query)),
}
#: Columns of ``probe_induction``: of whole attention [..., query, key] and the number of tokens after which they repeat.
OF_REPEATED: dict[str, Callable[[Float[Tensor, "*batch query key"], int], Float[Tensor, "*batch"]]] = {
    "induction_score": induction_score,
    "duplicate_token_score": duplicate_token_score,
}
#: Columns of ``probe_kv_heads``, there before RoPE and once more with the suffix ``_rope`` after it: of a head's keys and of
#: their covariance spectrum.
OF_KEYS: dict[
    str,
    Callable[[Float[Tensor, "*batch tokens d_head"], Float[Tensor, "*batch d_head"]], Float[Tensor, "*batch"]],
] = {
    "coordinate_participation_ratio": lambda keys, spectrum: coordinate_participation_ratio(keys).mean(-1),
    "participation_ratio": lambda keys, spectrum: participation_ratio(spectrum),
    "effective_rank": lambda keys, spectrum: effective_rank(spectrum),
    "stable_rank": lambda keys, spectrum: stable_rank(spectrum),
}

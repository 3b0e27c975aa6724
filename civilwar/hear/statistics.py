"""Statistics of one heard call, per head, as sums, counts and maxima: those of parts add up, over steps and over processes.

A name says how it adds: ``..._sum`` and ``..._count`` by addition, ``..._max`` by the larger, and ``max_logit_text``,
``max_logit_query`` and ``max_logit_key`` go with the ``max_logit_max`` they belong to. `civilwar.measure.summary` makes
means, spreads and ranks of them.
"""

from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from civilwar.hear.heard import Heard

#: ``norms``: lengths only. ``logits``: and the largest logit, exact. ``full``: and everything of attention.
Level = Literal["norms", "logits", "full"]

#: Logits held at once, over texts, heads, queries and keys.
BLOCK = 2**20
#: Edges of the bins that vectors' lengths are counted in: quarter octaves, and what lies outside in the outermost.
EDGES = 2.0 ** (torch.arange(-32, 49) / 4)
#: What goes with the largest logit: where it happened.
PLACES = ("max_logit_text", "max_logit_query", "max_logit_key")


class Statistics(NamedTuple):
    """What was measured, each by its name: [query_head, ...] and [kv_head, ...]."""

    query_heads: dict[str, Tensor]
    kv_heads: dict[str, Tensor]


@torch.no_grad()
def statistics(
    heard: Heard,
    level: Level = "full",
    separators: Bool[Tensor, "batch key"] | None = None,
    real: Bool[Tensor, "batch key"] | None = None,
) -> Statistics:
    """Sums, counts and maxima over one call's texts, in blocks: never heads x queries x keys.

    Args:
        heard: the call.
        level: how much; ``norms`` is cheap, ``full`` recomputes attention.
        separators: which keys are separators; without it no mass on separators is counted.
        real: which keys are of a text; by default what the model's own 2-D ``attention_mask`` said, else all. Queries that
            are padding do not count.

    Per query head, of real queries: ``query_norm_sum``, ``query_norm_square_sum``, ``query_norm_bins_sum`` [bin],
    ``query_norm_max``, ``query_count``; from ``logits`` on ``max_logit_max``, the largest scaling q . k of a key that the
    query may see, before softcap and biases, with where it happened; and ``full``: of every query that may see a key
    (``row_count``) ``entropy_sum`` in nats, ``level_sum`` and ``level_square_sum`` of the log-sum-exp, ``max_weight_sum``,
    ``separator_mass_sum`` and ``learned_sink_mass_sum``; of queries that may see two keys (``share_count``)
    ``entropy_share_sum``, entropy over ln of the keys it may see; of queries that may see their text's first token
    (``first_count``) ``first_mass_sum``; of those that may see the token before them (``previous_count``)
    ``previous_mass_sum``.

    Per KV head, of real keys: ``key_norm_sum``, ``key_norm_square_sum``, ``key_norm_bins_sum``, ``key_norm_max``,
    ``key_count``; and ``full``: ``key_sum`` [d_head] and ``key_outer_sum`` [d_head, d_head], from which follow
    covariances.
    """
    real = heard.allowed.real if real is None else real
    real_keys, real_queries = _real(heard, real)
    query_heads, kv_heads = _lengths(heard.query, real_queries, "query"), _lengths(heard.key, real_keys, "key")
    if level == "full":
        kv_heads |= _moments(heard.key, real_keys)
    if level != "norms":
        query_heads |= _of_rows(heard, level, separators, real_keys, real_queries)
    return Statistics(query_heads, kv_heads)


def merged(parts: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """Statistics of one kind of head of several calls, in order; of equal largest logits the first."""
    total = dict(parts[0])
    for part in parts[1:]:
        if "max_logit_max" in part:
            # not a number is the largest of all, and stays
            theirs = (part["max_logit_max"] > total["max_logit_max"]) | (
                part["max_logit_max"].isnan() & ~total["max_logit_max"].isnan()
            )
            for name in PLACES:
                total[name] = torch.where(theirs, part[name], total[name])
        for name, value in part.items():
            if name.endswith("_max"):
                total[name] = torch.maximum(total[name], value)
            elif name not in PLACES:
                total[name] = total[name] + value
    return total


def _real(heard: Heard, real: Tensor | None) -> tuple[Tensor, Tensor]:
    """[batch, key] and [batch, query]: of a text, not padding."""
    (batch, _, n_queries, _), n_keys = heard.query.shape, heard.key.shape[2]
    device = heard.query.device
    if real is None or real.shape != (batch, n_keys):
        everything = torch.ones(batch, max(n_queries, n_keys), dtype=torch.bool, device=device)
        queries = everything[:, :n_queries]
        if real is not None and real.shape == (batch, n_queries):
            # cross-attention: the mask is of the texts that ask
            queries = real.to(device).bool()
        return everything[:, :n_keys], queries
    keys = real.to(device).bool()
    if n_queries > n_keys:
        return keys, torch.ones(batch, n_queries, dtype=torch.bool, device=device)
    # with a cache, the queries are the last of the keys
    return keys, keys[:, n_keys - n_queries :]


def _lengths(
    x: Float[Tensor, "batch head pos d_head"], real: Bool[Tensor, "batch pos"], what: str
) -> dict[str, Tensor]:
    norm = torch.linalg.vector_norm(x.float(), dim=-1)
    flat = norm.transpose(0, 1).flatten(1)
    kept = real.flatten()
    inside = torch.where(kept, flat, 0.0)
    bins = torch.bucketize(flat, EDGES.to(flat.device), right=True)
    counted = torch.zeros(len(flat), len(EDGES) + 1, device=flat.device)
    return {
        f"{what}_norm_sum": inside.sum(-1, dtype=_wide(x)),
        f"{what}_norm_square_sum": inside.square().sum(-1, dtype=_wide(x)),
        f"{what}_norm_bins_sum": counted.scatter_add_(1, bins, kept.float().expand_as(flat)).to(_wide(x)),
        f"{what}_norm_max": flat.masked_fill(~kept, -torch.inf).amax(-1),
        f"{what}_count": kept.sum().to(_wide(x)).expand(len(flat)).clone(),
    }


def _moments(key: Float[Tensor, "batch kv_head key d_head"], real: Bool[Tensor, "batch key"]) -> dict[str, Tensor]:
    kept = torch.where(real[:, None, :, None], key, 0).transpose(0, 1).flatten(1, 2).to(_wide(key))
    return {"key_sum": kept.sum(1), "key_outer_sum": kept.mT @ kept}


def _wide(x: Tensor) -> torch.dtype:
    """Sums of many numbers are taken in this type; MPS has no float64."""
    return torch.float32 if x.device.type == "mps" else torch.float64


def _of_rows(
    heard: Heard,
    level: Level,
    separators: Tensor | None,
    real_keys: Bool[Tensor, "batch key"],
    real_queries: Bool[Tensor, "batch query"],
) -> dict[str, Tensor]:
    """Sums over a call's rows of attention, a block of texts and queries at a time."""
    batch, n_heads, n_queries, _ = heard.query.shape
    n_keys = heard.key.shape[2]
    rows = max(1, BLOCK // (n_heads * n_keys))
    n_texts, n_rows = max(1, rows // n_queries), min(rows, n_queries)
    starts = text_starts(heard, real_keys)
    parts = []
    for text in range(0, batch, n_texts):
        for first in range(0, n_queries, n_rows):
            texts, queries = slice(text, min(text + n_texts, batch)), slice(first, min(first + n_rows, n_queries))
            parts.append(_of_block(heard, level, texts, queries, separators, starts, real_keys, real_queries))
    return merged(parts)


def text_starts(heard: Heard, real_keys: Bool[Tensor, "batch key"]) -> Bool[Tensor, "batch key"]:
    """Which keys are a text's first token: the first real one, and in packed texts each that cannot see the one before it."""
    first = real_keys & (real_keys.cumsum(1) == 1)
    n_keys, n_queries = real_keys.shape[1], heard.query.shape[2]
    if heard.allowed.mask is None or n_keys != n_queries or n_keys < 2:
        return first
    mask = heard.allowed.mask[(None,) * (4 - heard.allowed.mask.ndim)]
    if mask.shape[2] != n_queries or mask.shape[3] < n_keys:
        return first
    seen = mask if mask.dtype == torch.bool else mask > -1e4
    back = seen.any(1)[:, :, :n_keys].diagonal(-1, 1, 2)
    own = seen.any(1)[:, :, :n_keys].diagonal(0, 1, 2)[:, 1:]
    return first | (real_keys & torch.nn.functional.pad(~back & own, (1, 0)))


def _of_block(
    heard: Heard,
    level: Level,
    texts: slice,
    queries: slice,
    separators: Tensor | None,
    starts: Bool[Tensor, "batch key"],
    real_keys: Bool[Tensor, "batch key"],
    real_queries: Bool[Tensor, "batch query"],
) -> dict[str, Tensor]:
    dots = heard.dots(texts, queries)
    scores, seen = heard.scores(dots, texts, queries)
    row = real_queries[texts, None, queries]
    n_keys = dots.shape[-1]
    top, where = dots.masked_fill(~(seen & row[..., None]), -torch.inf).transpose(0, 1).flatten(1).max(-1)
    n_rows = queries.stop - queries.start
    found = {
        "max_logit_max": top,
        "max_logit_text": where // (n_rows * n_keys) + texts.start,
        "max_logit_query": where // n_keys % n_rows + queries.start,
        "max_logit_key": where % n_keys,
    }
    if level != "full":
        return found
    wide = _wide(dots)
    n_seen = seen.sum(-1)
    row = row & (n_seen > 0)

    def total(of_rows: Tensor, rows: Tensor) -> Tensor:
        return of_rows.masked_fill(~rows, 0).sum((0, 2), dtype=wide)

    def count(rows: Tensor) -> Tensor:
        return rows.expand(dots.shape[:3]).sum((0, 2)).to(wide)

    level_of_row = heard.level(scores)
    weights = heard.weights_of(scores)
    entropy = torch.special.entr(weights).sum(-1)
    choice = row & (n_seen > 1)
    found |= {
        "row_count": count(row),
        "level_sum": total(level_of_row, row),
        "level_square_sum": total(level_of_row.square(), row),
        "entropy_sum": total(entropy, row),
        "share_count": count(choice),
        "entropy_share_sum": total(entropy / n_seen.clamp_min(2).log(), choice),
        "max_weight_sum": total(weights.amax(-1), row),
    }
    if heard.sinks is not None:
        found["learned_sink_mass_sum"] = total(torch.exp(heard.sinks.to(dots)[:, None] - level_of_row), row)
    start = starts[texts, None, None] & seen
    can = row & start.any(-1)
    found |= {"first_count": count(can), "first_mass_sum": total((weights * start).sum(-1), can)}
    if separators is not None:
        mass = (weights * separators[texts, None, None].to(dots)).sum(-1)
        found |= {"separator_count": count(row), "separator_mass_sum": total(mass, row)}
    if heard.query.shape[2] <= n_keys:
        # with a cache, the queries are the last of the keys
        before = torch.arange(queries.start, queries.stop, device=dots.device) + n_keys - heard.query.shape[2] - 1
        index = before.clamp_min(0)[:, None].expand(*dots.shape[:3], 1)
        can = row & seen.gather(-1, index)[..., 0] & (before >= 0)
        found |= {"previous_count": count(can), "previous_mass_sum": total(weights.gather(-1, index)[..., 0], can)}
    return found

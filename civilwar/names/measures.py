"""What the inspector can colour and plot: every measure, whose it is, and the null it is seen against."""

from dataclasses import dataclass
from typing import Literal

#: Of a query head, or of the KV head that several query heads share.
Owner = Literal["query_head", "kv_head"]


@dataclass(frozen=True)
class Measure:
    """One measure of heads over the steps of a run."""

    key: str
    """Its column, or the score's name in `civilwar.analysis.taxonomy`."""
    label: str
    unit: str
    """Empty where it is a share of 1."""
    owner: Owner
    table: str
    """Where it is recorded."""
    null: Literal["untrained", "permuted_gain", "isotropic"]
    """``untrained``: the range of all heads of the run before training. ``permuted_gain``: 95% of what a head's norm would be
    if the layer's gain were dealt to the RoPE pairs anew. ``isotropic``: random directions under the layer's gain."""
    says: str
    """One sentence for a reader who has never met it."""


MEASURES = (
    Measure(
        "norm_mean",
        "key norm",
        "",
        "kv_head",
        "step_kv_heads",
        "permuted_gain",
        "Mean length of a KV head's keys on the training batch.",
    ),
    Measure(
        "entropy_normalised",
        "attention entropy",
        "",
        "query_head",
        "probe_query_heads",
        "untrained",
        "Spread of the attention that the model uses, as a share of the largest possible: 1 is uniform, 0 is one token.",
    ),
    Measure(
        "entropy_report",
        "entropy, the report's way",
        "nats",
        "query_head",
        "probe_query_heads",
        "untrained",
        "Before RoPE, without the causal mask, on the first tokens only: not what the model uses.",
    ),
    Measure(
        "max_weight",
        "largest weight",
        "",
        "query_head",
        "probe_query_heads",
        "untrained",
        "Attention on the token that a query attends to most.",
    ),
    Measure(
        "sink",
        "attention on the first token",
        "",
        "query_head",
        "probe_sinks",
        "untrained",
        "Mean weight of queries on the first token of the text; a sink passes 0.3.",
    ),
    Measure(
        "separator",
        "on separators, above uniform",
        "",
        "query_head",
        "probe_query_heads",
        "untrained",
        "Attention on newlines and punctuation, less what uniform attention would put there.",
    ),
    Measure(
        "previous_token_score",
        "on the previous token",
        "",
        "query_head",
        "probe_query_heads",
        "untrained",
        "Mean weight of queries on the token just before.",
    ),
    Measure(
        "nearby_mass",
        "on nearby tokens",
        "",
        "query_head",
        "probe_query_heads",
        "untrained",
        "Attention on the token itself and on two to seven tokens back.",
    ),
    Measure(
        "induction_score",
        "induction score",
        "",
        "query_head",
        "probe_induction",
        "untrained",
        "On repeated random tokens: attention to the token after the same token's first occurrence.",
    ),
    Measure(
        "duplicate_token_score",
        "on the same token before",
        "",
        "query_head",
        "probe_induction",
        "untrained",
        "On repeated random tokens: attention to the first occurrence of the same token.",
    ),
    Measure(
        "top_logit_spread",
        "spread of the best match",
        "logits",
        "query_head",
        "probe_query_heads",
        "untrained",
        "How much a head's highest logit depends on which query asks.",
    ),
    Measure(
        "coordinate_participation_ratio",
        "dimensions, the report's way",
        "of d_head",
        "kv_head",
        "probe_kv_heads",
        "isotropic",
        "How many coordinates carry one key: what the report called dimensions in use.",
    ),
    Measure(
        "participation_ratio",
        "participation ratio",
        "of d_head",
        "kv_head",
        "probe_kv_heads",
        "isotropic",
        "In how many directions the cloud of keys extends, by the variance along them.",
    ),
    Measure(
        "effective_rank",
        "effective rank",
        "of d_head",
        "kv_head",
        "probe_kv_heads",
        "isotropic",
        "In how many directions the cloud of keys extends, by the entropy of its singular values.",
    ),
)
DEFAULT = "norm_mean"

"""Measures of heads that can be coloured and plotted: whose each is, where it is recorded, and its null."""

from collections.abc import Mapping
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
    watched: bool = False
    """Whether only the inspector of a run that was watched offers it."""


_RECORDS = (
    Measure(
        key="norm_mean",
        label="key norm",
        unit="",
        owner="kv_head",
        table="step_kv_heads",
        null="permuted_gain",
        says="Mean length of a KV head's keys; of a run, on the training batch.",
    ),
    Measure(
        key="entropy_normalised",
        label="attention entropy",
        unit="",
        owner="query_head",
        table="probe_query_heads",
        null="untrained",
        says="Spread of the attention that the model uses, as a share of the largest possible: 1 is uniform, 0 is one token.",
    ),
    Measure(
        key="entropy_report",
        label="entropy, the report's way",
        unit="nats",
        owner="query_head",
        table="probe_query_heads",
        null="untrained",
        says="Before RoPE, without the causal mask, on the first tokens only: not what the model uses.",
    ),
    Measure(
        key="max_weight",
        label="largest weight",
        unit="",
        owner="query_head",
        table="probe_query_heads",
        null="untrained",
        says="Attention on the token that a query attends to most.",
    ),
    Measure(
        key="sink",
        label="attention on the first token",
        unit="",
        owner="query_head",
        table="probe_sinks",
        null="untrained",
        says="Mean weight of queries on the first token of the text; a sink passes 0.3.",
    ),
    Measure(
        key="separator",
        label="on separators, above uniform",
        unit="",
        owner="query_head",
        table="probe_query_heads",
        null="untrained",
        says="Attention on newlines and punctuation, less what uniform attention would put there.",
    ),
    Measure(
        key="previous_token_score",
        label="on the previous token",
        unit="",
        owner="query_head",
        table="probe_query_heads",
        null="untrained",
        says="Mean weight of queries on the token just before.",
    ),
    Measure(
        key="nearby_mass",
        label="on nearby tokens",
        unit="",
        owner="query_head",
        table="probe_query_heads",
        null="untrained",
        says="Attention on the token itself and on two to seven tokens back.",
    ),
    Measure(
        key="induction_score",
        label="induction score",
        unit="",
        owner="query_head",
        table="probe_induction",
        null="untrained",
        says="On repeated random tokens: attention to the token after the same token's first occurrence.",
    ),
    Measure(
        key="duplicate_token_score",
        label="on the same token before",
        unit="",
        owner="query_head",
        table="probe_induction",
        null="untrained",
        says="On repeated random tokens: attention to the first occurrence of the same token.",
    ),
    Measure(
        key="top_logit_spread",
        label="spread of the best match",
        unit="logits",
        owner="query_head",
        table="probe_query_heads",
        null="untrained",
        says="How much a head's highest logit depends on which query asks.",
    ),
    Measure(
        key="coordinate_participation_ratio",
        label="dimensions, the report's way",
        unit="of d_head",
        owner="kv_head",
        table="probe_kv_heads",
        null="isotropic",
        says="How many coordinates carry one key: what the report called dimensions in use.",
    ),
    Measure(
        key="participation_ratio",
        label="participation ratio",
        unit="of d_head",
        owner="kv_head",
        table="probe_kv_heads",
        null="isotropic",
        says="In how many directions the cloud of keys extends, by the variance along them.",
    ),
    Measure(
        key="effective_rank",
        label="effective rank",
        unit="of d_head",
        owner="kv_head",
        table="probe_kv_heads",
        null="isotropic",
        says="In how many directions the cloud of keys extends, by the entropy of its singular values.",
    ),
    Measure(
        key="max_logit",
        label="largest logit",
        unit="",
        owner="query_head",
        table="step_attention",
        null="untrained",
        says="The largest scaled product of any query and key of the training batch, which QK-clip bounds.",
        watched=True,
    ),
    Measure(
        key="first_mass",
        label="on the first token, in training",
        unit="",
        owner="query_head",
        table="step_attention",
        null="untrained",
        says="Mean weight of the training batch's queries on the first token of their text.",
        watched=True,
    ),
    Measure(
        key="log_sum_exp_mean",
        label="level of the logits",
        unit="nats",
        owner="query_head",
        table="step_attention",
        null="untrained",
        says="Mean logarithm of the softmax's denominator on the training batch.",
        watched=True,
    ),
    Measure(
        key="participation_ratio_rope",
        label="participation ratio after RoPE",
        unit="of d_head",
        owner="kv_head",
        table="probe_kv_heads",
        null="untrained",
        says="In how many directions the cloud of keys extends as attention uses them, by the variance along them.",
        watched=True,
    ),
    Measure(
        key="effective_rank_rope",
        label="effective rank after RoPE",
        unit="of d_head",
        owner="kv_head",
        table="probe_kv_heads",
        null="untrained",
        says="In how many directions the cloud of keys extends as attention uses them, by its singular values' entropy.",
        watched=True,
    ),
)

#: Key -> record, in the order of the inspector's menu.
MEASURES: Mapping[str, Measure] = {measure.key: measure for measure in _RECORDS}
DEFAULT = "norm_mean"

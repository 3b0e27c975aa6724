"""What is counted along a table and what is measured in it: each axis and each measurement, with unit, range and source.

`civilwar.runs.schema` makes tables of them. To record something new of heads at every snapshot, add a column to `RANKS` or
`QUERY_HEADS` and its function to `civilwar.measure.metrics`.
"""

from dataclasses import replace

from civilwar.runs.columns import Column

# ---------------------------------------------------------------- axes


def axis(name: str, says: str, high: str | float, low: float = 0) -> Column:
    """An axis of whole numbers from ``low`` to ``high``."""
    return Column(name, says=says, unit="index", dtype="int32", low=low, high=high)


STEP = axis("step", "Number of updates that the model has had.", "steps")
TEXT = axis("text", "Which held-out probe text.", "n_texts - 1")
REPEATED = axis("text", "Which sequence of random tokens, repeated once.", "n_repeated - 1")
LAYER = axis("layer", "Which block of the decoder, from the embedding up.", "n_layers - 1")
KV_HEAD = axis("kv_head", "Which KV head of the layer.", "n_kv_heads - 1")
QUERY_HEAD = axis("query_head", "Which query head of the layer.", "n_query_heads - 1")
DIMENSION = axis("dimension", "Which dimension of the head's keys.", "d_head - 1")
HORIZON = axis("horizon", "T of the sink score: queries up to the T-th count.", "context", low=1)
POSITION = axis("position", "k of the sink score: the key's position, counted from 1.", "context", low=1)
DRAW = replace(
    axis("draw", "Which random draw; 0 where nothing is drawn.", "random_draws - 1"),
    dtype="int64",
)


def name_axis(name: str, says: str, values: tuple[str, ...] = ()) -> Column:
    """An axis of names; ``values`` where these are few."""
    return Column(name, says=says, unit="name", dtype="str", values=values)


#: A label of every table of query heads: its value follows from ``query_head``.
KV_HEAD_READ = replace(
    KV_HEAD,
    says="The KV head whose keys the query head reads.",
    formula=r"\lfloor h / m \rfloor, \text{ with } m \text{ query heads to a KV head}",
)

# ---------------------------------------------------------------- what was measured

LOSS = Column("loss", says="Mean loss of the next token.", unit="nats per token", low=0)
NO_NORM = "without a norm on queries and keys"
K_GAIN_RMS = Column(
    "k_gain_rms",
    says="Root mean square of the learned gain on the layer's keys.",
    formula=r"\sqrt{\tfrac1d \sum_j g_j^2}",
    unit="factor",
    low=0,
    undefined=NO_NORM,
    source="zhang2019rmsnorm",
)
K_GAIN = Column(
    "k_gain",
    says="The learned gain on the layer's keys.",
    formula="g_j",
    unit="factor",
    undefined=NO_NORM,
    source="zhang2019rmsnorm",
)
PARTICIPATION = Column(
    "coordinate_participation_ratio",
    says="How many coordinates carry one key, averaged over tokens; the report's effective rank, though it says nothing of "
    "rank.",
    formula=r"\big(\sum_j k_j^2\big)^2 \big/ \sum_j k_j^4",
    unit="dimensions",
    low=1,
    high="d_head",
)
NORM_MEAN = Column(
    "norm_mean",
    says="Mean length of the head's keys after their norm; RoPE leaves it alone.",
    formula=r"\lVert k \rVert",
    unit="length",
    low=0,
)
STEP_KV_HEADS = (
    NORM_MEAN,
    Column("norm_std", says="Standard deviation of those lengths over tokens.", unit="length", low=0),
    Column("norm_q05", says="The length that 5% of the keys fall below.", unit="length", low=0),
    Column("norm_q50", says="Median length.", unit="length", low=0),
    Column("norm_q95", says="The length that 95% of the keys fall below.", unit="length", low=0),
    Column("norm_first", says="Mean length of the keys at the first position of a text.", unit="length", low=0),
    Column(
        "norm_separator",
        says="Mean length of the keys at separators.",
        unit="length",
        low=0,
        undefined="in a batch without separators",
    ),
    Column(
        "max_abs",
        says="Largest absolute coordinate of any key.",
        formula=r"\max_{t,j} \lvert k_{tj} \rvert",
        unit="length",
        low=0,
    ),
    PARTICIPATION,
    Column(
        "key_cosine",
        says="Mean cosine between two keys of different tokens.",
        formula=r"\big(\lVert \sum_t u_t \rVert^2 - n\big) \big/ n(n-1), \; u_t = k_t / \lVert k_t \rVert",
        unit="cosine",
        low=-1,
        high=1,
    ),
)
RANKS = (
    PARTICIPATION,
    Column(
        "participation_ratio",
        says="How many directions carry the spread of the head's keys; the same in every rotated basis.",
        formula=r"\big(\sum_j \lambda_j\big)^2 \big/ \sum_j \lambda_j^2",
        unit="dimensions",
        low=1,
        high="d_head",
    ),
    Column(
        "effective_rank",
        says="Effective rank of the head's centred keys.",
        formula=r"\exp\big(-\sum_j p_j \ln p_j\big), \; p_j = \sigma_j / \sum_i \sigma_i",
        unit="dimensions",
        low=1,
        high="d_head",
        source="roy2007effective",
    ),
    Column(
        "stable_rank",
        says="Stable rank of the head's centred keys.",
        formula=r"\sum_j \lambda_j \big/ \max_j \lambda_j",
        unit="dimensions",
        low=1,
        high="d_head",
    ),
)
ENTROPY_NORMALISED = Column(
    "entropy_normalised",
    says="Attention entropy as a share of the largest that the query's position allows, averaged over queries but the first.",
    formula=r"H_i / \ln i",
    unit="share",
    low=0,
    high=1,
)
QUERY_HEADS = (
    Column(
        "entropy",
        says="Entropy of the attention that the model uses, averaged over queries.",
        formula=r"H_i = -\sum_{j \le i} A_{ij} \ln A_{ij}",
        unit="nats",
        low=0,
        high="ln context",
        source="zhai2023entropy",
    ),
    ENTROPY_NORMALISED,
    Column(
        "entropy_report",
        says="The report's entropy: before RoPE, without the causal mask, on the first tokens only; attention that the model "
        "never uses.",
        unit="nats",
        low=0,
        high="ln report_tokens",
    ),
    Column(
        "max_weight",
        says="Attention on the key that a query attends to most, averaged over queries.",
        formula=r"\max_j A_{ij}",
        unit="share",
        low=0,
        high=1,
    ),
    replace(
        ENTROPY_NORMALISED,
        name="entropy_rescaled",
        says="Normalised entropy that is left when every key is rescaled to its layer's mean length.",
    ),
    Column(
        "top_logit_spread",
        says="Standard deviation of the largest logit over the later half of the queries: how much a head's best match depends "
        "on who asks.",
        formula=r"\max_{j \le i} q_i \cdot k_j / \sqrt d",
        unit="logit",
        low=0,
    ),
    Column(
        "separator_mass",
        says="Attention on separators, averaged over queries.",
        formula=r"\sum_{j \in S} A_{ij}",
        unit="share",
        low=0,
        high=1,
        source="clark2019bert",
    ),
    Column(
        "previous_token_score",
        says="Attention on the token before, averaged over queries but the first.",
        formula=r"A_{i,i-1}",
        unit="share",
        low=0,
        high=1,
        source="clark2019bert",
    ),
    Column(
        "nearby_mass",
        says="Attention on the query's own position and two to seven tokens back, averaged over queries.",
        formula=r"A_{i,i} + \sum_{n=2}^{7} A_{i,i-n}",
        unit="share",
        low=0,
        high=1,
    ),
)
STEP_ATTENTION = (
    Column(
        "max_logit",
        says="Largest logit of any query and key, scaled, biased and capped as the model does.",
        formula=r"\max_{i,j} z_{ij}",
        unit="logit",
        undefined="of attention that gives no logits",
    ),
    Column(
        "max_logit_text",
        says="Which text of the batch holds the largest logit.",
        unit="index",
        low=0,
        undefined="between full measurements",
    ),
    Column(
        "max_logit_key",
        says="Position of the key of the largest logit.",
        unit="index",
        low=0,
        undefined="between full measurements",
    ),
    Column(
        "log_sum_exp_mean",
        says="Mean over queries of the logarithm of the softmax's denominator.",
        formula=r"\ln \sum_j e^{z_{ij}}",
        unit="nats",
        undefined="between full measurements",
    ),
    Column(
        "log_sum_exp_std",
        says="Standard deviation over queries of the same.",
        unit="nats",
        low=0,
        undefined="between full measurements",
    ),
    Column(
        "entropy",
        says="Entropy of the attention on the training batch, averaged over queries.",
        formula=r"H_i = -\sum_j A_{ij} \ln A_{ij}",
        unit="nats",
        low=0,
        undefined="between full measurements",
        source="zhai2023entropy",
    ),
    Column(
        "entropy_normalised",
        says="That entropy as a share of the largest that the keys a query may see allow, averaged over queries that may see "
        "more than one.",
        formula=r"H_i / \ln n_i",
        unit="share",
        low=0,
        high=1,
        undefined="between full measurements",
    ),
    Column(
        "first_mass",
        says="Attention on the first token, averaged over the queries after it.",
        formula=r"A_{i1}",
        unit="share",
        low=0,
        high=1,
        undefined="between full measurements",
        source="gu2025sink",
    ),
    Column(
        "separator_mass",
        says="Attention on separators, averaged over queries.",
        unit="share",
        low=0,
        high=1,
        undefined="between full measurements, and where no tokenizer says what a separator is",
        source="clark2019bert",
    ),
    Column(
        "previous_mass",
        says="Attention on the token before, averaged over queries but the first.",
        formula=r"A_{i,i-1}",
        unit="share",
        low=0,
        high=1,
        undefined="between full measurements",
        source="clark2019bert",
    ),
    Column(
        "query_gradient",
        says="Norm of the loss's gradient at the head's queries, over the whole batch.",
        formula=r"\lVert \partial L / \partial q \rVert",
        unit="nats per length",
        low=0,
        undefined="between full measurements, and where no backward pass was heard",
    ),
)
KEY_GRADIENT = Column(
    "key_gradient",
    says="Norm of the loss's gradient at the head's keys, over the whole batch.",
    formula=r"\lVert \partial L / \partial k \rVert",
    unit="nats per length",
    low=0,
    undefined="where no backward pass was heard",
)
ALARM = (
    Column("value", says="What was measured there.", unit="as the measure"),
    Column("threshold", says="What the user set.", unit="as the measure"),
)
ALPHA = Column(
    "alpha",
    says="Sink score: attention on the key at the position, averaged over queries from there to the horizon.",
    formula=r"\alpha_k = \tfrac{1}{T-k+1} \sum_{i=k}^{T} A_{ik}",
    unit="share",
    low=0,
    high=1,
    source="gu2025sink",
)
SCORES = (
    Column("loss", says="Mean loss of the next token, over all tokens.", unit="nats per token", dtype="float64", low=0),
    Column(
        "separator_loss",
        says="Mean loss of the token that follows a separator.",
        unit="nats per token",
        dtype="float64",
        low=0,
    ),
    Column(
        "induction_gain",
        says="On random tokens repeated once: loss on the first copy less loss on the second.",
        unit="nats per token",
        dtype="float64",
        source="olsson2022induction",
    ),
)

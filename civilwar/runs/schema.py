"""Every recorded table and array: its axes, columns, units, ranges, meaning and sources.

What writes a run is checked against this file, what reads one gets its errors and missing columns from it
(`civilwar.runs.conform`), and the book's data dictionary is printed from it (`civilwar.pages.dictionary`). Query heads and
KV heads never share a table.
"""

from dataclasses import replace

from civilwar.runs.columns import MOMENTS, NOTHING, OFTEN, SELDOM, Array, Column, Group, Table, Thinning
from civilwar.runs.quantities import (
    ALARM,
    ALPHA,
    DIMENSION,
    DRAW,
    HORIZON,
    K_GAIN,
    K_GAIN_RMS,
    KEY_GRADIENT,
    KV_HEAD,
    KV_HEAD_READ,
    LAYER,
    LOSS,
    NORM_MEAN,
    POSITION,
    QUERY_HEAD,
    QUERY_HEADS,
    RANKS,
    REPEATED,
    SCORES,
    STEP,
    STEP_ATTENTION,
    STEP_KV_HEADS,
    TEXT,
    axis,
    name_axis,
)

#: Files beside tables and arrays: the probe texts, and the trained model, which is not recorded.
PROBE, WEIGHTS = "probe.json", "weights.safetensors"

# ---------------------------------------------------------------- tables

TABLES: dict[str, Table] = {
    "train": Table(
        says="The loss on each step's training batch.", of="model", when="step", axes=(STEP,), columns=(LOSS,)
    ),
    "step_layers": Table(
        says="The size of each layer's learned gains.",
        of="layer",
        when="step",
        axes=(STEP, LAYER),
        columns=(
            K_GAIN_RMS,
            replace(K_GAIN_RMS, name="q_gain_rms", says="The same of the gain on the layer's queries."),
        ),
    ),
    "step_kv_heads": Table(
        says="The keys of each KV head on the training batch.",
        of="KV head",
        when="step",
        axes=(STEP, LAYER, KV_HEAD),
        columns=STEP_KV_HEADS,
        slim=Thinning(
            left_out="columns other than norm_mean, but at the snapshots and every 8 steps",
            kept=OFTEN.kept,
            always=("norm_mean",),
        ),
    ),
    "step_query_heads": Table(
        says="The queries of each query head on the training batch.",
        of="query head",
        when="step",
        axes=(STEP, LAYER, QUERY_HEAD),
        labels=(KV_HEAD_READ,),
        columns=(
            Column("query_norm_mean", says="Mean length of the head's queries after their norm.", unit="length", low=0),
            Column(
                "query_key_norm_ratio",
                says="That length over the mean length of the keys that the head reads.",
                unit="ratio",
                low=0,
            ),
        ),
        slim=OFTEN,
    ),
    "step_attention": Table(
        says="The attention of each query head on the training batch, of a run that was watched.",
        of="query head",
        when="step",
        axes=(STEP, LAYER, QUERY_HEAD),
        labels=(KV_HEAD_READ,),
        columns=STEP_ATTENTION,
        watched=True,
    ),
    "step_gradients": Table(
        says="The loss's gradient at the keys of each KV head, of a run that was watched.",
        of="KV head",
        when="step",
        axes=(STEP, LAYER, KV_HEAD),
        columns=(KEY_GRADIENT,),
        watched=True,
    ),
    "alarms": Table(
        says="Steps at which a head passed a threshold that the user of a watched run set.",
        of="query head",
        when="step",
        axes=(
            STEP,
            name_axis("alarm", "Which measure passed its threshold.", ("max_logit", "entropy", "sink_share", "loss")),
            LAYER,
            QUERY_HEAD,
        ),
        labels=(KV_HEAD_READ,),
        columns=ALARM,
        watched=True,
    ),
    "probe_kv_heads": Table(
        says="The keys of each KV head on each held-out text, and how many dimensions they fill.",
        of="KV head",
        when="snapshot",
        axes=(STEP, TEXT, LAYER, KV_HEAD),
        columns=(
            NORM_MEAN,
            *RANKS,
            *(
                replace(rank, name=f"{rank.name}_rope", says=f"The same as {rank.name}, of the keys after RoPE.")
                for rank in RANKS
            ),
        ),
    ),
    "probe_query_heads": Table(
        says="The attention of each query head on each held-out text.",
        of="query head",
        when="snapshot",
        axes=(STEP, TEXT, LAYER, QUERY_HEAD),
        labels=(KV_HEAD_READ,),
        columns=QUERY_HEADS,
    ),
    "probe_sinks": Table(
        says="The attention of each query head on the first tokens of each held-out text.",
        of="query head",
        when="snapshot",
        axes=(STEP, TEXT, LAYER, QUERY_HEAD, HORIZON, POSITION),
        labels=(KV_HEAD_READ,),
        columns=(ALPHA,),
        slim=MOMENTS,
    ),
    "probe_induction": Table(
        says="The attention of each query head on random tokens that are repeated once.",
        of="query head",
        when="snapshot",
        axes=(STEP, REPEATED, LAYER, QUERY_HEAD),
        labels=(KV_HEAD_READ,),
        columns=(
            Column(
                "induction_score",
                says="In the second copy: attention on the token after the same token's first occurrence.",
                unit="share",
                low=0,
                high=1,
                source="olsson2022induction",
            ),
            Column(
                "duplicate_token_score",
                says="In the second copy: attention on the same token's first occurrence.",
                unit="share",
                low=0,
                high=1,
                source="wang2023interpretability",
            ),
        ),
    ),
    "probe_loss": Table(
        says="The loss on each held-out text.", of="model", when="snapshot", axes=(STEP, TEXT), columns=(LOSS,)
    ),
    "capacity": Table(
        says="The loss when all heads' keys are cut to a few dimensions.",
        of="model",
        when="end",
        axes=(
            name_axis(
                "method",
                "What is kept: principal or random directions, the dimensions of largest gain or random ones, or all.",
                ("full", "directions", "random_directions", "gains", "random_dimensions"),
            ),
            replace(axis("rank", "How many are kept.", "d_head"), dtype="int64", unit="dimensions"),
            DRAW,
        ),
        columns=SCORES,
    ),
    "ablation": Table(
        says="The loss when the query heads of one kind are silenced, beside as many random ones of the same layers.",
        of="model",
        when="end",
        axes=(
            name_axis("kind", "Which kind of query head, or none."),
            name_axis("mode", "What stands in their place: their mean output, or nothing.", ("none", "mean", "zero")),
            name_axis("group", "The heads of the kind, or random ones.", ("none", "kind", "random")),
            DRAW,
        ),
        labels=(
            Column(
                "n_heads",
                says="How many query heads are silenced.",
                unit="query heads",
                dtype="int64",
                low=0,
                high="all query heads",
            ),
        ),
        columns=SCORES,
    ),
    "shuffled_query_heads": Table(
        says="The attention of each query head on the held-out texts with their tokens in random order.",
        of="query head",
        when="end",
        axes=(TEXT, LAYER, QUERY_HEAD),
        labels=(KV_HEAD_READ,),
        columns=(
            *QUERY_HEADS,
            replace(ALPHA, name="sink_alpha", says="Sink score of the first token, at the horizon nearest to 64."),
        ),
    ),
    "key_energy": Table(
        says="In which dimensions the keys of each KV head have their energy, on held-out texts.",
        of="KV head",
        when="end",
        axes=(
            LAYER,
            KV_HEAD,
            name_axis("tokens", "The keys of which tokens.", ("all", "first", "separator")),
            DIMENSION,
        ),
        columns=(
            Column(
                "energy",
                says="Mean pre-gain energy of the dimension; its mean over dimensions is 1.",
                formula=r"\hat x_j^2 = x_j^2 \big/ \tfrac1d \sum_i x_i^2",
                unit="share of the mean",
                low=0,
                high="d_head",
            ),
        ),
    ),
    "head_content": Table(
        says="What a linear classifier reads from each query head's output alone.",
        of="query head",
        when="end",
        axes=(
            replace(LAYER, dtype="int64"),
            replace(QUERY_HEAD, dtype="int64"),
            name_axis(
                "property",
                "Of the token: whether it stands inside brackets, or which package its text is about.",
                ("brackets", "package"),
            ),
        ),
        labels=(
            Column(
                "chance",
                says="Accuracy of guessing: 1 over the number of classes.",
                unit="share",
                dtype="float64",
                low=0,
                high=0.5,
            ),
        ),
        columns=(
            Column(
                "accuracy",
                says="Share found of each class, averaged over classes, on texts that the classifier was not fitted to.",
                unit="share",
                dtype="float64",
                low=0,
                high=1,
            ),
        ),
    ),
}

#: Tables that every run of this package's own training has.
OWN_TABLES = {name: table for name, table in TABLES.items() if not table.watched}

# ---------------------------------------------------------------- arrays

ARRAYS: dict[str, Group] = {
    "gain": Group(
        says="The learned gains of each layer, dimension by dimension.",
        of="layer",
        when="step",
        arrays=(
            Array(K_GAIN, ("layer", "dimension")),
            Array(
                replace(K_GAIN, name="q_gain", says="The learned gain on the layer's queries."), ("layer", "dimension")
            ),
        ),
        slim=OFTEN,
    ),
    "energy": Group(
        says="In which dimensions the keys of each KV head have their energy, on the training batch.",
        of="KV head",
        when="step",
        arrays=(Array(TABLES["key_energy"].columns[0], ("layer", "kv_head", "dimension")),),
        slim=SELDOM,
        light=OFTEN,
    ),
    "patterns": Group(
        says="The whole attention of each query head to two short texts.",
        of="query head",
        when="snapshot",
        arrays=(
            Array(
                Column(
                    "pattern",
                    says="Attention weights as whole numbers, the lower triangle row by row.",
                    formula=r"\mathrm{round}(255\, A_{ij}), \; j \le i",
                    unit="255ths",
                    dtype="uint8",
                    low=0,
                    high=255,
                ),
                ("text", "layer", "query_head", "weight"),
            ),
        ),
        slim=NOTHING,
    ),
}

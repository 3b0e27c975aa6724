"""The decision rules: one table, with a reason for every threshold.

Written before the confirmatory runs were trained, and amended a few times since, each time before the results concerned
were looked at; the repository's history gives the reasons.

The confirmatory runs are the baseline with seeds 1 to 8 and every control with seeds 1 to 4; seed 0 and all trials are
exploratory, and thresholds were chosen with them in view. A claim is split into criteria, each a number per run (or, where
it says so, per sweep) held against a threshold. `civilwar.evidence.claims` computes them and never changes what stands here.

A criterion *holds* when a one-sided test of its mean over seeds against the threshold has p < `LEVEL` after Holm's
correction over all deciding criteria of all claims. The verdict then follows from the roles:

- a ``construction`` criterion that holds (exactly, in every run): *true by construction*;
- a ``premise`` that does not hold, or a criterion undefined that the verdict would hang on: *not testable here*;
- every ``artefact`` criterion holds, and at least one ``claim`` criterion too: *artefact*, true for another reason than
  the report gives;
- all ``claim`` criteria hold: *supported*; some: *supported in part*; none: *not supported*;
- ``context`` is shown and decides nothing.

"Not supported" covers both "shown to be false" and "not shown to be true"; the interval beside it tells which.
"""

from dataclasses import dataclass
from typing import Literal

Role = Literal["construction", "premise", "claim", "artefact", "context"]
Side = Literal["above", "below", "within"]

#: One-sided, so that it goes with the 95% intervals shown.
LEVEL = 0.025


@dataclass(frozen=True)
class Criterion:
    """One number to hold against one threshold."""

    name: str
    """Unique within its claim; `civilwar.evidence.estimators` has an estimator of the same name."""
    says: str
    """What is estimated, and its unit."""
    side: Side
    threshold: float | tuple[float, float]
    """``above`` or ``below`` a number, ``within`` a pair."""
    reason: str
    """Why this threshold."""
    role: Role = "claim"


@dataclass(frozen=True)
class Rule:
    """One claim of the report and what decides it."""

    id: str
    statement: str
    reported: str
    """What the published code behind the report measured."""
    null: str
    """What the same number would be without the thing claimed."""
    criteria: tuple[Criterion, ...]
    figure: tuple[str, str]
    """Notebook and name of the figure that shows it."""


RULES: tuple[Rule, ...] = (
    Rule(
        "C01",
        "Every head starts at key norm 8.",
        "The square root of the head size, 64, which RMSNorm with gain 1 gives every key.",
        "RMSNorm's own arithmetic, without any head",
        (
            Criterion(
                "largest_start_deviation",
                "largest distance of any head's mean norm at step 0 from the square root of the head size",
                "below",
                0.05,
                "bfloat16 rounding and RMSNorm's epsilon",
                "construction",
            ),
        ),
        ("01_divergence", "all_norms"),
    ),
    Rule(
        "C02",
        "Initial calm: the norms fall to about 7.1 by about step 100 while the model compresses its input.",
        "Layer 11 of one run, a minimum of about 7.1 near step 90.",
        "weight decay alone: 8 (1 - 0.0012)^t",
        (
            Criterion(
                "dip_depth",
                "fall of a layer's mean norm from its start to its minimum in the first half, mean over layers",
                "above",
                0.2,
                "about a fifth of the report's fall of 0.9",
            ),
            Criterion(
                "dip_step",
                "step of that minimum, mean over layers",
                "within",
                (50, 150),
                "about step 100: half of it to one and a half of it",
            ),
            Criterion(
                "dip_removed_without_decay",
                "share of the fall, at the step of the baseline's minimum, gone without decay on the gain, seed by seed",
                "above",
                0.8,
                "decay would then account for most of it",
                "artefact",
            ),
        ),
        ("06_controls", "control_norms"),
    ),
    Rule(
        "C03",
        "After about step 100 the heads of one layer bifurcate.",
        "Four KV heads of layer 11 in one run, ending near 11.6, 10.5, 9.9 and 9.7.",
        "batch noise; and, apart, the same gain dealt to other dimension pairs",
        (
            Criterion(
                "spread_over_noise",
                "natural log of the final spread between heads over the 99% point of batch noise, mean over layers",
                "above",
                0.0,
                "the spread exists",
            ),
            Criterion(
                "spread_over_alignment",
                "natural log of the final spread over the permuted-gain null's median, mean over layers",
                "above",
                0.223,
                "a quarter more than chance alignment gives",
            ),
            Criterion(
                "onset_step",
                "step from which the spread stays above batch noise, median over layers",
                "within",
                (50, 150),
                "about step 100: half of it to one and a half of it",
            ),
            Criterion(
                "same_loudest_head",
                "share of seed pairs in which the same head of a layer ends loudest, mean over layers; per sweep",
                "above",
                0.25,
                "one in four by chance",
                "context",
            ),
        ),
        ("01_divergence", "spread"),
    ),
    Rule(
        "C04",
        "Heads are promoted with purpose to distinct levels; they do not just drift.",
        "The same four lines.",
        "the same increments between checkpoints with random signs: drift as fast, without direction",
        (
            Criterion(
                "order_persistence_excess",
                "Kendall tau between the heads' order at checkpoints every 32 steps from 128 on and at the end, less what "
                "sign-flipped increments give, mean over layers and checkpoints",
                "above",
                0.1,
                "a tenth of the scale: one more pair in twenty kept in order",
            ),
        ),
        ("08_verdicts", "order_persistence"),
    ),
    Rule(
        "C05",
        "The larger a head's key norm, the sharper its attention.",
        "Entropy before RoPE, without the causal mask, on 128 tokens, averaged over the query heads of a group.",
        "norms dealt anew among a layer's KV heads",
        (
            Criterion(
                "focus_early",
                "rank correlation of key norm and causal normalised entropy within layers, at a quarter of the run",
                "below",
                -0.3,
                "a medium correlation by Cohen's convention",
            ),
            Criterion(
                "focus_late",
                "the same at the end",
                "below",
                -0.3,
                "the same",
            ),
            Criterion(
                "focus_late_without_norm",
                "the same correlation at the end, with entropy computed from keys all rescaled to the layer's mean norm, "
                "less the one with the real keys",
                "below",
                0.1,
                "the relation would then stand without the norms: directions, not lengths, make it",
                "artefact",
            ),
            Criterion(
                "focus_late_report",
                "the same at the end with the report's own entropy",
                "below",
                -0.3,
                "for comparison",
                "context",
            ),
            Criterion(
                "focus_shatters",
                "correlation at the end less that at a quarter of the run",
                "above",
                0.2,
                "the report sees the relation break up late",
                "context",
            ),
        ),
        ("02_focus_law", "correlation"),
    ),
    Rule(
        "C06",
        "Late in training there are two populations of heads.",
        "One scatter plot.",
        "one population; each layer centred at its mean over seeds, since pooled layers fake modes",
        (
            Criterion(
                "power",
                "share of simulated sweeps with two populations, five within-population deviations apart, that the dip "
                "test finds; per sweep",
                "above",
                0.8,
                "the usual least power; norms of 5 and 11 are 7 of the 0.85 apart by which the report's one layer spreads",
                "premise",
            ),
            Criterion(
                "norm_dip",
                "Hartigan's dip of key norms at the end, less their layer's mean over seeds, KV heads of all seeds; per sweep",
                "above",
                0.0,
                "p of the dip test against one mode",
            ),
            Criterion(
                "entropy_dip",
                "the same of causal entropy, averaged over each KV head's query heads; per sweep",
                "above",
                0.0,
                "p of the dip test against one mode",
            ),
        ),
        ("08_verdicts", "one_or_two"),
    ),
    Rule(
        "C07",
        "Sinks have key norms above 11 and near-zero entropy.",
        "The report's own late points with norm above 11 have entropies of 3.6 to 4.2 nats.",
        "a direct count, and the loudest heads of each layer",
        (
            Criterion(
                "heads_above_11",
                "query heads with key norm above 11 at the end, number per run",
                "above",
                1.0,
                "at least one a run",
            ),
            Criterion(
                "entropy_of_loudest",
                "causal normalised entropy of the query heads that read a layer's loudest KV head, mean over layers",
                "below",
                0.1,
                "near zero: a tenth of the largest possible",
            ),
        ),
        ("02_focus_law", "cloud"),
    ),
    Rule(
        "C08",
        "Gatherers have key norms about 5 and high entropy.",
        "Visible in the scatter plot at norms of 4.3 to 6.",
        "a direct count, and the quietest heads of each layer",
        (
            Criterion(
                "heads_near_5",
                "query heads with key norm from 4 to 6 at the end, number per run",
                "above",
                1.0,
                "at least one a run",
            ),
            Criterion(
                "entropy_of_quietest",
                "causal normalised entropy of the query heads that read a layer's quietest KV head, mean over layers",
                "above",
                0.75,
                "high: three quarters of the largest possible",
            ),
        ),
        ("02_focus_law", "cloud"),
    ),
    Rule(
        "C09",
        "Every layer starts with about 24 of 64 dimensions in use.",
        "The coordinate participation ratio of single keys, which depends on the basis and is no rank.",
        "isotropic random directions: about 22.7",
        (
            Criterion(
                "start_coordinate_pr",
                "coordinate participation ratio at step 0, mean over layers",
                "within",
                (22, 26),
                "about 24",
            ),
            Criterion(
                "start_coordinate_pr_excess",
                "the same less that of isotropic directions",
                "within",
                (-1.5, 1.5),
                "random directions would then explain the number",
                "artefact",
            ),
            Criterion(
                "start_covariance_pr",
                "covariance participation ratio at step 0, mean over layers",
                "within",
                (22, 26),
                "for comparison",
                "context",
            ),
        ),
        ("03_effective_rank", "coordinate_ratio"),
    ),
    Rule(
        "C10",
        "Middle layers collapse to about 11 dimensions.",
        "Layers 1, 11 and 20 end near 18.4, 11.4 and 13.9, by the coordinate participation ratio.",
        "isotropic directions times the layer's own gain",
        (
            Criterion(
                "middle_coordinate_pr",
                "coordinate participation ratio of the two middle layers at the end",
                "below",
                14.0,
                "about 11: at most 3 more",
            ),
            Criterion(
                "middle_below_edges",
                "the same less that of the first and last layer",
                "below",
                -2.0,
                "the report's middle layer ends at least 2.5 below the others",
            ),
            Criterion(
                "middle_below_edges_covariance",
                "the same difference of the covariance participation ratio",
                "below",
                -2.0,
                "a collapse would show in a measure that does not depend on the basis",
            ),
            Criterion(
                "fall_explained_by_gain",
                "share of the middle layers' fall that isotropic directions under their gains show too",
                "above",
                0.8,
                "the gain alone would then account for most of it",
                "artefact",
            ),
        ),
        ("03_effective_rank", "rank_by_layer"),
    ),
    Rule(
        "C11",
        "About 15% of the capacity is enough.",
        "11 of 64 is 17%; a later pruning script scored unshifted labels.",
        "as many random directions",
        (
            Criterion(
                "kept_by_directions",
                "share of what keys are worth (loss at rank 0 less full loss) that 10 principal directions a head keep",
                "above",
                0.95,
                "enough: nineteen twentieths",
            ),
            Criterion(
                "kept_over_random",
                "the same less the share that 10 random directions keep",
                "above",
                0.1,
                "the directions matter",
            ),
            Criterion(
                "kept_by_gains",
                "the share that the 10 dimensions with the largest gains keep",
                "above",
                0.95,
                "the report's own way of choosing",
                "context",
            ),
        ),
        ("07_capacity", "capacity"),
    ),
    Rule(
        "C12",
        "Golden dimensions: a few entries of the gain are amplified to carry the most important signals.",
        "A heat map of layer 11, gains 0.56 to 1.9; its dimensions 48 to 63 sink.",
        "RoPE frequencies dealt to the pairs in a random order",
        (
            Criterion(
                "golden_gain",
                "gain of golden dimensions (above the layer's mean by 1.5 deviations) at the end, mean over layers",
                "above",
                1.1,
                "amplified: a tenth above where it started",
            ),
            Criterion(
                "frequency_trend_shuffled",
                "rank correlation of final gain and RoPE frequency rank under shuffled frequencies, mean over layers",
                "below",
                -0.3,
                "a medium correlation: position decides what is amplified, wherever it lies",
                "artefact",
            ),
            Criterion(
                "index_trend_shuffled",
                "rank correlation of final gain and dimension pair index under shuffled frequencies, mean over layers",
                "within",
                (-0.2, 0.2),
                "for comparison: dealing the frequencies anew already frees them from the index",
                "context",
            ),
            Criterion(
                "frequency_trend",
                "rank correlation of final gain and RoPE frequency rank in the baseline, mean over layers",
                "below",
                -0.3,
                "for comparison",
                "context",
            ),
        ),
        ("06_controls", "control_frequency"),
    ),
    Rule(
        "C13",
        "By step 200 the coordinate system is fixed.",
        "The heat map; step 200 is 41% of the run, and some dimensions rise later.",
        "a random walk, which scores the square root of t / T",
        (
            Criterion(
                "settle_step",
                "step from which the centred gain stays within cosine 0.95 of its end, mean over layers",
                "below",
                200,
                "the report's number",
            ),
            Criterion(
                "settle_before_walk",
                "the same over the step at which a random walk gets there",
                "below",
                0.9,
                "a tenth earlier than a walk that decides nothing",
            ),
        ),
        ("04_gain", "settling"),
    ),
    Rule(
        "C14",
        "Static sinks use the golden dimensions to point at the first token or at separators.",
        "Never measured.",
        "golden dimensions' share of all dimensions",
        (
            Criterion(
                "n_static_sinks",
                "query heads whose attention makes them a sink or a separator head, number per run",
                "above",
                1.0,
                "at least one a run",
            ),
            Criterion(
                "golden_energy_of_sinks",
                "pre-gain energy on golden dimensions, 1 where they are like others, of the keys that static sinks point "
                "at (first tokens for sinks, separators for separator heads)",
                "above",
                1.25,
                "a quarter more than their share",
            ),
            Criterion(
                "golden_energy_sinks_less_others",
                "the same less that of all other KV heads of the same layers at the same tokens",
                "above",
                0.1,
                "more than others do",
            ),
        ),
        ("05_taxonomy", "golden_energy"),
    ),
    Rule(
        "C15",
        "Gatherers ignore the golden dimensions.",
        "Never measured.",
        "golden dimensions' share of all dimensions",
        (
            Criterion(
                "golden_energy_of_broad",
                "pre-gain energy on golden dimensions of the KV heads that the broadest quarter of a layer's query heads "
                "read, 1 where they are like others",
                "below",
                0.8,
                "a fifth less than their share",
            ),
            Criterion(
                "golden_energy_broad_less_sharp",
                "the same less that of the sharpest quarter",
                "below",
                -0.1,
                "less than sharp heads do",
            ),
        ),
        ("05_taxonomy", "golden_energy"),
    ),
    Rule(
        "C16",
        "Retrievers have high magnitude only when the query matches.",
        "Never measured.",
        "the same heads before training",
        (
            Criterion(
                "n_retrievers",
                "query heads that attend to the matching token or to the one after it on repeated random tokens, by the "
                "taxonomy's thresholds, number per run",
                "above",
                1.0,
                "without a retriever there is nothing to test",
                "premise",
            ),
            Criterion(
                "contrast_of_retrievers",
                "spread over queries of the top logit of those heads, over that of all heads before training",
                "above",
                2.0,
                "who asks matters twice as much",
            ),
            Criterion(
                "contrast_of_all",
                "the same of all heads",
                "above",
                2.0,
                "for comparison",
                "context",
            ),
        ),
        ("05_taxonomy", "retrieval"),
    ),
    Rule(
        "C17",
        "22 layers, 88M parameters, 4M tokens, bfloat16, metrics in real time.",
        "488 steps of 4 x 2,048 tokens; the tracking script had no autocast.",
        "pure bfloat16, in which a gain near 1 is too coarse to be decayed",
        (
            Criterion(
                "recipe_parameters",
                "millions of parameters of the report's recipe",
                "within",
                (87.5, 89.0),
                "arithmetic on the configuration",
            ),
            Criterion(
                "recipe_tokens",
                "millions of tokens in its 489 steps",
                "within",
                (3.95, 4.05),
                "arithmetic on the configuration",
            ),
            Criterion(
                "dip_in_pure_bfloat16",
                "fall of the norms in pure bfloat16 over that under autocast, at the step of its minimum, seed by seed",
                "above",
                0.8,
                "the report shows the fall, so its bfloat16 must allow it",
            ),
        ),
        ("06_controls", "control_norms"),
    ),
    Rule(
        "C18",
        "All layers share one universal coordinate system.",
        "Cosine between the gains of two layers, above 0.99, in a companion report.",
        "two positive vectors are alike by construction; RoPE frequency is a common cause",
        (
            Criterion(
                "likeness_raw",
                "cosine between two layers' final gains, mean over pairs of layers",
                "above",
                0.9,
                "nearly one, though below the report's 0.99",
            ),
            Criterion(
                "likeness_detrended_high",
                "correlation without the trend over RoPE frequency, mean over pairs of layers",
                "above",
                0.5,
                "a strong correlation: a shared choice",
            ),
            Criterion(
                "likeness_detrended_low",
                "the same",
                "below",
                0.2,
                "a weak correlation: RoPE frequency would explain the likeness",
                "artefact",
            ),
            Criterion(
                "likeness_centred",
                "correlation between two layers' final gains, mean over pairs of layers",
                "above",
                0.5,
                "for comparison",
                "context",
            ),
        ),
        ("04_gain", "likeness"),
    ),
)

"""The decision rules: one table, with a reason for every threshold.

Written before the confirmatory runs were trained, and amended a few times since, each time before the results concerned
were looked at; the repository's history gives the reasons.

The confirmatory runs are the baseline with seeds 1 to 8 and every control with seeds 1 to 4; seed 0 and all trials are
exploratory, and thresholds were chosen with them in view. `civilwar.evidence.rule` says how a verdict follows from a rule,
and `civilwar.evidence.claims` computes it and never changes what stands here.
"""

from civilwar.evidence.rule import Criterion, Pick, Rule

RULES: tuple[Rule, ...] = (
    Rule(
        id="C01",
        statement="Every head starts at key norm 8.",
        reported="The square root of the head size, 64, which RMSNorm with gain 1 gives every key.",
        null="RMSNorm's own arithmetic, without any head",
        criteria=(
            Criterion(
                name="largest_start_deviation",
                says="largest distance of any head's mean norm at step 0 from the square root of the head size",
                side="below",
                threshold=0.05,
                reason="bfloat16 rounding and RMSNorm's epsilon",
                role="construction",
            ),
        ),
        figure=("01_divergence", "all_norms"),
        head=Pick(by="middle_before_training", says="the middle layer before training", metric="norm_mean"),
    ),
    Rule(
        id="C02",
        statement="Initial calm: the norms fall to about 7.1 by about step 100 while the model compresses its input.",
        reported="Layer 11 of one run, a minimum of about 7.1 near step 90.",
        null="weight decay alone: 8 (1 - 0.0012)^t",
        criteria=(
            Criterion(
                name="dip_depth",
                says="fall of a layer's mean norm from its start to its minimum in the first half, mean over layers",
                side="above",
                threshold=0.2,
                reason="about a fifth of the report's fall of 0.9",
            ),
            Criterion(
                name="dip_step",
                says="step of that minimum, mean over layers",
                side="within",
                threshold=(50, 150),
                reason="about step 100: half of it to one and a half of it",
            ),
            Criterion(
                name="dip_removed_without_decay",
                says="share of the fall, at the step of the baseline's minimum, gone without decay on the gain, seed by seed",
                side="above",
                threshold=0.8,
                reason="decay would then account for most of it",
                role="artefact",
            ),
        ),
        figure=("06_controls", "control_norms"),
        head=Pick(by="middle_at_lowest", says="the middle layer at its lowest norm", metric="norm_mean"),
    ),
    Rule(
        id="C03",
        statement="After about step 100 the heads of one layer bifurcate.",
        reported="Four KV heads of layer 11 in one run, ending near 11.6, 10.5, 9.9 and 9.7.",
        null="batch noise; and, apart, the same gain dealt to other dimension pairs",
        criteria=(
            Criterion(
                name="spread_over_noise",
                says="natural log of the final spread between heads over the 99% point of batch noise, mean over layers",
                side="above",
                threshold=0.0,
                reason="the spread exists",
            ),
            Criterion(
                name="spread_over_alignment",
                says="natural log of the final spread over the permuted-gain null's median, mean over layers",
                side="above",
                threshold=0.223,
                reason="a quarter more than chance alignment gives",
            ),
            Criterion(
                name="onset_step",
                says="step from which the spread stays above batch noise, median over layers",
                side="within",
                threshold=(50, 150),
                reason="about step 100: half of it to one and a half of it",
            ),
            Criterion(
                name="same_loudest_head",
                says="share of seed pairs in which the same head of a layer ends loudest, mean over layers; per sweep",
                side="above",
                threshold=0.25,
                reason="one in four by chance",
                role="context",
            ),
        ),
        figure=("01_divergence", "spread"),
        head=Pick(
            by="loudest_where_spread",
            says="the loudest head of the layer that ends most spread out",
            metric="norm_mean",
        ),
    ),
    Rule(
        id="C04",
        statement="Heads are promoted with purpose to distinct levels; they do not just drift.",
        reported="The same four lines.",
        null="the same increments between checkpoints with random signs: drift as fast, without direction",
        criteria=(
            Criterion(
                name="order_persistence_excess",
                says="Kendall tau between the heads' order at checkpoints every 32 steps from 128 on and at the end, less what "
                "sign-flipped increments give, mean over layers and checkpoints",
                side="above",
                threshold=0.1,
                reason="a tenth of the scale: one more pair in twenty kept in order",
            ),
        ),
        figure=("08_verdicts", "order_persistence"),
        head=Pick(
            by="loudest_where_spread",
            says="the loudest head of the layer that ends most spread out",
            metric="norm_mean",
        ),
    ),
    Rule(
        id="C05",
        statement="The larger a head's key norm, the sharper its attention.",
        reported="Entropy before RoPE, without the causal mask, on 128 tokens, averaged over the query heads of a group.",
        null="norms dealt anew among a layer's KV heads",
        criteria=(
            Criterion(
                name="focus_early",
                says="rank correlation of key norm and causal normalised entropy within layers, at a quarter of the run",
                side="below",
                threshold=-0.3,
                reason="a medium correlation by Cohen's convention",
            ),
            Criterion(
                name="focus_late",
                says="the same at the end",
                side="below",
                threshold=-0.3,
                reason="the same",
            ),
            Criterion(
                name="focus_late_without_norm",
                says="the same correlation at the end, with entropy computed from keys all rescaled to the layer's mean norm, "
                "less the one with the real keys",
                side="below",
                threshold=0.1,
                reason="the relation would then stand without the norms: directions, not lengths, make it",
                role="artefact",
            ),
            Criterion(
                name="focus_late_report",
                says="the same at the end with the report's own entropy",
                side="below",
                threshold=-0.3,
                reason="for comparison",
                role="context",
            ),
            Criterion(
                name="focus_shatters",
                says="correlation at the end less that at a quarter of the run",
                side="above",
                threshold=0.2,
                reason="the report sees the relation break up late",
                role="context",
            ),
        ),
        figure=("02_focus_law", "correlation"),
        head=Pick(by="loudest", says="the loudest head of all, by its entropy", metric="entropy_normalised"),
    ),
    Rule(
        id="C06",
        statement="Late in training there are two populations of heads.",
        reported="One scatter plot.",
        null="one population; each layer centred at its mean over seeds, since pooled layers fake modes",
        criteria=(
            Criterion(
                name="power",
                says="share of simulated sweeps with two populations, five within-population deviations apart, that the dip "
                "test finds; per sweep",
                side="above",
                threshold=0.8,
                reason="the usual least power; norms of 5 and 11 are 7 of the 0.85 apart by which the report's one layer "
                "spreads",
                role="premise",
            ),
            Criterion(
                name="norm_dip",
                says="Hartigan's dip of key norms at the end, less their layer's mean over seeds, KV heads of all seeds; "
                "per sweep",
                side="above",
                threshold=0.0,
                reason="p of the dip test against one mode",
            ),
            Criterion(
                name="entropy_dip",
                says="the same of causal entropy, averaged over each KV head's query heads; per sweep",
                side="above",
                threshold=0.0,
                reason="p of the dip test against one mode",
            ),
        ),
        figure=("08_verdicts", "one_or_two"),
        head=Pick(by="loudest", says="the loudest head of all, among all heads", metric="entropy_normalised"),
    ),
    Rule(
        id="C07",
        statement="Sinks have key norms above 11 and near-zero entropy.",
        reported="The report's own late points with norm above 11 have entropies of 3.6 to 4.2 nats.",
        null="a direct count, and the loudest heads of each layer",
        criteria=(
            Criterion(
                name="heads_above_11",
                says="query heads with key norm above 11 at the end, number per run",
                side="above",
                threshold=1.0,
                reason="at least one a run",
            ),
            Criterion(
                name="entropy_of_loudest",
                says="causal normalised entropy of the query heads that read a layer's loudest KV head, mean over layers",
                side="below",
                threshold=0.1,
                reason="near zero: a tenth of the largest possible",
            ),
        ),
        figure=("02_focus_law", "cloud"),
        head=Pick(by="loudest", says="the loudest head of all", metric="norm_mean"),
    ),
    Rule(
        id="C08",
        statement="Gatherers have key norms about 5 and high entropy.",
        reported="Visible in the scatter plot at norms of 4.3 to 6.",
        null="a direct count, and the quietest heads of each layer",
        criteria=(
            Criterion(
                name="heads_near_5",
                says="query heads with key norm from 4 to 6 at the end, number per run",
                side="above",
                threshold=1.0,
                reason="at least one a run",
            ),
            Criterion(
                name="entropy_of_quietest",
                says="causal normalised entropy of the query heads that read a layer's quietest KV head, mean over layers",
                side="above",
                threshold=0.75,
                reason="high: three quarters of the largest possible",
            ),
        ),
        figure=("02_focus_law", "cloud"),
        head=Pick(by="quietest", says="the quietest head of all", metric="norm_mean"),
    ),
    Rule(
        id="C09",
        statement="Every layer starts with about 24 of 64 dimensions in use.",
        reported="The coordinate participation ratio of single keys, which depends on the basis and is no rank.",
        null="isotropic random directions: about 22.7",
        criteria=(
            Criterion(
                name="start_coordinate_pr",
                says="coordinate participation ratio at step 0, mean over layers",
                side="within",
                threshold=(22, 26),
                reason="about 24",
            ),
            Criterion(
                name="start_coordinate_pr_excess",
                says="the same less that of isotropic directions",
                side="within",
                threshold=(-1.5, 1.5),
                reason="random directions would then explain the number",
                role="artefact",
            ),
            Criterion(
                name="start_covariance_pr",
                says="covariance participation ratio at step 0, mean over layers",
                side="within",
                threshold=(22, 26),
                reason="for comparison",
                role="context",
            ),
        ),
        figure=("03_effective_rank", "coordinate_ratio"),
        head=Pick(
            by="first_before_training", says="the first layer before training", metric="coordinate_participation_ratio"
        ),
    ),
    Rule(
        id="C10",
        statement="Middle layers collapse to about 11 dimensions.",
        reported="Layers 1, 11 and 20 end near 18.4, 11.4 and 13.9, by the coordinate participation ratio.",
        null="isotropic directions times the layer's own gain",
        criteria=(
            Criterion(
                name="middle_coordinate_pr",
                says="coordinate participation ratio of the two middle layers at the end",
                side="below",
                threshold=14.0,
                reason="about 11: at most 3 more",
            ),
            Criterion(
                name="middle_below_edges",
                says="the same less that of the first and last layer",
                side="below",
                threshold=-2.0,
                reason="the report's middle layer ends at least 2.5 below the others",
            ),
            Criterion(
                name="middle_below_edges_covariance",
                says="the same difference of the covariance participation ratio",
                side="below",
                threshold=-2.0,
                reason="a collapse would show in a measure that does not depend on the basis",
            ),
            Criterion(
                name="fall_explained_by_gain",
                says="share of the middle layers' fall that isotropic directions under their gains show too",
                side="above",
                threshold=0.8,
                reason="the gain alone would then account for most of it",
                role="artefact",
            ),
        ),
        figure=("03_effective_rank", "rank_by_layer"),
        head=Pick(
            by="middle_fewest_coordinates",
            says="the middle layer's head with the fewest dimensions",
            metric="coordinate_participation_ratio",
        ),
    ),
    Rule(
        id="C11",
        statement="About 15% of the capacity is enough.",
        reported="11 of 64 is 17%; a later pruning script scored unshifted labels.",
        null="as many random directions",
        criteria=(
            Criterion(
                name="kept_by_directions",
                says="share of what keys are worth (loss at rank 0 less full loss) that 10 principal directions a head keep",
                side="above",
                threshold=0.95,
                reason="enough: nineteen twentieths",
            ),
            Criterion(
                name="kept_over_random",
                says="the same less the share that 10 random directions keep",
                side="above",
                threshold=0.1,
                reason="the directions matter",
            ),
            Criterion(
                name="kept_by_gains",
                says="the share that the 10 dimensions with the largest gains keep",
                side="above",
                threshold=0.95,
                reason="the report's own way of choosing",
                role="context",
            ),
        ),
        figure=("07_capacity", "capacity"),
        head=Pick(
            by="fewest_directions",
            says="the head whose keys extend in the fewest directions",
            metric="participation_ratio",
        ),
    ),
    Rule(
        id="C12",
        statement="Golden dimensions: a few entries of the gain are amplified to carry the most important signals.",
        reported="A heat map of layer 11, gains 0.56 to 1.9; its dimensions 48 to 63 sink.",
        null="RoPE frequencies dealt to the pairs in a random order",
        criteria=(
            Criterion(
                name="golden_gain",
                says="gain of golden dimensions (above the layer's mean by 1.5 deviations) at the end, mean over layers",
                side="above",
                threshold=1.1,
                reason="amplified: a tenth above where it started",
            ),
            Criterion(
                name="frequency_trend_shuffled",
                says="rank correlation of final gain and RoPE frequency rank under shuffled frequencies, mean over layers",
                side="below",
                threshold=-0.3,
                reason="a medium correlation: position decides what is amplified, wherever it lies",
                role="artefact",
            ),
            Criterion(
                name="index_trend_shuffled",
                says="rank correlation of final gain and dimension pair index under shuffled frequencies, mean over layers",
                side="within",
                threshold=(-0.2, 0.2),
                reason="for comparison: dealing the frequencies anew already frees them from the index",
                role="context",
            ),
            Criterion(
                name="frequency_trend",
                says="rank correlation of final gain and RoPE frequency rank in the baseline, mean over layers",
                side="below",
                threshold=-0.3,
                reason="for comparison",
                role="context",
            ),
        ),
        figure=("06_controls", "control_frequency"),
        head=Pick(by="steepest_gain", says="the layer whose gain falls most with wavelength", metric="norm_mean"),
    ),
    Rule(
        id="C13",
        statement="By step 200 the coordinate system is fixed.",
        reported="The heat map; step 200 is 41% of the run, and some dimensions rise later.",
        null="a random walk, which scores the square root of t / T",
        criteria=(
            Criterion(
                name="settle_step",
                says="step from which the centred gain stays within cosine 0.95 of its end, mean over layers",
                side="below",
                threshold=200,
                reason="the report's number",
            ),
            Criterion(
                name="settle_before_walk",
                says="the same over the step at which a random walk gets there",
                side="below",
                threshold=0.9,
                reason="a tenth earlier than a walk that decides nothing",
            ),
        ),
        figure=("04_gain", "settling"),
        head=Pick(by="settles_last", says="the layer whose gain settles last, at that step", metric="norm_mean"),
    ),
    Rule(
        id="C14",
        statement="Static sinks use the golden dimensions to point at the first token or at separators.",
        reported="Never measured.",
        null="golden dimensions' share of all dimensions",
        criteria=(
            Criterion(
                name="n_static_sinks",
                says="query heads whose attention makes them a sink or a separator head, number per run",
                side="above",
                threshold=1.0,
                reason="at least one a run",
            ),
            Criterion(
                name="golden_energy_of_sinks",
                says="pre-gain energy on golden dimensions, 1 where they are like others, of the keys that static sinks point "
                "at (first tokens for sinks, separators for separator heads)",
                side="above",
                threshold=1.25,
                reason="a quarter more than their share",
            ),
            Criterion(
                name="golden_energy_sinks_less_others",
                says="the same less that of all other KV heads of the same layers at the same tokens",
                side="above",
                threshold=0.1,
                reason="more than others do",
            ),
        ),
        figure=("05_taxonomy", "golden_energy"),
        head=Pick(by="most_on_separators", says="the head that looks at separators most", metric="separator"),
    ),
    Rule(
        id="C15",
        statement="Gatherers ignore the golden dimensions.",
        reported="Never measured.",
        null="golden dimensions' share of all dimensions",
        criteria=(
            Criterion(
                name="golden_energy_of_broad",
                says="pre-gain energy on golden dimensions of the KV heads that the broadest quarter of a layer's query heads "
                "read, 1 where they are like others",
                side="below",
                threshold=0.8,
                reason="a fifth less than their share",
            ),
            Criterion(
                name="golden_energy_broad_less_sharp",
                says="the same less that of the sharpest quarter",
                side="below",
                threshold=-0.1,
                reason="less than sharp heads do",
            ),
        ),
        figure=("05_taxonomy", "golden_energy"),
        head=Pick(by="broadest", says="the broadest head", metric="entropy_normalised"),
    ),
    Rule(
        id="C16",
        statement="Retrievers have high magnitude only when the query matches.",
        reported="Never measured.",
        null="the same heads before training",
        criteria=(
            Criterion(
                name="n_retrievers",
                says="query heads that attend to the matching token or to the one after it on repeated random tokens, by the "
                "taxonomy's thresholds, number per run",
                side="above",
                threshold=1.0,
                reason="without a retriever there is nothing to test",
                role="premise",
            ),
            Criterion(
                name="contrast_of_retrievers",
                says="spread over queries of the top logit of those heads, over that of all heads before training",
                side="above",
                threshold=2.0,
                reason="who asks matters twice as much",
            ),
            Criterion(
                name="contrast_of_all",
                says="the same of all heads",
                side="above",
                threshold=2.0,
                reason="for comparison",
                role="context",
            ),
        ),
        figure=("05_taxonomy", "retrieval"),
        head=Pick(by="best_retriever", says="the head that finds an earlier copy best", metric="duplicate_token_score"),
    ),
    Rule(
        id="C17",
        statement="22 layers, 88M parameters, 4M tokens, bfloat16, metrics in real time.",
        reported="488 steps of 4 x 2,048 tokens; the tracking script had no autocast.",
        null="pure bfloat16, in which a gain near 1 is too coarse to be decayed",
        criteria=(
            Criterion(
                name="recipe_parameters",
                says="millions of parameters of the report's recipe",
                side="within",
                threshold=(87.5, 89.0),
                reason="arithmetic on the configuration",
            ),
            Criterion(
                name="recipe_tokens",
                says="millions of tokens in its 489 steps",
                side="within",
                threshold=(3.95, 4.05),
                reason="arithmetic on the configuration",
            ),
            Criterion(
                name="dip_in_pure_bfloat16",
                says="fall of the norms in pure bfloat16 over that under autocast, at the step of its minimum, seed by seed",
                side="above",
                threshold=0.8,
                reason="the report shows the fall, so its bfloat16 must allow it",
            ),
        ),
        figure=("06_controls", "control_norms"),
    ),
    Rule(
        id="C18",
        statement="All layers share one universal coordinate system.",
        reported="Cosine between the gains of two layers, above 0.99, in a companion report.",
        null="two positive vectors are alike by construction; RoPE frequency is a common cause",
        criteria=(
            Criterion(
                name="likeness_raw",
                says="cosine between two layers' final gains, mean over pairs of layers",
                side="above",
                threshold=0.9,
                reason="nearly one, though below the report's 0.99",
            ),
            Criterion(
                name="likeness_detrended_high",
                says="correlation without the trend over RoPE frequency, mean over pairs of layers",
                side="above",
                threshold=0.5,
                reason="a strong correlation: a shared choice",
            ),
            Criterion(
                name="likeness_detrended_low",
                says="the same",
                side="below",
                threshold=0.2,
                reason="a weak correlation: RoPE frequency would explain the likeness",
                role="artefact",
            ),
            Criterion(
                name="likeness_centred",
                says="correlation between two layers' final gains, mean over pairs of layers",
                side="above",
                threshold=0.5,
                reason="for comparison",
                role="context",
            ),
        ),
        figure=("04_gain", "likeness"),
    ),
)


def shown_on(page: str) -> list[str]:
    """Ids of the claims whose figure stands on a page, such as ``01_divergence``; empty where there are none."""
    return [rule.id for rule in RULES if rule.figure[0] == page]


def threshold(criterion: str) -> float:
    """The threshold of the criterion of that name, where it is one number. Raises KeyError where it is not."""
    thresholds = {c.name: c.threshold for rule in RULES for c in rule.criteria if not isinstance(c.threshold, tuple)}
    return thresholds[criterion]

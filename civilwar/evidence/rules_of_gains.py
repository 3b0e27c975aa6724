"""C12 to C18: golden dimensions and who uses them, when the gain is settled, the recipe, and one coordinate system."""

from civilwar.evidence.rule import Criterion, Pick, Rule

RULES_OF_GAINS: tuple[Rule, ...] = (
    Rule(
        id="C12",
        statement="Golden dimensions: a few entries of the gain are amplified to carry the most important signals.",
        reported="A heat map of layer 11, gains 0.56 to 1.9; its dimensions 48 to 63 sink.",
        null="as many random dimensions; and RoPE frequencies dealt to the pairs in a random order",
        criteria=(
            Criterion(
                name="golden_gain",
                label="final gain of golden dimensions",
                says="gain of golden dimensions (above the layer's mean by 1.5 deviations with n - 1) at the end, mean over "
                "layers",
                side="above",
                threshold=1.1,
                reason="amplified: a tenth above where it started",
            ),
            Criterion(
                name="gains_over_random",
                label="what the ten loudest dimensions carry above ten random ones",
                says="share of what keys are worth that the 10 dimensions with the largest gains keep, less what 10 random "
                "dimensions keep",
                side="above",
                threshold=0.1,
                reason="they carry more than others",
                role="reading",
            ),
            Criterion(
                name="fast_half_trend",
                label="correlation of gain and frequency rank among fast pairs",
                says="rank correlation of a pair's final gain (root mean square of its two entries) and its RoPE frequency "
                "rank within the fast half of the pairs, mean over layers",
                side="above",
                threshold=-0.3,
                reason="below a medium correlation frequency does not choose what is amplified, only what is suppressed",
                role="reading",
            ),
            Criterion(
                name="slow_gain",
                label="final gain of the slowest quarter of pairs",
                says="gain of the slowest quarter of RoPE pairs at the end, mean over layers",
                side="below",
                threshold=0.9,
                reason="for comparison: suppressed by a tenth",
                role="context",
            ),
            Criterion(
                name="frequency_trend",
                label="correlation of gain and frequency rank",
                says="rank correlation of a pair's final gain and its RoPE frequency rank in the baseline, mean over layers",
                side="below",
                threshold=-0.3,
                reason="for comparison: slow pairs are suppressed",
                role="context",
            ),
            Criterion(
                name="frequency_trend_shuffled",
                label="the same under shuffled frequencies",
                says="the same under frequencies dealt to the pairs in a random order, mean over layers",
                side="below",
                threshold=-0.3,
                reason="for comparison: frequency, not place, decides what is suppressed",
                role="context",
            ),
            Criterion(
                name="index_trend_shuffled",
                label="correlation of gain and place under shuffled frequencies",
                says="rank correlation of a pair's final gain and its place among the dimensions under shuffled frequencies, "
                "mean over layers",
                side="within",
                threshold=(-0.2, 0.2),
                reason="for comparison: dealing the frequencies anew already frees them from the index",
                role="context",
            ),
        ),
        answers={
            "there": "Golden dimensions are amplified, carry more than others, and are not simply the fast ones.",
            "there, for another reason": "Golden dimensions are amplified, but not to carry the most important signals.",
            "not there": "No dimension ends clearly above where it started.",
        },
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
                label="step from which the gain keeps its direction",
                says="step from which the gain, centred at its mean over dimensions, stays within cosine 0.95 of its end, mean "
                "over layers",
                side="below",
                threshold=200,
                reason="the report's number",
            ),
            Criterion(
                name="settle_before_walk",
                label="the same over the step at which a random walk gets there",
                says="the same over the step at which a random walk gets there, 0.95 squared of the run",
                side="below",
                threshold=0.9,
                reason="a tenth earlier than a walk that decides nothing",
            ),
        ),
        answers={
            "there": "The gain keeps its direction from before the report's step on, sooner than a random walk would.",
            "not there": "The gain still turns at the report's step.",
        },
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
                label="static heads",
                says="query heads whose attention makes them a sink or a separator head, number per run: of all scores of the "
                "taxonomy the one furthest above its threshold, (score - threshold) / (1 - threshold), is that of a sink or of "
                "separators",
                side="above",
                threshold=0.5,
                reason="without one in most runs there is nothing to look at",
                role="premise",
            ),
            Criterion(
                name="golden_energy_sinks_less_others",
                label="golden energy of the keys that static heads point at, less that of other heads",
                says="pre-gain energy on golden dimensions, 1 where they are like others, of the keys that static heads "
                "point at (first tokens for sinks, separators for separator heads), less the mean of the layer's other KV "
                "heads at the same tokens; mean over such KV heads and tokens whose layer has others",
                side="above",
                threshold=0.1,
                reason="more than others do",
            ),
            Criterion(
                name="golden_energy_of_sinks",
                label="golden energy of the keys that static heads point at",
                says="the same energy, without the difference, mean over such KV heads and tokens",
                side="above",
                threshold=1.25,
                reason="a quarter more than their share",
            ),
        ),
        answers={
            "there": "Static heads point at keys with more of their energy on golden dimensions than other heads' keys have.",
            "not there": "The keys that static heads point at use golden dimensions hardly more than other heads' keys do.",
        },
        figure=("05_taxonomy", "golden_energy"),
        head=Pick(by="most_on_separators", says="the head that looks at separators most", metric="separator"),
    ),
    Rule(
        id="C15",
        statement="Gatherers ignore the golden dimensions.",
        reported="Never measured.",
        null="golden dimensions' share of all dimensions, and of those of neighbouring frequencies",
        criteria=(
            Criterion(
                name="golden_energy_of_broad",
                label="golden energy of broad heads' keys",
                says="pre-gain energy on golden dimensions of the KV heads that the broadest quarter of a layer's query heads "
                "read, 1 where they are like others, mean over layers",
                side="below",
                threshold=0.8,
                reason="a fifth less than their share",
            ),
            Criterion(
                name="golden_energy_broad_less_sharp",
                label="the same less that of sharp heads",
                says="the same less that of the sharpest quarter",
                side="below",
                threshold=-0.1,
                reason="less than sharp heads do",
            ),
            Criterion(
                name="golden_energy_of_broad_in_strata",
                label="the same over that of neighbouring frequencies",
                says="pre-gain energy on golden dimensions of the same KV heads over that of all dimensions in the same "
                "block of 8 neighbouring RoPE frequencies, mean over layers",
                side="below",
                threshold=0.8,
                reason="a fifth less than frequency alone would give",
                role="reading",
            ),
        ),
        answers={
            "there": "The keys that broad heads read have little energy on golden dimensions, less than sharp heads' keys.",
            "there, for another reason": "The keys that broad heads read have little energy on golden dimensions, and so have "
            "others of those frequencies.",
            "not there": "The keys that broad heads read do not leave golden dimensions out.",
        },
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
                label="heads that retrieve",
                says="query heads that attend to the matching token or to the one after it on repeated random tokens, by the "
                "taxonomy's thresholds, number per run",
                side="above",
                threshold=0.5,
                reason="without a retriever in most runs there is nothing to test",
                role="premise",
            ),
            Criterion(
                name="contrast_of_retrievers",
                label="spread of their top logit over queries, over that before training",
                says="spread over queries of the top logit of those heads, over that of all heads before training",
                side="above",
                threshold=2.0,
                reason="who asks matters twice as much",
            ),
            Criterion(
                name="contrast_of_all",
                label="the same of all heads",
                says="the same of all heads",
                side="above",
                threshold=2.0,
                reason="for comparison",
                role="context",
            ),
        ),
        answers={
            "there": "Heads that retrieve answer some queries far more strongly than others.",
            "not there": "Heads that retrieve answer all queries about alike.",
        },
        figure=("05_taxonomy", "retrieval"),
        head=Pick(by="best_retriever", says="the head that finds an earlier copy best", metric="duplicate_token_score"),
    ),
    Rule(
        id="C17",
        statement="22 layers, 88M parameters, 4M tokens, bfloat16, metrics in real time.",
        reported="488 steps of 4 x 2,048 tokens; the tracking script had no autocast.",
        null="pure bfloat16, in which a gain near 1 is too coarse to move by a step of decay, or by one of Adam's",
        criteria=(
            Criterion(
                name="recipe_parameters",
                label="millions of parameters of the recipe",
                says="millions of parameters of the report's recipe",
                side="within",
                threshold=(87.5, 89.0),
                reason="arithmetic on the configuration",
            ),
            Criterion(
                name="recipe_tokens",
                label="millions of tokens of the recipe",
                says="millions of tokens in its 489 steps",
                side="within",
                threshold=(3.95, 4.05),
                reason="arithmetic on the configuration",
            ),
            Criterion(
                name="measuring_share",
                label="share of the training time that snapshots take",
                says="seconds in snapshots over seconds of training, snapshots among them, experiments at the end left out, "
                "from the run's manifest",
                side="below",
                threshold=0.25,
                reason="in real time: training is at most a third slower",
            ),
            Criterion(
                name="dip_in_pure_bfloat16",
                label="share of the first fall that is left in pure bfloat16",
                says="fall of the norms in pure bfloat16 over that under autocast, seed by seed: both from the start to each "
                "layer's lowest step in the baseline, means over layers before the division",
                side="above",
                threshold=0.5,
                reason="the report shows the fall, so its bfloat16 must allow most of it. No proof of decay: Adam's own steps "
                "are rounded too",
            ),
        ),
        answers={
            "there": "The recipe has that size, its measurements keep up with it, and bfloat16 allows what the report shows.",
            "not there": "The recipe does not have that size.",
        },
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
                label="cosine of two layers' gains",
                says="cosine between two layers' final gains, mean over pairs of layers",
                side="above",
                threshold=0.9,
                reason="nearly one, though below the report's 0.99",
            ),
            Criterion(
                name="likeness_detrended",
                label="correlation of two layers' gains without the trend with frequency",
                says="correlation between two layers' final gains over dimensions, a cubic in RoPE frequency rank taken out of "
                "each, mean over pairs of layers",
                side="above",
                threshold=0.3,
                reason="a medium correlation: a shared choice; below, frequency explains the likeness",
                role="reading",
            ),
            Criterion(
                name="likeness_in_strata",
                label="the same within neighbouring frequencies",
                says="correlation between two layers' final gains, each less its mean over blocks of 8 neighbouring RoPE "
                "frequencies, mean over pairs of layers",
                side="above",
                threshold=0.3,
                reason="the same",
                role="reading",
            ),
            Criterion(
                name="likeness_centred",
                label="correlation of two layers' gains",
                says="correlation between two layers' final gains, mean over pairs of layers",
                side="above",
                threshold=0.5,
                reason="for comparison",
                role="context",
            ),
        ),
        answers={
            "there": "The layers' gains are alike, beyond what frequency gives them in common.",
            "there, for another reason": "The layers' gains are alike, but for what frequency gives them in common.",
            "not there": "The layers' gains are not alike.",
        },
        figure=("04_gain", "likeness"),
    ),
)

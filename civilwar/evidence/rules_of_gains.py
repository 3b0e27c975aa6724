"""C12 to C18: golden dimensions and who uses them, when the gain is settled, the recipe, and one coordinate system."""

from civilwar.evidence.rule import Criterion, Pick, Rule

RULES_OF_GAINS: tuple[Rule, ...] = (
    Rule(
        id="C12",
        statement="Golden dimensions: a few entries of the gain are amplified to carry the most important signals.",
        reported="A heat map of layer 11, gains 0.56 to 1.9; its dimensions 48 to 63 sink.",
        null="the largest of as many gains that scatter normally; as many random dimensions; and RoPE frequencies dealt to the "
        "pairs in a random order",
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
                name="golden_gain_over_scatter",
                label="final gain of golden dimensions over that of the largest in an even scatter",
                says="gain of golden dimensions at the end over what gains that scatter normally with the layer's mean and "
                "standard deviation would have above the same mark, mean over layers",
                side="above",
                threshold=1.1,
                reason="whoever picks the largest gains finds large ones: a tenth above what picking gives is a group",
                role="reading",
                failed="They are no group of their own, hardly above what the largest gains of an even scatter would be.",
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
                failed="The dimensions with the largest gains carry hardly more than random ones.",
            ),
            Criterion(
                name="fast_half_trend",
                label="correlation of gain and frequency rank among fast pairs",
                says="rank correlation of a pair's final gain (root mean square of its two entries) and its RoPE frequency "
                "rank within the fast half of the pairs, mean over layers",
                side="within",
                threshold=(-0.3, 0.3),
                reason="below a medium correlation, either way, frequency does not choose what is amplified, only what is "
                "suppressed",
                role="reading",
                failed="Among the fast pairs, too, RoPE frequency goes with what is amplified.",
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
                label="correlation of gain and frequency rank under shuffled frequencies",
                says="rank correlation of a pair's final gain and its RoPE frequency rank under frequencies "
                "dealt to the pairs in a random order, mean over layers",
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
            "there": "Golden dimensions are amplified, carry more than others, and are not simply the fast or the slow ones.",
            "there, for another reason": "Golden dimensions are amplified.",
            "not there": "Golden dimensions do not end clearly above where they started.",
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
                label="step from which the gain keeps its direction over that of a random walk",
                says="step from which the gain stays within cosine 0.95 of its end over the step at which a random walk does, "
                "0.95 squared of the run",
                side="below",
                threshold=0.9,
                reason="for comparison: a walk that decides nothing settles long after the report's step, so that the first "
                "criterion rules it out already",
                role="context",
            ),
        ),
        answers={
            "there": "The gain keeps its direction from before the report's step on.",
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
                says="pre-gain energy on golden dimensions of the keys that static heads point at, mean over such KV heads and "
                "tokens",
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
                label="golden energy of broad heads' keys less that of sharp heads' keys",
                says="pre-gain energy on golden dimensions of the KV heads that the broadest quarter of a layer's query heads "
                "read, less that of those that the sharpest quarter read, mean over layers",
                side="below",
                threshold=-0.1,
                reason="less than sharp heads do",
            ),
            Criterion(
                name="golden_energy_of_broad_in_strata",
                label="golden energy of broad heads' keys over that of neighbouring frequencies",
                says="pre-gain energy on golden dimensions of the same KV heads over that of all dimensions in the same "
                "block of 8 neighbouring RoPE frequencies, mean over layers",
                side="below",
                threshold=0.8,
                reason="a fifth less than frequency alone would give",
                role="reading",
                failed="Other dimensions of those frequencies have nearly as little.",
            ),
        ),
        answers={
            "there": "The keys that broad heads read have little energy on golden dimensions, less than sharp heads' keys.",
            "there, for another reason": "The keys that broad heads read have little energy on golden dimensions.",
            "not there": "The keys that broad heads read do not leave golden dimensions out.",
        },
        figure=("05_taxonomy", "golden_energy"),
        head=Pick(by="broadest", says="the broadest head", metric="entropy_normalised"),
    ),
    Rule(
        id="C16",
        statement="Retrievers have high magnitude only when the query matches.",
        reported="Never measured.",
        null="all heads before training, and all other heads",
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
                label="spread of retrieving heads' top logit over queries, over that before training",
                says="spread over queries of the top logit of heads that retrieve, over that of all heads before training",
                side="above",
                threshold=2.0,
                reason="who asks matters twice as much",
            ),
            Criterion(
                name="contrast_over_others",
                label="spread of their top logit over queries, over that of all other heads",
                says="spread over queries of the top logit of heads that retrieve, over that of all other heads, at the end",
                side="above",
                threshold=1.25,
                reason="a quarter more than heads that do not retrieve: else it is training, and no matter of retrieving",
                role="reading",
                failed="Heads that do not retrieve do so nearly as much.",
            ),
            Criterion(
                name="contrast_of_all",
                label="spread of the top logit over queries of all heads, over that before training",
                says="spread over queries of the top logit of all heads at the end, over that before training",
                side="above",
                threshold=2.0,
                reason="for comparison",
                role="context",
            ),
        ),
        answers={
            "there": "Heads that retrieve answer some queries far more strongly than others, and more so than other heads do.",
            "there, for another reason": "Heads that retrieve answer some queries far more strongly than others.",
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
                says="seconds in snapshots over seconds of training with them, from the run's manifest; what is measured "
                "inside every step is not timed apart, and experiments at the end are in neither",
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
            "there": "The recipe has that size, its snapshots keep up with it, and bfloat16 allows what the report shows.",
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
                name="likeness_centred",
                label="correlation of two layers' gains",
                says="correlation between two layers' final gains over dimensions, mean over pairs of layers",
                side="above",
                threshold=0.5,
                reason="a large correlation by Cohen's convention; unlike the cosine it is 0 where nothing is shared",
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
                failed="Without their trend with frequency, less than a medium correlation is left.",
            ),
            Criterion(
                name="likeness_in_strata",
                label="correlation of two layers' gains within neighbouring frequencies",
                says="correlation between two layers' final gains, each less its mean over blocks of 8 neighbouring RoPE "
                "frequencies, mean over pairs of layers",
                side="above",
                threshold=0.3,
                reason="a medium correlation, as without the trend",
                role="reading",
                failed="Among neighbouring frequencies, less than a medium correlation is left.",
            ),
            Criterion(
                name="likeness_raw",
                label="cosine of two layers' gains",
                says="cosine between two layers' final gains, mean over pairs of layers",
                side="above",
                threshold=0.9,
                reason="for comparison: nearly one for any gains that stay near 1",
                role="context",
            ),
        ),
        answers={
            "there": "The layers' gains are alike, beyond what frequency gives them in common.",
            "there, for another reason": "The layers' gains are alike.",
            "not there": "The layers' gains are not alike.",
        },
        figure=("04_gain", "likeness"),
    ),
)

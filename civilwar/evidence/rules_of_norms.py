"""C01 to C04: where key norms start, how they first fall, how heads part, and whether they climb with purpose."""

from civilwar.evidence.rule import Criterion, Pick, Rule

MOST_SPREAD = Pick(
    by="loudest_where_spread",
    says="the loudest head of the layer that ends most spread out",
    metric="norm_mean",
)

RULES_OF_NORMS: tuple[Rule, ...] = (
    Rule(
        id="C01",
        statement="Every head starts at key norm 8.",
        reported="The square root of the head size, 64, which RMSNorm with gain 1 gives every key.",
        null="RMSNorm's own arithmetic, without any head",
        criteria=(
            Criterion(
                name="largest_start_deviation",
                label="distance of the starting norms from the square root of the head size",
                says="largest distance of any head's mean norm at step 0 from the square root of the head size",
                side="below",
                threshold=0.05,
                reason="bfloat16 rounding and RMSNorm's epsilon",
                role="construction",
            ),
        ),
        answers={
            "true by construction": "RMSNorm makes every key that long before its gain has moved; no training is involved.",
            "not there": "The norms do not start where RMSNorm should put them, so something is wrong with these runs.",
        },
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
                label="first fall of the norms",
                says="fall of a layer's mean norm from its start to its minimum in the first half, mean over layers",
                side="above",
                threshold=0.2,
                reason="about a fifth of the report's fall of 0.9",
            ),
            Criterion(
                name="dip_norm",
                label="lowest norm of a layer",
                says="that minimum itself, mean over layers",
                side="within",
                threshold=(6.9, 7.3),
                reason="about 7.1: within a fifth of the report's fall",
            ),
            Criterion(
                name="dip_step",
                label="step of the lowest norm",
                says="step of that minimum, mean over layers",
                side="within",
                threshold=(50, 150),
                reason="about step 100: half of it to one and a half of it",
            ),
            Criterion(
                name="dip_kept_without_decay",
                label="share of the fall that is left without decay on the gain",
                says="fall without decay on the gain over that with it, seed by seed: both from the start to each layer's "
                "lowest step in the baseline, means over layers before the division",
                side="above",
                threshold=0.5,
                reason="most of the fall would then be there without decay; below, decay makes most of it. At the report's "
                "scale two pairs of runs can hardly decide, so that the laptop's do, unless their means lie on the other side",
                role="reading",
                failed="Most of that fall is not there without decay on the gain.",
            ),
            Criterion(
                name="rank_kept_at_dip",
                label="effective rank of keys at the lowest norm, over that before training",
                says="effective rank of a layer's keys at the snapshot nearest to its lowest norm over that at step 0, means "
                "over texts and KV heads before the division, mean over layers",
                side="below",
                threshold=0.9,
                reason="keys that are compressed lie in fewer directions: at least a tenth fewer",
                role="reading",
                failed="Keys lie in hardly fewer directions then, so little is compressed.",
            ),
            Criterion(
                name="cosine_rise_at_dip",
                label="rise of the likeness of keys until the lowest norm",
                says="mean cosine between two keys of a head at the recorded step nearest to its layer's lowest norm less that "
                "at step 0, mean over layers",
                side="above",
                threshold=0.05,
                reason="for comparison: keys may grow alike without lying in fewer directions, and the other way round",
                role="context",
            ),
        ),
        answers={
            "there": "The norms first fall as the report says, without decay too, and keys are compressed meanwhile.",
            "there, for another reason": "The norms first fall.",
            "not there": "The norms do not first fall far enough to speak of.",
        },
        figure=("06_controls", "control_norms"),
        head=Pick(by="middle_at_lowest", says="the middle layer at its lowest norm", metric="norm_mean"),
    ),
    Rule(
        id="C03",
        statement="After about step 100 the heads of one layer bifurcate.",
        reported="Four KV heads of layer 11 in one run, ending near 11.6, 10.5, 9.9 and 9.7.",
        null="batch noise; and, apart, the same gain dealt to other dimension pairs, any or of neighbouring frequencies",
        criteria=(
            Criterion(
                name="spread_over_noise",
                label="log of the final spread between heads over batch noise",
                says="natural log of the final spread between a layer's KV heads (standard deviation) over the 99% point of "
                "batch noise, mean over layers",
                side="above",
                threshold=0.0,
                reason="the spread exists",
            ),
            Criterion(
                name="relative_range",
                label="range of a layer's final norms over their mean",
                says="largest less smallest final norm of a layer's KV heads over the layer's mean, median over layers",
                side="above",
                threshold=0.1,
                reason="a tenth: about half of the report's 18%",
            ),
            Criterion(
                name="onset_sensitive",
                label="step from which heads stay apart, by a sensitive mark",
                says="step from which the spread stays above half of the batch noise, median over layers; the end where never",
                side="within",
                threshold=(50, 150),
                reason="about step 100: half of it to one and a half of it, whatever mark one sets",
            ),
            Criterion(
                name="onset_strict",
                label="step from which heads stay apart, by a strict mark",
                says="step from which the spread stays above twice the batch noise, median over layers; the end where never",
                side="within",
                threshold=(50, 150),
                reason="about step 100, as for the sensitive mark",
            ),
            Criterion(
                name="spread_over_alignment",
                label="log of the spread over that of gains dealt anew",
                says="natural log of the final spread over its median where the gain is dealt to any dimension pairs anew, "
                "mean over layers",
                side="above",
                threshold=0.223,
                reason="a quarter more than chance alignment gives",
                role="reading",
                failed="They part hardly further than the same gain would part them if it were dealt to any dimensions.",
            ),
            Criterion(
                name="spread_over_neighbours",
                label="log of the spread over that of gains dealt anew among neighbouring frequencies",
                says="natural log of the final spread over its median where the gain changes places only among blocks of 8 "
                "neighbouring RoPE frequencies, mean over layers: parting beyond the trend with frequency",
                side="above",
                threshold=0.223,
                reason="a quarter more than chance alignment among neighbours gives",
                role="reading",
                failed="They part hardly further than the same gain would part them if it were dealt among neighbouring "
                "frequencies.",
            ),
            Criterion(
                name="onset_step",
                label="step from which heads stay apart, by the usual mark",
                says="step from which the spread stays above batch noise, median over layers; the end where never",
                side="within",
                threshold=(50, 150),
                reason="for comparison",
                role="context",
            ),
            Criterion(
                name="share_between_layers",
                label="share of the variance of norms that lies between layers",
                says="share of the variance of final norms over all KV heads that lies between layers",
                side="below",
                threshold=0.5,
                reason="for comparison: less than half where heads of a layer differ as much as layers do",
                role="context",
            ),
            Criterion(
                name="same_loudest_head",
                label="share of seed pairs with the same loudest head",
                says="share of seed pairs in which the same head of a layer ends loudest, mean over layers; per sweep",
                side="above",
                threshold=0.25,
                reason="one in four by chance",
                role="context",
            ),
        ),
        answers={
            "there": "Heads of one layer part when the report says, and further than the same gain would part them by chance.",
            "there, for another reason": "Heads of one layer part.",
            "not there": "Heads of one layer differ by batch noise only.",
        },
        figure=("01_divergence", "spread"),
        head=MOST_SPREAD,
    ),
    Rule(
        id="C04",
        statement="Heads are promoted with purpose to distinct levels; they do not just drift.",
        reported="The same four lines.",
        null="the same increments between checkpoints with random signs: drift as fast, without direction",
        criteria=(
            Criterion(
                name="order_of_drift",
                label="agreement with the last order that drift alone gives",
                says="Kendall tau between the heads' order at checkpoints every 32 steps from 128 on and at the end that "
                "sign-flipped increments give, mean over layers and checkpoints",
                side="below",
                threshold=0.8,
                reason="heads that reached their levels before the first checkpoint keep their order under any drift: at least "
                "twice the tenth that is asked has to be left above it",
                role="premise",
            ),
            Criterion(
                name="order_persistence_excess",
                label="agreement of the heads' order with the last, above drift",
                says="Kendall tau between the heads' order at checkpoints every 32 steps from 128 on and at the end, less what "
                "sign-flipped increments give, mean over layers and checkpoints",
                side="above",
                threshold=0.1,
                reason="a tenth of the scale: one more pair in twenty kept in order",
            ),
        ),
        answers={
            "there": "Heads keep their order, which is what is tested here, clearly better than drift would.",
            "not there": "Heads keep their order, which is what is tested here, hardly better than drift would.",
        },
        figure=("08_verdicts", "order_persistence"),
        head=MOST_SPREAD,
    ),
)

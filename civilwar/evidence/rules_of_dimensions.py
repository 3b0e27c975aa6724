"""C09 to C11: how many dimensions keys use, and how few are enough."""

from civilwar.evidence.rule import Criterion, Pick, Rule

RULES_OF_DIMENSIONS: tuple[Rule, ...] = (
    Rule(
        id="C09",
        statement="Every layer starts with about 24 of 64 dimensions in use.",
        reported="The coordinate participation ratio of single keys, which depends on the basis and is no rank.",
        null="isotropic random directions: about 22.7",
        criteria=(
            Criterion(
                name="start_coordinate_pr",
                label="coordinate participation ratio before training",
                says="coordinate participation ratio at step 0, mean over layers",
                side="within",
                threshold=(22, 26),
                reason="about 24",
            ),
            Criterion(
                name="start_distance_from_random",
                label="distance of the coordinate participation ratio from that of random directions",
                says="distance, either way, of the coordinate participation ratio at step 0 from that of isotropic directions, "
                "which use every dimension alike",
                side="above",
                threshold=1.0,
                reason="a number that random directions give as well counts nothing; the report's 24 lies 1.3 from theirs",
                role="reading",
                failed="Random directions, which use every dimension alike, give nearly the same number.",
            ),
            Criterion(
                name="start_covariance_pr",
                label="covariance participation ratio before training",
                says="covariance participation ratio at step 0, mean over layers",
                side="within",
                threshold=(22, 26),
                reason="a count of dimensions would be the same in every basis",
                role="reading",
                failed="In a measure that does not depend on the basis, the number is another.",
            ),
            Criterion(
                name="start_coordinate_pr_excess",
                label="coordinate participation ratio less that of random directions",
                says="the coordinate participation ratio at step 0 less that of isotropic directions",
                side="within",
                threshold=(-1.0, 1.0),
                reason="for comparison, with its sign",
                role="context",
            ),
        ),
        answers={
            "there": "The report's number is there, random directions give another, and it is the same in every basis.",
            "there, for another reason": "The report's number is there.",
            "not there": "The report's number is not there.",
        },
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
                label="coordinate participation ratio of the middle layers at the end",
                says="coordinate participation ratio of the two middle layers at the end",
                side="within",
                threshold=(8.0, 14.0),
                reason="about 11: at most 3 more or fewer",
            ),
            Criterion(
                name="middle_below_edges",
                label="coordinate participation ratio of the middle layers less that of the edge layers",
                says="coordinate participation ratio of the two middle layers at the end less that of the first and last layer",
                side="below",
                threshold=-2.0,
                reason="the report's middle layer ends at least 2.5 below the others",
            ),
            Criterion(
                name="fall_explained_by_gain",
                label="share of the fall that any keys under that gain would show",
                says="share of the middle layers' fall that isotropic directions under their gains show too",
                side="below",
                threshold=0.5,
                reason="most of the fall would then be the keys' own; above, it is the gain's",
                role="reading",
                failed="Any keys under those layers' gains would show most of that fall.",
            ),
            Criterion(
                name="middle_below_edges_covariance",
                label="covariance participation ratio of the middle layers less that of the edge layers",
                says="covariance participation ratio of the two middle layers at the end less that of the first and last layer",
                side="below",
                threshold=-2.0,
                reason="a collapse would show in a measure that does not depend on the basis",
                role="reading",
                failed="In a measure that does not depend on the basis, middle layers do not lie that far below the edges.",
            ),
            Criterion(
                name="evenness_over_alignment",
                label="log of the evenness of energy over that under gains dealt anew",
                says="natural log of the evenness of a KV head's mean energy over its median where the gain is dealt to any "
                "dimension pairs anew, mean over the KV heads of the two middle layers",
                side="below",
                threshold=-0.1,
                reason="for comparison: a tenth more concentrated than the same gain makes it by chance",
                role="context",
            ),
            Criterion(
                name="evenness_over_neighbours",
                label="log of the evenness of energy over that under gains dealt anew among neighbouring frequencies",
                says="the same log of evenness where the gain changes places only among blocks of 8 neighbouring RoPE "
                "frequencies",
                side="below",
                threshold=-0.1,
                reason="for comparison",
                role="context",
            ),
        ),
        answers={
            "there": "Middle layers end near the report's number, below the edges, by measures with and without a basis.",
            "there, for another reason": "Middle layers end near the report's number.",
            "not there": "Middle layers do not end near the report's number.",
        },
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
                label="share of what keys are worth that ten principal directions keep",
                says="share of what keys are worth (loss at rank 0 less full loss) that 10 principal directions a head keep",
                side="above",
                threshold=0.95,
                reason="enough: nineteen twentieths",
            ),
            Criterion(
                name="kept_over_random",
                label="share that ten principal directions keep less what ten random ones keep",
                says="share of what keys are worth that 10 principal directions a head keep less the share that 10 random "
                "directions keep",
                side="above",
                threshold=0.1,
                reason="the directions matter",
            ),
            Criterion(
                name="kept_by_gains",
                label="share that the ten dimensions with the largest gains keep",
                says="share of what keys are worth that the 10 dimensions with the largest gains keep",
                side="above",
                threshold=0.95,
                reason="the report counts dimensions that the gain makes loud",
                role="reading",
                failed="The dimensions that the gain makes loudest are not enough.",
            ),
        ),
        answers={
            "there": "So few dimensions are enough, those that the gain makes loud among them.",
            "there, for another reason": "So few directions are enough.",
            "not there": "So few directions are not enough.",
        },
        figure=("07_capacity", "capacity"),
        head=Pick(
            by="fewest_directions",
            says="the head whose keys extend in the fewest directions",
            metric="participation_ratio",
        ),
    ),
)

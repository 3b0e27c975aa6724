"""C02's reading: is the early fall of key norms compression? What compression predicts that weight decay does not.

Decay multiplies every gain by the same factor: keys get shorter, and that is all. Ranks and cosines do not change when keys are
scaled, so under decay alone they stay as they are. If keys fell because a layer squeezes them into less, then while they fall
they should come to fill fewer dimensions and to resemble each other, so that one tells more of the next; they should do so
*less* where decay is taken away and the fall with it; and the layers that fall most should be squeezed most.
"""

import math
from collections.abc import Sequence

import pandas as pd

from civilwar.analysis import divergence, rank
from civilwar.analysis.statistics import spearman
from civilwar.runs.reader import Run

#: What is followed, with the sign that compression gives it while norms fall.
PREDICTED = {"norm": -1, "effective_rank": -1, "participation_ratio": -1, "key_cosine": +1}


def measures(run: Run) -> pd.DataFrame:
    """Every measure of `PREDICTED` at the snapshots, mean over a layer's KV heads: step, layer, measure, value.

    Norms (length) and mean cosine between the keys of two tokens on the training batch; effective rank (Roy and Vetterli 2007)
    and covariance participation ratio (dimensions) before RoPE on the held-out texts.
    """
    keys = run.table("step_kv_heads")
    keys = keys[keys["step"].isin(run.snapshots)].rename(columns={"norm_mean": "norm"})
    of_batch = keys.groupby(["step", "layer"])[["norm", "key_cosine"]].mean().reset_index()
    long = of_batch.melt(["step", "layer"], ["norm", "key_cosine"], "measure", "value")
    of_texts = rank.layer_means(run)
    table = pd.concat([long, of_texts[of_texts["measure"].isin(list(PREDICTED))]], ignore_index=True)
    return table[["step", "layer", "measure", "value"]]


def calm_end(run: Run) -> int:
    """The snapshot nearest to where the mean norm over layers is lowest, in the first half of the run and after its start."""
    norms = divergence.key_norms(run).groupby("step")["norm"].mean()
    lowest = int(norms[norms.index <= run.config.moments()["mid"]].idxmin())
    return min((step for step in run.snapshots if step > 0), key=lambda step: abs(step - lowest))


def changes(run: Run, until: int) -> pd.DataFrame:
    """From the start to step ``until``, a snapshot: layer, and of every measure its change as a share of its start.

    Of ``key_cosine`` the change itself, since it starts near 0.
    """
    table = measures(run)
    wide = table[table["step"].isin([0, until])].pivot(index=["layer", "measure"], columns="step", values="value")
    change = wide[until] - wide[0]
    relative = change / wide[0].where(wide.index.get_level_values("measure") != "key_cosine", 1.0)
    found = relative.unstack("measure")[list(PREDICTED)].rename_axis(columns=None)
    return found.reset_index()


def beside_control(base: Run, control: Run) -> pd.DataFrame:
    """Mean over layers of `changes` up to the baseline's calm end, in it and in a control: measure, base, control."""
    until = calm_end(base)
    return pd.DataFrame(
        {
            "measure": list(PREDICTED),
            "base": changes(base, until)[list(PREDICTED)].mean().to_numpy(),
            "control": changes(control, until)[list(PREDICTED)].mean().to_numpy(),
        }
    )


def over_pairs(pairs: Sequence[tuple[Run, Run]]) -> pd.DataFrame:
    """`beside_control` of every pair: seed, measure, base, control."""
    tables = [beside_control(base, control).assign(seed=base.config.seed) for base, control in pairs]
    columns = ["seed", "measure", "base", "control"]
    return pd.concat(tables, ignore_index=True)[columns] if tables else pd.DataFrame(columns=columns)


def fall_with_rank(run: Run) -> float:
    """Over layers, Spearman's rho of the change in norm with that in effective rank, up to the calm's end. Range [-1, 1].

    Compression predicts above 0: what falls most loses most dimensions. NaN with fewer than three layers.
    """
    table = changes(run, calm_end(run))
    if len(table) < 3:
        return math.nan
    return spearman(table["norm"].to_numpy(), table["effective_rank"].to_numpy(), tolerance=1e-6)

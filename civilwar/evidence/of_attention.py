"""The numbers behind C05 to C08: do key norms go with sharp attention, and are there two populations of heads?"""

import math

import diptest
import numpy as np
import pandas as pd

from civilwar.analysis import focus, partial, power
from civilwar.analysis.statistics import generator
from civilwar.evidence.decision import Pooled
from civilwar.evidence.of_norms import at_end
from civilwar.recipe.config import RunConfig
from civilwar.runs.collection import Sweep
from civilwar.runs.reader import Run

#: C06's second population: its share of the heads, and its distance in standard deviations within a population.
MINORITY, SEPARATION = 0.25, 5.0
#: Simulated sweeps behind C06's power, and behind what its dip would be with two populations.
SIMULATED = 400
#: Fewer KV heads than this have no dip to speak of.
LEAST_HEADS = 8
#: Heads that are more alike than this are simulated as if they were this much: at 1 a layer's heads would not differ at all.
MOST_ALIKE = 0.999

# ---------------------------------------------------------------- C05


def stratified(run: Run, moment: str, measure: str) -> float:
    """C05: Spearman's rho of key norm and entropy over query heads, ranked within layers, at one of the report's moments."""
    points = focus.head_points(run)
    points = points[points["step"] == run.config.moments()[moment]]
    return focus.stratified_rho(points, focus.MEASURES[measure])


def partial_focus(run: Run, x: str, given: tuple[str, ...] = ()) -> float:
    """C05: the same at the end of ``x`` (key_norm, query_norm) with causal entropy, given other lengths."""
    return partial.partial_rho(partial.head_scales(run, run.last_step), x, focus.MEASURES["causal"], given)


# ---------------------------------------------------------------- C06


def minority_power(sweep: Sweep, column: str) -> Pooled:
    """C06: share of simulated sweeps with two populations that the dip test finds at 0.025.

    Sweeps of this one's size, in which a quarter of the heads lie 5 standard deviations away, and heads of one layer and run
    are as alike as they are measured to be (`civilwar.analysis.power`).
    """
    sample = power.sample(sweep.baseline, column)
    if len(sample) < LEAST_HEADS:
        return Pooled(math.nan, math.nan, math.nan, len(sample))
    alike = min(power.intraclass(sample), MOST_ALIKE)
    found = power.power(power.shape_of(sample), MINORITY, SEPARATION, alike, draws=SIMULATED)
    return Pooled(found, math.nan, math.nan, len(sample))


def least_power(sweep: Sweep) -> Pooled:
    """C06: the smaller of the powers for norms and for entropies."""
    return min((minority_power(sweep, column) for column in ("norm", "entropy_normalised")), key=lambda p: p.value)


def dip(sweep: Sweep, column: str) -> Pooled:
    """C06: Hartigan's dip of `civilwar.analysis.power.sample`, with its p against one mode, and against two populations."""
    sample = power.sample(sweep.baseline, column)
    values = sample["value"].to_numpy(dtype=float)
    alike = power.intraclass(sample) if len(values) else math.nan
    if len(values) < LEAST_HEADS or math.isnan(alike):
        return Pooled(math.nan, math.nan, math.nan, len(values))
    observed, p = diptest.diptest(values)
    random, shape, alike = generator(36), power.shape_of(sample), min(max(alike, 0.0), MOST_ALIKE)
    simulated = [
        diptest.dipstat(power.in_own_scale(power.populations(random, shape, MINORITY, SEPARATION, alike), shape))
        for _ in range(SIMULATED)
    ]
    as_low = (1 + sum(other <= observed for other in simulated)) / (1 + SIMULATED)
    return Pooled(float(observed), float(p), as_low, len(values))


# ---------------------------------------------------------------- C07 and C08


def final_heads(run: Run) -> pd.DataFrame:
    """Query heads at the end, with the norm of the KV head they read and their entropies."""
    return at_end(focus.head_points(run), run)


def millions_of_parameters(config: RunConfig) -> float:
    """C07 and C08: the size of the runs, of which an absolute norm depends."""
    return config.model.n_parameters / 1e6


def heads_above_11(run: Run) -> float:
    """C07, a count of query heads."""
    return float((final_heads(run)["norm"] > 11).sum())


def entropy_above_11(run: Run) -> float:
    """C07: mean causal normalised entropy of the query heads whose key norm is above 11. NaN where there is none."""
    heads = final_heads(run)
    return float(heads[heads["norm"] > 11]["entropy_normalised"].mean())


def heads_near_5(run: Run) -> float:
    """C08, a count of query heads with a key norm from 4 to 6."""
    return float(final_heads(run)["norm"].between(4, 6).sum())


def of_broadest(run: Run, column: str) -> float:
    """C08: mean ``norm`` or entropy of the broadest quarter of each layer's query heads, mean over layers."""
    heads = final_heads(run)
    n = max(1, run.config.model.n_query_heads // 4)
    rank = heads.groupby("layer")["entropy_normalised"].rank(method="first", ascending=False)
    return float(heads[rank <= n].groupby("layer")[column].mean().mean())


def entropy_of_extreme(run: Run, quietest: bool) -> float:
    """C07 and C08: causal normalised entropy of the query heads that read a layer's loudest or quietest KV head."""
    heads = final_heads(run)
    by_layer = heads.groupby("layer")["norm"]
    extreme = by_layer.transform("min" if quietest else "max")
    return float(heads[heads["norm"] == extreme].groupby("layer")["entropy_normalised"].mean().mean())


def as_spread(simulated: np.ndarray, values: pd.Series) -> np.ndarray:
    """Simulated numbers, scaled to the standard deviation of ``values``."""
    scaled: np.ndarray = simulated / simulated.std() * float(values.std())
    return scaled

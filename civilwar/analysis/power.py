"""What the dip test of C06 can see: its power for populations of any size, in heads that are not independent.

Heads of one layer of one run share their text, their gain and their initialisation, so that a sweep of n heads says less than n
independent ones. A simulated head is

    x = e[seed, layer, head] + sqrt(icc / (1 - icc)) u[seed, layer] + separation * b[seed, layer, head],

e and u standard normal and b 1 for heads of the second population. Within a population, heads of one layer and run have
standard deviation 1, the unit of ``separation``, and correlate by ``icc`` over layers and runs. What they share smears
populations that would be plain in one layer of one run. Like the measured sample x is centred at every layer's mean over seeds
and heads, and divided by the layer's standard deviation within layers of one run, before the dip test (Hartigan and Hartigan
1985).
"""

import math
from collections.abc import Sequence
from typing import Literal

import diptest
import numpy as np
import pandas as pd

from civilwar.analysis import focus
from civilwar.analysis.statistics import generator
from civilwar.runs.reader import Run

#: Draws of each simulated sweep; the standard error of a power is at most 0.5 / sqrt(DRAWS).
DRAWS = 400
#: Heads that differ by no more than this share of the largest value differ by rounding only.
ROUNDING = 1e-9
Membership = Literal["independent", "one a layer"]


def sample(runs: Sequence[Run], column: str = "norm") -> pd.DataFrame:
    """What the dip test is asked: seed, layer, kv_head, value; each KV head's final ``norm`` or entropy in its layer's scale.

    Less its layer's mean over seeds and heads: that of its own seed's layer would smear two populations of four heads into one.
    Over the layer's standard deviation within layers of one run, so that a layer of a wide spread hides no modes of others.
    NaN in a layer whose heads never differ.
    """
    parts = [
        focus.group_points(run)
        .query("step == @run.last_step")
        .assign(seed=run.config.seed)[["seed", "layer", "kv_head", column]]
        for run in runs
    ]
    if not parts:
        return pd.DataFrame(columns=["seed", "layer", "kv_head", "value"])
    points = pd.concat(parts, ignore_index=True).sort_values(["seed", "layer", "kv_head"], ignore_index=True)
    own = points[["seed", "layer", "kv_head"]]
    return own.assign(value=in_own_scale(points[column].to_numpy(dtype=float), shape_of(points)))


def in_own_scale(values: np.ndarray, shape: tuple[int, int, int]) -> np.ndarray:
    """[seeds * layers * heads] less their layer's mean, over their layer's standard deviation within (seed, layer).

    NaN in a layer whose heads never differ, and where there is one head.
    """
    x = values.reshape(shape)
    within = np.square(x - x.mean(2, keepdims=True)).sum((0, 2), keepdims=True) / (shape[0] * max(shape[2] - 1, 1))
    scale = np.sqrt(np.where(within > (ROUNDING * np.abs(x).max()) ** 2, within, np.nan))
    scaled: np.ndarray = ((x - x.mean((0, 2), keepdims=True)) / scale).ravel()
    return scaled


def shape_of(heads: pd.DataFrame) -> tuple[int, int, int]:
    """Seeds, layers and heads of a `sample`."""
    return heads["seed"].nunique(), heads["layer"].nunique(), heads["kv_head"].nunique()


def intraclass(sample: pd.DataFrame, column: str = "value") -> float:
    """How alike heads of one layer and run are: ICC(1) of rows with seed, layer and ``column``, already centred by layer.

    (B - W) / (B + (n - 1) W), from the mean squares between (seed, layer) and within them, n heads each (Shrout and Fleiss
    1979). Range [-1 / (n - 1), 1]; 0 where they are no more alike than heads of other runs. Each layer's mean over seeds is
    taken out, which costs as many degrees of freedom between. NaN with fewer than two seeds or heads, or without any spread.
    """
    groups = sample.groupby(["seed", "layer"])[column]
    n_heads, n_layers, n_groups = int(groups.size().min()) if len(sample) else 0, sample["layer"].nunique(), len(groups)
    if n_heads < 2 or n_groups <= n_layers:
        return math.nan
    centred = sample[column] - sample.groupby("layer")[column].transform("mean")
    means = centred.groupby([sample["seed"], sample["layer"]]).transform("mean")
    between = float((means**2).sum()) / (n_groups - n_layers)
    within = float(((centred - means) ** 2).sum()) / (n_groups * (n_heads - 1))
    scale = between + (n_heads - 1) * within
    return (between - within) / scale if scale > 0 else math.nan


def populations(
    random: np.random.Generator,
    shape: tuple[int, int, int],
    share: float,
    separation: float,
    icc: float,
    membership: Membership = "independent",
) -> np.ndarray:
    """One simulated sample, [seeds * layers * heads], centred by layer.

    ``share``: chance of every head to be of the second population; with ``one a layer`` it is exactly one head of each layer
    and run, and ``share`` plays no part. ``separation`` in standard deviations of one layer's heads within a population,
    ``icc`` in [0, 1).
    """
    seeds, layers, heads = shape
    common = random.normal(size=(seeds, layers, 1))
    own = random.normal(size=shape)
    if membership == "independent":
        second = random.random(shape) < share
    else:
        second = random.integers(heads, size=(seeds, layers, 1)) == np.arange(heads)
    x = own + math.sqrt(icc / (1 - icc)) * common + separation * second
    centred: np.ndarray = (x - x.mean((0, 2), keepdims=True)).ravel()
    return centred


def power(
    shape: tuple[int, int, int],
    share: float = 0.5,
    separation: float = 5.0,
    icc: float = 0.0,
    membership: Membership = "independent",
    level: float = 0.025,
    draws: int = DRAWS,
) -> float:
    """Share of simulated sweeps [seeds, layers, heads] in which the dip test finds two populations at ``level``.

    Range [0, 1]; at ``separation`` 0 it is the rate of false alarms. Negative ``icc`` counts as 0. NaN where ``icc`` is,
    or where it is 1: then a layer's heads do not differ at all.
    """
    if math.isnan(icc) or icc >= 1:
        return math.nan
    random = generator(34, *shape)
    found = 0
    for _ in range(draws):
        values = populations(random, shape, share, separation, max(icc, 0.0), membership)
        found += diptest.diptest(in_own_scale(values, shape))[1] < level
    return found / draws


def curves(
    shape: tuple[int, int, int],
    icc: float,
    shares: tuple[float, ...] = (0.5, 0.25, 0.1),
    separations: tuple[float, ...] = (0, 1, 2, 3, 4, 5, 6, 7, 8),
    draws: int = 100,
    level: float = 0.025,
) -> pd.DataFrame:
    """`power` over separation, for independent heads and for heads as alike as measured: share, separation, icc, power."""
    rows = [
        {
            "share": share,
            "separation": separation,
            "icc": alike,
            "power": power(shape, share, separation, alike, level=level, draws=draws),
        }
        for share in shares
        for alike in (0.0, icc)
        for separation in separations
    ]
    return pd.DataFrame(rows)

"""Attention sinks as Gu et al. (2024) count them, from the recorded alpha_k of every query head."""

import pandas as pd

from civilwar.runs.reader import Run

#: Gu et al. use 0.3; the neighbours show whether the count hangs on it.
EPSILONS = (0.2, 0.3, 0.4)


def sink_shares(run: Run, epsilons: tuple[float, ...] = EPSILONS) -> pd.DataFrame:
    """Share of (query head, probe text) pairs whose alpha_k exceeds epsilon: step, horizon, position, epsilon, share.

    ``horizon`` is T and ``position`` is k, counted from 1; k = 1 is the first token. Range [0, 1].
    """
    alphas = run.table("probe_sinks")
    keys = ["step", "horizon", "position"]
    shares = [
        (alphas["alpha"] > epsilon)
        .groupby([alphas[key] for key in keys])
        .mean()
        .rename("share")
        .reset_index()
        .assign(epsilon=epsilon)
        for epsilon in epsilons
    ]
    return pd.concat(shares, ignore_index=True)[[*keys, "epsilon", "share"]]

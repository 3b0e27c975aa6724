"""The head that shows a claim best, in one run: where the ledger sends a reader who wants to see for themselves.

An exhibit proves nothing, the verdict rests on all heads of all seeds. It is chosen by a rule that the table states, never by
hand, so that another run has exhibits of its own.
"""

from dataclasses import dataclass
from urllib.parse import urlencode

import pandas as pd

from civilwar.analysis import divergence, gain, taxonomy
from civilwar.runs.reader import Run


@dataclass(frozen=True)
class Exhibit:
    """One claim's head: what it is, and the inspector's state that shows it."""

    claim: str
    chosen: str
    """By what rule, as a noun phrase."""
    layer: int
    query_head: int
    step: int
    metric: str

    @property
    def address(self) -> str:
        """The part of the inspector's address after ``#``."""
        state = {"layer": self.layer, "head": self.query_head, "step": self.step, "metric": self.metric}
        return urlencode(state)


def exhibits(run: Run) -> list[Exhibit]:
    """Exhibits of the claims that one head can show, in the claims' order."""
    last, middle = run.last_step, divergence.middle_layer(run.config)
    norms = divergence.key_norms(run)
    end = norms[norms["step"] == last]
    group = run.config.model.group_size
    dip = divergence.dips(run).set_index("layer").loc[middle]
    spread = divergence.onsets(run).set_index("layer")["end_spread"]
    parted = end[end["layer"] == spread.idxmax()]
    on_texts, on_repeated = (t.groupby(taxonomy.HEAD, as_index=False).mean() for t in taxonomy.scores(run, last))

    def of_kv(rows: pd.DataFrame, column: str, highest: bool) -> tuple[int, int]:
        row = rows.loc[rows[column].idxmax() if highest else rows[column].idxmin()]
        # the first of the query heads that read this KV head
        return int(row["layer"]), int(row["kv_head"]) * group

    def of_query(rows: pd.DataFrame, column: str) -> tuple[int, int]:
        row = rows.loc[rows[column].idxmax()]
        return int(row["layer"]), int(row["query_head"])

    ranks = run.table("probe_kv_heads")
    ranks = ranks[ranks["step"] == last].groupby(["layer", "kv_head"], as_index=False).mean(numeric_only=True)
    coordinate, cloud = "coordinate_participation_ratio", "participation_ratio"
    loudest, parting = of_kv(end, "norm", True), of_kv(parted, "norm", True)
    found = [
        Exhibit("C01", "the middle layer before training", middle, 0, 0, "norm_mean"),
        Exhibit("C02", "the middle layer at its lowest norm", middle, 0, int(dip["dip_step"]), "norm_mean"),
        Exhibit("C03", "the loudest head of the layer that ends most spread out", *parting, last, "norm_mean"),
        Exhibit("C04", "the loudest head of the layer that ends most spread out", *parting, last, "norm_mean"),
        Exhibit("C05", "the loudest head of all, by its entropy", *loudest, last, "entropy_normalised"),
        Exhibit("C06", "the loudest head of all, among all heads", *loudest, last, "entropy_normalised"),
        Exhibit("C07", "the loudest head of all", *loudest, last, "norm_mean"),
        Exhibit("C08", "the quietest head of all", *of_kv(end, "norm", False), last, "norm_mean"),
        Exhibit("C09", "the first layer before training", 0, 0, 0, coordinate),
        Exhibit(
            "C10",
            "the middle layer's head with the fewest dimensions",
            *of_kv(ranks[ranks["layer"] == middle], coordinate, False),
            last,
            coordinate,
        ),
        Exhibit("C11", "the head whose keys extend in the fewest directions", *of_kv(ranks, cloud, False), last, cloud),
    ]
    if run.config.model.qk_norm == "learned":
        trend = gain.frequency_trend(run, draws=1).set_index("layer")["rho"]
        steep = int(trend.idxmin())
        found += [Exhibit("C12", "the layer whose gain falls most with wavelength", steep, 0, last, "norm_mean")]
        settled = gain.settle_steps(run).set_index("layer")["settle_step"].dropna()
        if len(settled):
            late = int(settled.idxmax())
            step = int(settled.max())
            found += [Exhibit("C13", "the layer whose gain settles last, at that step", late, 0, step, "norm_mean")]
    broad = of_query(on_texts, "broad")
    found += [
        Exhibit("C14", "the head that looks at separators most", *of_query(on_texts, "separator"), last, "separator"),
        Exhibit("C15", "the broadest head", *broad, last, "entropy_normalised"),
        Exhibit(
            "C16",
            "the head that finds an earlier copy best",
            *of_query(on_repeated, "retriever"),
            last,
            "duplicate_token_score",
        ),
    ]
    return found

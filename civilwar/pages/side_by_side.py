"""Our run beside the report's, as tables of words: its numbers, ours by its own definitions, and ours by a better measure.

In a model of another depth, layers as far up stand for the report's (`civilwar.analysis.beside`).
"""

import numpy as np
import pandas as pd

from civilwar.analysis import divergence, focus, gain, rank
from civilwar.analysis.beside import REPORTED, final_heads
from civilwar.pages.sentences import large_number
from civilwar.runs.reader import Run

COLUMNS = ["quantity", "report", "ours", "better", "ours_better"]


def table(run: Run) -> pd.DataFrame:
    """One row a quantity: quantity, report, ours (by the report's definition), better (the other measure), ours_better."""
    rows = [*_norm_rows(run), *_rank_rows(run), *_gain_rows(run), *_entropy_rows(run)]
    return pd.DataFrame(rows, columns=COLUMNS)


def _norm_rows(run: Run) -> list[tuple[str, str, str, str, str]]:
    middle = divergence.middle_layer(run.config)
    dip = divergence.dips(run).set_index("layer").loc[middle]
    norms = divergence.key_norms(run)
    ends = _descending(norms[(norms["layer"] == middle) & (norms["step"] == run.last_step)]["norm"])
    start = norms[norms["step"] == 0]["norm"]
    aligned = divergence.alignment(run, [run.last_step])
    aligned = aligned[aligned["layer"] == middle]
    spread = (
        f"{aligned['spread'].iloc[0]:.2f}; chance {aligned['null_median'].iloc[0]:.2f} "
        f"({aligned['null_low'].iloc[0]:.2f} to {aligned['null_high'].iloc[0]:.2f})"
        if len(aligned)
        else UNDEFINED
    )
    reported = REPORTED
    return [
        (
            "key norm at the start",
            f"{reported.start_norm:.1f}",
            f"{start.mean():.2f}",
            "√d_head, by construction",
            f"{np.sqrt(run.config.model.d_head):.2f}",
        ),
        (
            f"lowest key norm of layer {middle}",
            f"{reported.dip_norm:.1f} near step {reported.dip_step:.0f}",
            f"{dip['dip_norm']:.2f} at step {dip['dip_step']:.0f}",
            "weight decay alone at that step",
            _number(dip["decay_only_norm"]),
        ),
        (
            f"key norms of layer {middle} at the end",
            ", ".join(f"{x:.1f}" for x in reported.end_norms),
            ", ".join(f"{x:.1f}" for x in ends),
            "their spread, and what chance alignment with the same gain gives",
            spread,
        ),
    ]


def _rank_rows(run: Run) -> list[tuple[str, str, str, str, str]]:
    ends = rank.ends(run).set_index(["measure", "layer"])
    coordinate, covariance = (ends.loc[m] for m in ("coordinate_participation_ratio", "participation_ratio"))
    rows = [
        (
            "participation ratio at the start, all layers",
            f"{REPORTED.start_rank:.0f}",
            f"{coordinate['start'].mean():.1f}",
            "random directions score by the same measure",
            f"{coordinate['null_isotropic'].iloc[0]:.1f}",
        )
    ]
    layers = rank.shown_layers(run.config.model.n_layers)
    for which, theirs, value in REPORTED.ranks:
        layer = layers[which]
        rows.append(
            (
                f"participation ratio of layer {layer} at the end"
                + (f" (theirs: {theirs})" if layer != theirs else ""),
                f"{value:.1f}",
                f"{coordinate['end'][layer]:.1f}",
                "random directions under the same gain; of the covariance",
                f"{_number(coordinate['null_gain'][layer], 1)}; {covariance['end'][layer]:.1f}",
            )
        )
    return rows


def _gain_rows(run: Run) -> list[tuple[str, str, str, str, str]]:
    middle = divergence.middle_layer(run.config)
    final = run.array("gain")["k_gain"][-1, middle]
    trend = gain.frequency_trend(run, draws=1).set_index("layer")["rho"] if not np.isnan(final).any() else None
    low, high = REPORTED.gains
    return [
        (
            f"gains of layer {middle} at the end",
            f"{low:.2f} to {high:.1f}",
            f"{final.min():.2f} to {final.max():.2f}" if trend is not None else UNDEFINED,
            "their rank correlation with RoPE frequency, slow pairs last",
            _number(trend[middle]) if trend is not None else UNDEFINED,
        )
    ]


def _entropy_rows(run: Run) -> list[tuple[str, str, str, str, str]]:
    heads = final_heads(run)
    loud = heads[heads["norm"] > REPORTED.loud]
    low, high = REPORTED.loud_entropies
    return [
        (
            f"entropy of KV heads with a key norm above {REPORTED.loud:.0f}, nats",
            f"{low:.1f} to {high:.1f}, called near zero",
            f"{_range(loud['entropy_report'])}; {len(loud)} of {len(heads)} heads",
            "of the attention that the model uses",
            _range(loud["entropy"]),
        ),
        (
            "entropy of all KV heads at the end, nats",
            "not said",
            _range(heads["entropy_report"]),
            "of the attention that the model uses",
            _range(heads["entropy"]),
        ),
        (
            "rank correlation of key norm and entropy at the end",
            "negative",
            _number(focus.stratified_rho(heads, "entropy_report")),
            "of the attention that the model uses",
            _number(focus.stratified_rho(heads, "entropy_normalised")),
        ),
    ]


def differences(run: Run) -> pd.DataFrame:
    """What is not the same in the two experiments: what, report, ours."""
    config = run.config
    model, train = config.model, config.train
    rows = [
        ("layers", "22", str(model.n_layers)),
        ("parameters", "88 million", large_number(model.n_parameters)),
        ("tokens", "4 million", large_number(config.n_tokens)),
        ("steps", "488", str(train.steps)),
        ("context, tokens", "2,048", f"{model.context:,}"),
        ("corpus", "not published with it", f"{config.corpus}: {run.manifest['corpus']['documents']:,} documents"),
        ("vocabulary", "49,152, another tokenizer", f"{model.vocab_size:,}, byte-level pairs of the training text"),
        ("Muon", "five coefficient triples (Polar Express)", "one triple, five times, as in PyTorch"),
        (
            "o in the joint matrix",
            "not transposed",
            "transposed, so that every column is a dimension of the residual stream",
        ),
        ("tracking", "in the training precision", "in float32, from the trained precision's keys"),
        ("seeds", "one, unknown", f"one shown here: {config.seed}"),
    ]
    return pd.DataFrame(rows, columns=["what", "report", "ours"])


UNDEFINED = "no value"


def _descending(values: pd.Series) -> list[float]:
    return sorted(values.astype(float), reverse=True)


def _number(value: float, decimals: int = 2) -> str:
    return UNDEFINED if np.isnan(value) else f"{value:.{decimals}f}"


def _range(values: pd.Series) -> str:
    return f"{values.min():.1f} to {values.max():.1f}" if len(values) else "no such head"

"""The robustness map: claims by choices, each cell the verdict that comes out."""

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Patch, Rectangle

from civilwar.names.verdicts import PENDING, VERDICTS, color_of
from civilwar.plots import style

#: A letter for each verdict, so that colour is not all that tells them apart.
CODES = {
    "true by construction": "C",
    "there": "T",
    "there, for another reason": "R",
    "in part": "P",
    "not there": "N",
    "open": "o",
    PENDING.label: "·",
}
#: Space between groups of columns, in columns.
GAP = 0.45


def verdict_map(long: pd.DataFrame, standings: pd.DataFrame, ax: Axes) -> Axes:
    """Rows are claims, columns choices; a cell that decides otherwise than the rules has a frame, one not touched is empty.

    ``long``: `civilwar.evidence.robustness.table`; ``standings``: `civilwar.evidence.robustness.standing`, whose counts stand
    on the right: how many of the choices that touch the claim leave its verdict as it is.
    """
    claims, places = list(standings["id"]), _places(long)
    for row in long.itertuples():
        if row.verdict not in CODES:
            continue
        x, y = places[str(row.choice)], claims.index(str(row.id))
        awaited = row.verdict == PENDING.label
        color = "none" if awaited else color_of(str(row.verdict))
        ax.add_patch(Rectangle((x - 0.48, y - 0.48), 0.96, 0.96, facecolor=color, edgecolor="none", alpha=0.85))
        if row.against == "other":
            ax.add_patch(
                Rectangle((x - 0.43, y - 0.43), 0.86, 0.86, facecolor="none", edgecolor=style.INK, linewidth=1.5)
            )
        text = style.NULL if awaited else "white"
        ax.text(x, y, CODES[str(row.verdict)], ha="center", va="center", fontsize=7.5, color=text)
    last = max(places.values())
    for y, (same, n) in enumerate(zip(standings["same"], standings["choices"], strict=True)):
        ax.text(last + 0.8, y, f"{same}/{n}", va="center", fontsize=7.5, color=style.INK)
    ax.set_xticks(list(places.values()), list(places), rotation=90)
    ax.set_yticks(range(len(claims)), claims)
    ax.tick_params(length=0, labelsize=8)
    ax.xaxis.tick_top()
    ax.grid(visible=False)
    ax.spines[:].set_visible(False)
    ax.set(xlim=(-0.6, last + 2.4), ylim=(len(claims) - 0.4, -0.6))
    _key(long, ax)
    return ax


def _places(long: pd.DataFrame) -> dict[str, float]:
    """Where each column stands: in order, groups a little apart."""
    order = long.drop_duplicates("choice")
    place, before, places = 0.0, None, {}
    for choice, group in zip(order["choice"], order["group"], strict=True):
        place += 0.0 if before is None else 1.0 if group == before else 1.0 + GAP
        places[str(choice)] = place
        before = group
    return places


def _key(long: pd.DataFrame, ax: Axes) -> None:
    present = [name for name in VERDICTS if (long["verdict"] == name).any()]
    handles: list[Patch | Line2D] = [Patch(facecolor=color_of(name), alpha=0.85) for name in present]
    labels = [f"{CODES[name]}  {name}" for name in present]
    handles += [Patch(facecolor="none", edgecolor=style.INK, linewidth=1.5), Line2D([], [], linestyle="")]
    labels += ["decided otherwise than by the rules", f"{CODES[PENDING.label]}  {PENDING.label}"]
    ax.legend(handles, labels, loc="upper center", bbox_to_anchor=(0.45, -0.01), ncol=2)

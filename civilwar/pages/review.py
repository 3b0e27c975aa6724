"""Where each point of the hostile review of the first edition is answered, and what of it is open.

One list. A point says in our words what was objected; its answer, in a sentence, what this edition does about it; the link,
where. What waits for runs says so by itself, until the plan's runs are there. What nobody has done yet is called open.
"""

import html
from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from civilwar.pages.show import show_rows
from civilwar.recipe import plan
from civilwar.runs.reader import Run, find_run

ANSWERED, IN_PART, AWAITED, OPEN = "answered", "answered in part", "awaiting runs", "open"


@dataclass(frozen=True, kw_only=True)
class Point:
    """One objection."""

    id: str
    """Section of the review and number in it."""
    objection: str
    answer: str
    link: str
    """Page of the book and anchor on it, or nothing where it is open altogether."""
    awaits: tuple[str, ...] = ()
    """Groups of the plan (`civilwar.recipe.plan.GROUPS`) whose runs the answer needs."""
    left: str = ""
    """What is not done, and by nobody's run will be; empty where the answer is whole."""


POINTS: tuple[Point, ...] = (
    Point(
        id="A1",
        objection="A test that fails is taken for its opposite, and a correction over everything protects the report.",
        answer="Every criterion holds, fails or is open by its interval, both ways alike, and is corrected within "
        "its claim; the map shows no correction and one over all claims beside it.",
        link="13_robustness#robustness_map",
    ),
    Point(
        id="A2",
        objection="The verdict on the early fall hangs on words that nothing tests.",
        answer="The depth, the step and the norm that the report names are criteria of C02, and compression is "
        "tested by what it predicts and decay does not.",
        link="12_effect_sizes#calm",
    ),
    Point(
        id="A3",
        objection="What is supported in part rests on side criteria.",
        answer="A claim's core is its first criterion; details and arithmetic cannot carry it where the core fails.",
        link="08_verdicts#ledger",
    ),
    Point(
        id="A4",
        objection="A claim whose interval holds its threshold counts as refuted.",
        answer="It is open: a criterion fails only where its whole interval lies on the other side.",
        link="08_verdicts#forest",
    ),
    Point(
        id="A5",
        objection="One word answers three questions: is it there, is it for that reason, can these data tell.",
        answer="Each criterion is thing, reading or premise, and the verdict is made of the three.",
        link="08_verdicts#T_criteria",
    ),
    Point(
        id="B6",
        objection="The null of parting heads ignores the trend of gains with RoPE frequency.",
        answer="A null that deals gains among neighbouring frequencies only stands beside the free one, for C03, "
        "C10, C15 and C18.",
        link="12_effect_sizes#nulls",
    ),
    Point(
        id="B7",
        objection="The onset measures its own threshold.",
        answer="It is shown as a curve over the threshold, and C03 asks for a sensitive and a strict mark at once.",
        link="12_effect_sizes#onset_curve",
    ),
    Point(
        id="B8",
        objection="How large the differences are is not said.",
        answer="The variance of key norms is split between layers, seeds, heads and tokens at every scale, and the "
        "report's own layer is marked among the others.",
        link="12_effect_sizes#variance_split",
    ),
    Point(
        id="B9",
        objection="Query norms, which are recorded, are left out of the focus law.",
        answer="Key norm, query norm and their product stand side by side, each with the other held; C05's reading "
        "asks for what is left of key norm.",
        link="12_effect_sizes#keys_or_queries",
        left="The largest logit of each head, which practitioners watch, is not among what these runs recorded.",
    ),
    Point(
        id="B10",
        objection="The gain says what is turned down, not what is amplified, and the front page cites one scale.",
        answer="The trend is shown within the fast half, with the tails on either side of the median, at every scale.",
        link="12_effect_sizes#suppression",
    ),
    Point(
        id="B11",
        objection="Pure bfloat16 distorts Adam's steps as well as decay, so it is no clean control.",
        answer="No reading rests on it: C02's rests on the control without decay on the gain, and C17 says what the "
        "control is.",
        link="06_controls#control_norms",
        left="Stochastic rounding, or gains in single precision under pure bfloat16, was not run.",
    ),
    Point(
        id="B12",
        objection="Norms in absolute units are held against a model of another size.",
        answer="C07 and C08 have the report's size as a premise; smaller models leave them open.",
        link="08_verdicts#T_criteria",
        awaits=("paper",),
    ),
    Point(
        id="C13",
        objection="The power of the dip test is that for two equal, independent populations.",
        answer="It is simulated for minorities and for heads as alike within a layer and run as measured, and C06 is"
        " decided by that.",
        link="12_effect_sizes#modality_power",
    ),
    Point(
        id="C14",
        objection="Nothing shows that the instrument finds a sink, an induction head or two populations where they exist.",
        answer="Decoders with heads planted by hand are recorded as any run, and every score and label names what was "
        "planted and nothing else; in a grown model, sinks and induction heads are found.",
        link="14_planted#planted",
        left="A control that forms in training.",
    ),
    Point(
        id="C15",
        objection="Sinks and induction were on their way when the run ended.",
        answer="Longer runs are planned that begin as the shorter ones, to four thousand steps small and fifteen "
        "hundred large.",
        link="",
        awaits=("longer", "paper-longer"),
    ),
    Point(
        id="C16",
        objection="Claims that the small models support lose a criterion at the report's size, and the front page does "
        "not say so.",
        answer="The ledger has a column for each scale, the answer is the report's scale's, and it names the claims "
        "whose scales contradict each other.",
        link="08_verdicts#ledger",
        awaits=("paper", "middle"),
    ),
    Point(
        id="D17",
        objection="Pages say that rules came before results; the history cannot show who looked.",
        answer="Rules, estimators and plan have a hash that each run's manifest records; runs of another hash are "
        "exploratory, and a table lists every change with the runs that were there.",
        link="08_verdicts#T_amendments",
    ),
    Point(
        id="E",
        objection="Some numbers cannot be recomputed from the text alone.",
        answer="Every criterion says in full what is averaged over what, in which order, and the glossary defines "
        "each measure.",
        link="08_verdicts#T_criteria",
    ),
    Point(
        id="F",
        objection="Sentences that no reader can follow, and the answer after the method.",
        answer="Answers are one sentence a claim, shown only where the criteria say so.",
        link="08_verdicts#ledger",
    ),
    Point(
        id="G",
        objection="Fresh seeds, and eight for each control, would settle it.",
        answer="They are planned, and decide as soon as they are there; until then exploratory seeds answer so far.",
        link="08_verdicts#runs",
        awaits=("laptop",),
    ),
)


def missing(group: str) -> list[str]:
    """Names of a group's planned runs that are not recorded here, or not complete."""
    names = [config.default_name for config in plan.GROUPS[group].planned()]
    return [name for name in names if not _complete(name)]


def _complete(name: str) -> bool:
    path = find_run(name)
    return path is not None and Run(path).complete


def state(point: Point) -> str:
    """Open where nothing is done; awaiting runs as long as any lack; answered in part where something is left; answered."""
    if point.left and not point.link:
        return OPEN
    if any(missing(group) for group in point.awaits):
        return AWAITED
    return IN_PART if point.left else ANSWERED


def table(points: Sequence[Point] = POINTS) -> pd.DataFrame:
    """One row a point: id, objection, answer, state, left, page."""
    return pd.DataFrame(
        [
            {
                "id": point.id,
                "objection": point.objection,
                "answer": point.answer,
                "state": state(point),
                "left": point.left or "–",
                "page": point.link or "–",
            }
            for point in points
        ]
    )


def show_review(points: Sequence[Point] = POINTS) -> None:
    """Display the table, each answer linked to where it stands; glued as ``picture_review``."""
    data = table(points)
    rows = [_row(point, str(said)) for point, said in zip(points, data["state"], strict=True)]
    show_rows("review", "cw-ledger", ("Point", "What was objected", "What this edition does", "State"), rows, data)


def _row(point: Point, said: str) -> str:
    page, _, anchor = point.link.partition("#")
    where = f' <a href="{html.escape(page)}.html#{html.escape(anchor)}">See there.</a>' if point.link else ""
    left = f"<br><small>Not done: {html.escape(point.left)}</small>" if point.left else ""
    return (
        f'<tr id="review-{point.id}"><td>{point.id}</td><td>{html.escape(point.objection)}</td>'
        f"<td>{html.escape(point.answer)}{where}{left}</td><td>{html.escape(said)}</td></tr>"
    )


def in_words(data: pd.DataFrame) -> str:
    """How many points are answered, await runs, or are open; a sentence."""
    counts = data["state"].value_counts()
    states = (ANSWERED, IN_PART, AWAITED, OPEN)
    return f"Of {len(data)} points: " + ", ".join(f"{counts[name]} {name}" for name in states if name in counts) + "."

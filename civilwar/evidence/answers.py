"""What the evidence says of a claim, in a sentence that can only be shown when the criteria say so.

The rule has one sentence for each verdict that needs words of its own, and each reading one for its failure. Which criteria
fail and which are open is added from the findings, never typed.
"""

from collections.abc import Iterable

from civilwar.evidence.claims import Finding, Verdict
from civilwar.evidence.rule import DECIDING, wanted
from civilwar.names.verdicts import PENDING


def answer(verdict: Verdict) -> str:
    """The answer to one claim: so far where exploratory runs speak, and with what fails or is open."""
    if verdict.verdict == PENDING.label:
        return PENDING.says
    text = " ".join([_sentence(verdict), *_rest(verdict)])
    return f"So far (exploratory runs): {text}" if verdict.exploratory else text


def brief(verdict: Verdict) -> str:
    """The answer without a list of criteria: how many of the claim's parts fail or are open, where that is the answer."""
    if verdict.verdict == PENDING.label:
        return PENDING.says
    said = _sentence(verdict)
    if verdict.verdict not in ("in part", "open") or untold(verdict):
        return said
    parts = [f.outcome for f in verdict.findings if f.criterion.role in ("thing", "reading")]
    counts = [(parts.count("fails"), "against it"), (parts.count("open"), "open")]
    return f"{said} Of its {len(parts)} parts, {' and '.join(f'{n} {what}' for n, what in counts if n)}."


def headline(verdict: Verdict) -> Finding:
    """The finding to show first: what the verdict turns on."""
    turning = {"there, for another reason": ("reading",), "in part": ("thing",)}.get(verdict.verdict, ())
    chosen = [f for f in verdict.findings if f.criterion.role in turning and f.outcome == "fails"]
    if verdict.verdict == "open" and not untold(verdict):
        chosen = [f for f in verdict.findings if f.criterion.role in ("thing", "reading") and f.outcome == "open"]
    core = [f for f in verdict.findings if f.criterion.role in ("construction", "thing")]
    return (chosen or list(untold(verdict)) or core)[0]


def untold(verdict: Verdict) -> tuple[Finding, ...]:
    """Premises that do not hold, where that is why the claim is open."""
    if verdict.verdict != "open":
        return ()
    return tuple(f for f in verdict.findings if f.criterion.role == "premise" and not f.holds)


def rungs_part(verdict: Verdict) -> bool:
    """Whether any criterion holds at one rung that can tell and fails at another; one that is open contradicts none."""
    telling = [one.findings for one in verdict.at if one.tells]
    return any(
        {"holds", "fails"} <= {finding.outcome for finding in of_rungs}
        for of_rungs in zip(*telling, strict=True)
        if of_rungs[0].criterion.role in DECIDING
    )


def _sentence(verdict: Verdict) -> str:
    if verdict.verdict == "in part":
        return "The core of it is there."
    if verdict.verdict == "open":
        return "These runs cannot tell." if untold(verdict) else "Not settled."
    said = verdict.rule.answers[verdict.verdict]
    if verdict.verdict == "there, for another reason":
        return " ".join([said, *(f.criterion.failed for f in verdict.findings if _fails_as_reading(f))])
    return said


def _fails_as_reading(finding: Finding) -> bool:
    return finding.criterion.role == "reading" and finding.outcome == "fails"


def _rest(verdict: Verdict) -> list[str]:
    """Which deciding criteria fail and which are open; nothing where the sentence says it all."""
    if verdict.verdict in ("there", "true by construction"):
        return []
    if lacking := untold(verdict):
        return [f"Lacking: {_listed(lacking)}."]
    shown = ("thing", "construction") if verdict.verdict == "not there" else ("thing", "reading")
    deciding = [finding for finding in verdict.findings if finding.criterion.role in shown]
    parts = {
        "Against it": [finding for finding in deciding if finding.outcome == "fails"],
        "Open": [finding for finding in deciding if finding.outcome == "open"],
    }
    return [f"{head}: {_listed(found)}." for head, found in parts.items() if found]


def _listed(findings: Iterable[Finding]) -> str:
    return "; ".join(f"{f.criterion.label} (asked: {wanted(f.criterion)})" for f in findings)

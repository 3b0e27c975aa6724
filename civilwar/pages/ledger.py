"""The ledger and its trail as HTML: from a verdict to the figure, its data, the code and the run in three clicks."""

import base64
import html
import json
import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict

import pandas as pd
from IPython.display import HTML, display
from myst_nb import glue as myst_glue

from civilwar.errors import RunLacks
from civilwar.evidence import scales
from civilwar.evidence.answers import answer, headline
from civilwar.evidence.claims import AtRung, Finding, Verdict, decide
from civilwar.evidence.exhibits import Exhibit, exhibit, exhibits
from civilwar.evidence.rule import wanted
from civilwar.evidence.rules import RULES, shown_on
from civilwar.evidence.tables import ledger
from civilwar.inspector.widget import HeadInspector
from civilwar.names.verdicts import PENDING, color_of
from civilwar.pages.numbers import typographic
from civilwar.pages.sentences import parameters_in_words
from civilwar.pages.show import show_inspector, show_rows
from civilwar.runs.collection import Sweep
from civilwar.runs.reader import Run

#: The pages with the head inspector and with the ledger, as seen from the other phases' pages.
INSPECTOR, LEDGER = "09_inspector.html", "08_verdicts.html"


def show_ledger(verdicts: Sequence[Verdict], run: Run) -> None:
    """Display the table of all verdicts, each linked to the figure and to a head of ``run`` that shows it.

    Glued as ``picture_ledger``; and a short form for other pages as ``picture_glance``.
    """
    heads = {exhibit.claim: exhibit for exhibit in exhibits(run)}
    rows = [_row(verdict, heads.get(verdict.rule.id)) for verdict in verdicts]
    rungs = [html.escape(one.preset) for one in verdicts[0].at] if verdicts else []
    columns = ("Id", "The report says", "Answer", *rungs, "What it turns on")
    show_rows("ledger", "cw-ledger", columns, rows, ledger(verdicts))
    myst_glue("picture_glance", HTML(_glance(verdicts, heads)), display=False)


def show_exhibits(verdicts: Sequence[Verdict], run: Run) -> None:
    """Display which head of ``run`` shows which claim, with a link that turns the page's inspector to it."""
    statements = {verdict.rule.id: verdict.rule.statement for verdict in verdicts}
    found = exhibits(run)
    rows = [
        f"<tr><td>{exhibit.claim}</td><td>{html.escape(statements[exhibit.claim])}</td>"
        f'<td><a href="#{html.escape(exhibit.address)}">{html.escape(exhibit.chosen)}</a></td></tr>'
        for exhibit in found
    ]
    show_rows("exhibits", "cw-ledger", ("Id", "The report says", "See"), rows, pd.DataFrame(map(asdict, found)))


def show_exhibit(run: Run, claim: str, name: str, views: Sequence[str], metric: str | None = None) -> None:
    """Display an inspector, reduced to ``views``, at the head of ``run`` that shows a claim; glued as ``picture_{name}``.

    ``metric``: what to colour, by default the exhibit's own. Raises KeyError where no head of this run can show the claim.
    """
    shown = exhibit(run, claim)
    inspector = HeadInspector(
        run, layer=shown.layer, query_head=shown.query_head, metric=metric or shown.metric, views=views
    )
    display(HTML(f'<p class="cw-said"><a href="{INSPECTOR}">The inspector</a> has all views.</p>'))
    show_inspector(inspector, name)


def _glance(verdicts: Sequence[Verdict], heads: Mapping[str, Exhibit]) -> str:
    """All verdicts as a list without numbers: claim, verdict, and the head to see."""
    rows = []
    for verdict in verdicts:
        claim, seen = verdict.rule.id, _seen(heads.get(verdict.rule.id), "see")
        rows.append(
            f'<li><a href="{LEDGER}#{claim}">{claim}</a> <span>{html.escape(verdict.rule.statement)}</span> '
            f"{_judged(verdict)} {seen}</li>"
        )
    return f'<ul class="cw-glance">{"".join(rows)}</ul>'


def _seen(exhibit: Exhibit | None, text: str) -> str:
    if exhibit is None:
        return ""
    said = f"{text} {exhibit.chosen} for {exhibit.claim} in the head inspector"
    return f'<a href="{INSPECTOR}#{html.escape(exhibit.address)}" aria-label="{html.escape(said)}">{text}</a>'


def chip(verdict: str) -> str:
    """A verdict's name behind a mark in its colour."""
    return (
        f'<span class="cw-chip"><span class="cw-dot" style="background:{color_of(verdict)}" aria-hidden="true"></span>'
        f"{html.escape(verdict)}</span>"
    )


def _judged(verdict: Verdict) -> str:
    """The verdict, and that it is of exploratory runs where it is."""
    so_far = " <small>so far</small>" if verdict.exploratory and verdict.verdict != PENDING.label else ""
    return f'<span class="cw-judged">{chip(verdict.verdict)}{so_far}</span>'


def shown_scale(run: Run) -> str:
    """The run shown, by its size: one seed, so no interval and no verdict."""
    return f"{parameters_in_words(run.config.model.n_parameters)}, seed {run.config.seed}"


def _row(verdict: Verdict, exhibit: Exhibit | None) -> str:
    page, figure = verdict.rule.figure
    finding = headline(verdict)
    asked = typographic(wanted(finding.criterion))
    rungs = "".join(f"<td>{_rung(one)}</td>" for one in verdict.at)
    return (
        f'<tr id="{verdict.rule.id}"><td><a href="{page}.html#{figure}">{verdict.rule.id}</a></td>'
        f"<td>{html.escape(verdict.rule.statement)}<br><small>Rests on: {html.escape(verdict.rule.reported)}</small></td>"
        f"<td>{_judged(verdict)}<br>{html.escape(typographic(answer(verdict)))} {_seen(exhibit, 'see a head')}</td>{rungs}"
        f"<td>{written(finding)}, {html.escape(finding.preset)}<br><small>{html.escape(finding.criterion.says)}; asked: {asked}"
        f"; null: {html.escape(verdict.rule.null)}</small></td></tr>"
    )


def _rung(one: AtRung) -> str:
    """A rung's own verdict, and how many seeds of which standing are behind it."""
    if not one.n_seeds:
        return chip(PENDING.label)
    standing = "exploratory " if one.exploratory else ""
    return f"{chip(one.verdict)}<br><small>{one.n_seeds} {standing}seed{'s' if one.n_seeds > 1 else ''}</small>"


def written(finding: Finding) -> str:
    """A finding's estimate, interval and n; a dash where it is undefined."""
    if math.isnan(finding.value):
        return "–"
    digits = _digits(finding.value)
    text = f"{finding.value:{digits}}"
    if not math.isnan(finding.low):
        text += f" ({finding.low:{digits}} to {finding.high:{digits}})"
    return typographic(f"{text}, n = {finding.n}")


def rounded(value: float) -> str:
    """A number with as many digits as its size deserves; a dash where it is undefined."""
    return "–" if math.isnan(value) else typographic(f"{value:{_digits(value)}}")


def _digits(value: float) -> str:
    return ".0f" if abs(value) >= 100 else ".1f" if abs(value) >= 10 else ".2f"


def show_over_seeds(sweep: Sweep, run: Run, page: str) -> None:
    """Display the criteria of every claim whose figure stands on ``page``, over the sweep's seeds and in ``run``.

    Raises RunLacks for a watched run: the claims are about the report's model, and so is the sweep.
    """
    if run.watched:
        raise RunLacks(f"the sweep's seeds are of the report's model, and {run.name} is of another one.")
    quoted = "".join(
        f"<li>{rule.id}: {html.escape(rule.statement)} <small>Rests on: {html.escape(rule.reported)}</small></li>"
        for rule in RULES
        if rule.id in shown_on(page)
    )
    display(HTML(f'<p class="cw-said">What the report says of this:</p><ul class="cw-quoted">{quoted}</ul>'))
    display(
        HTML(
            f'<p class="cw-said">What this page measures in one run, as the <a href="{LEDGER}">verdicts</a> measure it: '
            f"over {'the exploratory' if sweep.exploratory else 'the fresh'} seeds of the sweep, with intervals that hold "
            "together for each claim, and in the run shown here. A number of one run that falls on the other side of what was "
            "asked is marked.</p>"
        )
    )
    show_scales(sweep, run, shown_on(page))


def show_scales(sweep: Sweep, run: Run, claims: Collection[str], name: str = "scales") -> None:
    """Display the criteria of ``claims`` over the sweep's seeds and in ``run``; those on different sides are marked."""
    table = scales.beside(decide(sweep, [rule for rule in RULES if rule.id in claims]), run)
    rows = [_scale_row(row) for _, row in table.iterrows()]
    columns = ("Id", "Criterion", "Asked", "Over seeds", html.escape(shown_scale(run)))
    show_rows(name, "cw-ledger", columns, rows, table)


def _scale_row(row: pd.Series) -> str:
    interval = f"<small>({rounded(row['low'])} to {rounded(row['high'])}, n = {row['n']})</small>"
    other = " <small><strong>other side</strong></small>" if row["same_side"] is False else ""
    return (
        f"<tr><td>{row['id']}</td><td>{html.escape(row['says'])}</td><td>{html.escape(typographic(row['wanted']))}</td>"
        f"<td>{rounded(row['sweep'])} {interval}</td><td>{rounded(row['shown'])}{other}</td></tr>"
    )


def show_runs(runs: Sequence[Run]) -> None:
    """Display every run behind the page once, with its manifest to download."""
    runs = list({run.name: run for run in runs}.values())
    columns = ("run", "commit", "minutes", "held-out loss", "manifest")
    show_rows("runs", "cw-table", columns, map(_run_row, runs), runs_table(runs))


def runs_table(runs: Sequence[Run]) -> pd.DataFrame:
    """One row a run: run, variant, seed, commit, minutes, held_out_loss (nats, mean over probe texts at the end)."""
    return pd.DataFrame(
        [
            {
                "run": run.name,
                "variant": run.config.variant,
                "seed": run.config.seed,
                "commit": (run.manifest.get("commit") or "unknown")[:12],
                "minutes": run.manifest.get("timings", {}).get("wall_seconds", math.nan) / 60,
                "held_out_loss": run.table("probe_loss").groupby("step")["loss"].mean().iloc[-1],
            }
            for run in runs
        ]
    )


def _run_row(run: Run) -> str:
    content = base64.b64encode(json.dumps(run.manifest, sort_keys=True).encode()).decode()
    row = runs_table([run]).iloc[0]
    name = html.escape(run.name)
    return (
        f"<tr><td>{name}</td><td><code>{html.escape(row['commit'])}</code></td>"
        f"<td>{row['minutes']:.1f}</td><td>{row['held_out_loss']:.3f}</td>"
        f'<td><a download="{name}.json" href="data:application/json;base64,{content}">JSON</a></td></tr>'
    )

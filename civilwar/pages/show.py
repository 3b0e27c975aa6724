"""Show a figure, a table, a sentence or the head inspector in a notebook and in the page made of it.

A figure goes into the page as SVG whose ink is the page's own text colour, with an alternative text, a caption, and its
data as CSV behind a link. Everything travels inside the page, so it works offline and from a file.
"""

import html
import io
import re
from collections.abc import Iterable, Mapping, Sequence
from urllib.parse import quote

import matplotlib as mpl
import matplotlib.pyplot as plt
import pandas as pd
from IPython.display import HTML, display
from matplotlib.figure import Figure
from myst_nb import glue as myst_glue

from civilwar.inspector.widget import HeadInspector
from civilwar.pages.numbers import typographic
from civilwar.pages.outlines import fewer_points
from civilwar.pages.spreadsheet import csv_text
from civilwar.pages.tables import table_html
from civilwar.plots.narrow import narrow
from civilwar.plots.style import INK
from civilwar.runs.reader import Run

#: Where the book lists the runs that its figures were drawn from, with their manifests.
RUNS_PAGE = "08_verdicts.html#runs"


def show(
    figure: Figure,
    data: pd.DataFrame | Mapping[str, pd.DataFrame],
    name: str,
    title: str,
    alt: str,
    caption: str = "",
    *,
    runs: Sequence[Run],
) -> None:
    """Display a figure with its take-away as title, a caption, and its data a click away; glue it under ``name``.

    Args:
        figure: closed afterwards.
        data: what was drawn; several tables become several links.
        name: of the glued figure and of the downloaded files.
        title: the take-away, one sentence.
        alt: what the picture shows, for those who cannot see it.
        caption: how to read it.
        runs: what it was drawn from; none where it shows no run.
    """
    tables = {"": data} if isinstance(data, pd.DataFrame) else dict(data)
    links = " ".join([*(csv_link(name, suffix, table) for suffix, table in tables.items()), _runs_link(runs)])
    page = HTML(
        f'<figure class="cw-figure" id="{html.escape(name)}">'
        f'<p class="cw-title">{html.escape(typographic(title))}</p>'
        f"{_in_two_forms(figure, alt)}"
        f"<figcaption>{html.escape(caption)}</figcaption>"
        f'<p class="cw-links">{links}</p></figure>'
    )
    plt.close(figure)
    # displayed and glued at once: a second output would double the page
    myst_glue(f"picture_{name}", page, display=True)


def _in_two_forms(figure: Figure, alt: str) -> str:
    """The figure as wide as a page's column, and laid out again for a phone; the book's style shows one of them."""
    wide = inline_svg(figure, alt)
    narrow(figure)
    # marks of its own, so that neither form refers to a part of the one that is hidden
    with mpl.rc_context({"svg.hashsalt": "civilwar-narrow"}):
        small = inline_svg(figure, alt)
    return f'<div class="cw-wide">{wide}</div><div class="cw-narrow" style="display: none">{small}</div>'


def _runs_link(runs: Sequence[Run]) -> str:
    """One run by its name and the first digits of its configuration's hash, several by their number."""
    distinct = {run.name: run.config.hash for run in runs}
    if not distinct:
        return ""
    (name, config_hash), *others = distinct.items()
    said = f"{len(distinct)} runs" if others else f"Run {name} · {config_hash[:8]}"
    return f'<a class="cw-runs" href="{RUNS_PAGE}">{html.escape(said)}</a>'


def show_inspector(inspector: HeadInspector, name: str) -> None:
    """Display a head inspector: alive in a kernel, and as an element that the book's script brings to life; glued.

    The widget and the element are two forms of one output: a notebook shows the first, a published page keeps the second.
    """
    figure = inspector.still()
    page = inspector.to_html(inline_svg(figure, inspector.description()))
    plt.close(figure)
    myst_glue(f"picture_{name}", _TwoForms(inspector, f'<div id="{html.escape(name)}">{page}</div>'), display=True)


class _TwoForms:
    """A widget and the HTML that stands for it in a page without a kernel."""

    def __init__(self, widget: HeadInspector, page: str) -> None:
        self._widget, self._page = widget, page

    def _repr_mimebundle_(self, **options: object) -> tuple[dict[str, object], dict[str, object]]:
        # anywidget gives None where there is no front end at all
        data, metadata = self._widget._repr_mimebundle_() or ({}, {})
        return {**data, "text/html": self._page}, metadata


def show_table(
    table: pd.DataFrame,
    name: str,
    title: str,
    decimals: Mapping[str, int] | int = 2,
    words: bool = False,
    telling: str | None = None,
) -> None:
    """Display a small table with a title and its data as CSV, and glue it; undefined values are shown as a dash.

    A long one shows its most telling rows, those with the largest ``telling``, and all of them a click away.
    ``words``: its cells are text to read, so they begin on the left and wrap.
    """
    body = table_html(table, name, decimals, words, telling)
    page = HTML(
        f'<figure class="cw-figure"><p class="cw-title">{html.escape(typographic(title))}</p>{body}'
        f'<p class="cw-links">{csv_link(name, "", table)}</p></figure>'
    )
    myst_glue(f"picture_{name}", page, display=True)


def show_rows(name: str, look: str, columns: Sequence[str], rows: Iterable[str], data: pd.DataFrame) -> None:
    """Display table rows that are HTML already, with ``data`` as CSV below; glued as ``picture_{name}``.

    Args:
        name: of the glued table and of the downloaded file.
        look: CSS class of the table.
        columns: HTML of the table's head.
        rows: a ``<tr>`` each.
        data: what the rows show, for the download.
    """
    head = "".join(f"<th>{column}</th>" for column in columns)
    page = (
        f'<figure class="cw-figure" id="{name}"><div class="cw-scroll" tabindex="0"><table class="{look} dataframe">'
        f"<thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table></div>"
        f'<p class="cw-links">{csv_link(name, "", data)}</p></figure>'
    )
    myst_glue(f"picture_{name}", HTML(page), display=True)


def say(text: str) -> None:
    """Display one paragraph, in place of a figure that cannot be drawn."""
    display(HTML(f'<p class="cw-note">{html.escape(typographic(text))}</p>'))


def inline_svg(figure: Figure, alt: str) -> str:
    """The figure as an SVG element with an alternative text: the same bytes each time it is drawn."""
    buffer = io.StringIO()
    # no date: the same run gives the same page, byte for byte
    figure.savefig(buffer, format="svg", bbox_inches="tight", metadata={"Date": None, "Creator": None})
    svg = buffer.getvalue()
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    # a hundredth of a point cannot be seen; a millionth of one makes a page of many lines half as large again
    svg = re.sub(r'(?<= [dxy]=")[^"]+', lambda given: re.sub(r"(\.\d\d)\d+", r"\1", given.group()), svg)
    svg = fewer_points(svg).replace(INK, "currentColor")
    head, _, rest = svg.partition(">")
    return f'{head} role="img" aria-label="{html.escape(alt)}">{rest}'


def csv_link(name: str, suffix: str, table: pd.DataFrame) -> str:
    """A link that downloads ``table`` as CSV, the data inside the page."""
    file = f"{name}_{suffix}.csv" if suffix else f"{name}.csv"
    # for numbers an eighth longer than the file itself; as base64 it would be a third
    content = quote(csv_text(table), safe=",")
    label = f"Data: {suffix} (CSV)" if suffix else "Data (CSV)"
    return f'<a download="{html.escape(file)}" href="data:text/csv;charset=utf-8,{content}">{html.escape(label)}</a>'

"""Head inspectors on the book's pages: their script and style where a page has one, and their runs' data once for all pages.

A notebook shows an inspector as an element that names its run. This extension finds those elements when pages are written,
and puts beside the pages what they ask for; nothing of it is committed. A run that is not there is a warning, so that a
strict build fails instead of leaving dead controls.
"""

import html
import re
from pathlib import Path

from sphinx.application import Sphinx
from sphinx.util import logging
from sphinx.util.typing import ExtensionMetadata

from civilwar.errors import RunError
from civilwar.inspector import bundle
from civilwar.inspector.of_run import payload_of_run
from civilwar.inspector.static import MARK, MARK_OTHERS, write_scripts
from civilwar.runs.reader import open_run

logger = logging.getLogger(__name__)

SCRIPT, STYLE = "civilwar-inspector.js", "civilwar-inspector.css"
FOLDER = "inspector"


def _runs_in(body: str) -> set[str]:
    """Names of the runs that a page's inspectors show or offer for comparison."""
    found: set[str] = set()
    for element in re.findall(rf'<div class="cw-inspector" {MARK}="[^>]+>', body):
        given = dict(re.findall(r'(data-\w+)="([^"]*)"', element))
        found.add(html.unescape(given[MARK]))
        found |= set(html.unescape(given.get(MARK_OTHERS, "")).split())
    return found


def _write_code(app: Sphinx) -> None:
    # before the pages, since Sphinx marks the files they load with a checksum
    if app.builder.format == "html":
        target = Path(app.outdir) / "_static"
        target.mkdir(parents=True, exist_ok=True)
        (target / SCRIPT).write_text(bundle.script(), encoding="utf-8")
        (target / STYLE).write_text(bundle.style(), encoding="utf-8")
        app.civilwar_runs = set()  # type: ignore[attr-defined] # Sphinx gives extensions no place of their own per build


def _equip(app: Sphinx, pagename: str, templatename: str, context: dict[str, object], doctree: object) -> None:
    # on paper the still picture is all there is
    shown = set() if app.builder.name == "singlehtml" else _runs_in(str(context.get("body", "")))
    if shown:
        app.civilwar_runs |= shown  # type: ignore[attr-defined]
        app.add_js_file(SCRIPT, loading_method="defer")
        app.add_css_file(STYLE)


def _write_data(app: Sphinx, exception: Exception | None) -> None:
    if exception is not None or app.builder.format != "html":
        return
    for name in sorted(app.civilwar_runs):  # type: ignore[attr-defined]
        try:
            write_scripts(payload_of_run(open_run(name)), Path(app.outdir) / "_static" / FOLDER)
        except RunError as error:
            logger.warning("an inspector shows run %s: %s", name, error, type="civilwar", subtype="inspector")


def setup(app: Sphinx) -> ExtensionMetadata:
    app.connect("builder-inited", _write_code)
    app.connect("html-page-context", _equip)
    app.connect("build-finished", _write_data)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": False}

"""Tables of what things are called, out of ``civilwar.names``: prose repeats no label by hand.

Directive ``{names} variants``, ``kinds``, ``verdicts``, ``measures`` or ``claims``, the report's: a row a record, in the order
of the records, those with a colour behind a mark in it. Any other argument is a warning, so that a strict build fails.
"""

from collections.abc import Callable, Mapping, Sequence
from types import ModuleType
from typing import Any

from docutils import nodes
from docutils.nodes import Node
from sphinx.application import Sphinx
from sphinx.util import logging
from sphinx.util.docutils import SphinxDirective
from sphinx.util.typing import ExtensionMetadata

from civilwar.evidence import rules
from civilwar.names import kinds, measures, variants, verdicts

logger = logging.getLogger(__name__)

Cell = Callable[[Any], list[Node]]
OWNERS = {"query_head": "query head", "kv_head": "KV head"}


def _text(attribute: str) -> Cell:
    return lambda record: [nodes.Text(getattr(record, attribute))]


def _marked(record: Any) -> list[Node]:
    """The label behind a mark in the record's colour, as the ledger shows verdicts."""
    dot = f'<span class="cw-dot" style="background:{record.color}" aria-hidden="true"></span>'
    return [nodes.raw("", dot, format="html"), nodes.Text(record.label)]


def _key(record: Any) -> list[Node]:
    return [nodes.literal("", record.key)]


def _owner(record: Any) -> list[Node]:
    return [nodes.Text(OWNERS[record.owner])]


def _tested(rule: Any) -> list[Node]:
    """The page whose figure shows the claim, with a link to the figure."""
    page, figure = rule.figure
    link = nodes.reference("", rule.id, refuri=f"phases/{page}.html#{figure}", internal=True)
    return [link]


#: Argument -> (module, its records, heading -> cell).
TABLES: dict[str, tuple[ModuleType, Mapping[str, Any], dict[str, Cell]]] = {
    "variants": (
        variants,
        variants.VARIANTS,
        {"Variant": _key, "In figures": _marked, "Change": _text("says")},
    ),
    "kinds": (
        kinds,
        kinds.KINDS,
        {"Kind": _marked, "In maps": _text("code"), "Attends to": _text("says"), "Threshold": _text("threshold")},
    ),
    "verdicts": (
        verdicts,
        verdicts.VERDICTS | {verdicts.PENDING.label: verdicts.PENDING},
        {"Verdict": _marked, "What it says": _text("says")},
    ),
    "measures": (
        measures,
        measures.MEASURES,
        {"Measure": _text("label"), "Of a": _owner, "Unit": _text("unit"), "What it is": _text("says")},
    ),
    "claims": (
        rules,
        {rule.id: rule for rule in rules.RULES},
        {"Tested": _tested, "The report says": _text("statement"), "It rests on": _text("reported")},
    ),
}


def table(headings: Sequence[str], rows: Sequence[Sequence[list[Node]]]) -> nodes.table:
    """A table of cells, each a list of inline nodes."""
    group = nodes.tgroup("", *(nodes.colspec(colwidth=1) for _ in headings), cols=len(headings))
    group += nodes.thead("", _row([[nodes.Text(heading)] for heading in headings]))
    group += nodes.tbody("", *(_row(row) for row in rows))
    return nodes.table("", group, classes=["colwidths-auto"])


def _row(cells: Sequence[list[Node]]) -> nodes.row:
    return nodes.row("", *(nodes.entry("", nodes.paragraph("", "", *cell)) for cell in cells))


class NamesDirective(SphinxDirective):
    """``{names} variants`` and the like."""

    required_arguments = 1
    has_content = False

    def run(self) -> list[Node]:
        wanted = self.arguments[0]
        if wanted not in TABLES:
            expected = ", ".join(TABLES)
            # or the next build would take the broken page from its cache, without a warning
            self.env.note_reread()
            logger.warning(
                "no table of names %r: expected one of %s.",
                wanted,
                expected,
                location=(self.env.docname, self.lineno),
                type="civilwar",
                subtype="names",
            )
            return [nodes.paragraph("", f"[{wanted}]")]
        module, records, columns = TABLES[wanted]
        self.env.note_dependency(str(module.__file__))
        return [table(list(columns), [[cell(record) for cell in columns.values()] for record in records.values()])]


def setup(app: Sphinx) -> ExtensionMetadata:
    app.add_directive("names", NamesDirective)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}

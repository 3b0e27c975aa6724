"""The front page's cards, a card a phase notebook, in the order of the table of contents.

Directive ``{phases}`` makes them out of what each executed notebook says of itself in its metadata::

    "card": {"title": "1 · Divergence", "question": "Do the norms of a layer's heads part?"}

A notebook without that gets a card with its heading and no question. So a new notebook needs no line on the front page.
"""

import json
from pathlib import Path

from docutils.nodes import Element, Node
from docutils.statemachine import StringList
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective
from sphinx.util.typing import ExtensionMetadata

FOLDER = "phases/"


def card(document: str, notebook: Path) -> list[str]:
    """Lines of MyST for the card of one notebook, which links to its page."""
    content = json.loads(notebook.read_text(encoding="utf-8"))
    heading = "".join(content["cells"][0]["source"]).partition("\n")[0].removeprefix("# ")
    said = content["metadata"].get("card", {})
    title, question = said.get("title", heading), said.get("question", "")
    return [f":::{{grid-item-card}} {title}", f":link: {document}", ":link-type: doc", question, ":::", ""]


class PhasesDirective(SphinxDirective):
    """``{phases}``: a grid of cards."""

    has_content = False

    def run(self) -> list[Node]:
        lines = ["::::{grid} 1 1 2 2", ":gutter: 3", ""]
        for document in self.config.external_site_map.root.child_files():
            if document.startswith(FOLDER):
                notebook = Path(self.env.srcdir) / f"{document}.ipynb"
                self.env.note_dependency(str(notebook))
                # absolute, so that it does not matter which page the cards are on
                lines += card(f"/{document}", notebook)
        parsed = Element()
        self.state.nested_parse(StringList([*lines, "::::"], self.get_source_info()[0]), self.content_offset, parsed)
        return parsed.children


def setup(app: Sphinx) -> ExtensionMetadata:
    app.add_directive("phases", PhasesDirective)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}

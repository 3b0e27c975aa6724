"""The front page's cards and answers, one a phase notebook, in the order of the table of contents.

Directive ``{phases}`` makes cards of each executed notebook's heading, and of the question in its metadata::

    "card": {"question": "Do the norms of a layer's heads part?"}

Directive ``{answers}`` lists the sentence that each page opens with, what its first cell of prose said of the run. So a new
notebook needs no line on the front page.
"""

import json
from pathlib import Path
from typing import Any

from docutils.nodes import Element, Node
from docutils.statemachine import StringList
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective
from sphinx.util.typing import ExtensionMetadata

FOLDER = "phases/"


def heading(content: dict[str, Any]) -> str:
    """The page's title."""
    return "".join(content["cells"][0]["source"]).partition("\n")[0].removeprefix("# ")


def card(document: str, content: dict[str, Any]) -> list[str]:
    """Lines of MyST for the card of one notebook, which links to its page."""
    question = content["metadata"].get("card", {}).get("question", "")
    return [f":::{{grid-item-card}} {heading(content)}", f":link: {document}", ":link-type: doc", question, ":::", ""]


def answer(document: str, content: dict[str, Any]) -> list[str]:
    """A list's item: the page's link, and what its first prose says. Empty where it has none."""
    for cell in content["cells"]:
        for output in cell.get("outputs", []):
            if said := "".join(output.get("data", {}).get("text/markdown", "")):
                first = said.partition("\n\n")[0].replace("**", "")
                return [f"- [{heading(content)}]({document}.ipynb): {first}"]
    return []


class _OfPhases(SphinxDirective):
    """What is made of every phase notebook's content."""

    has_content = False

    def contents(self) -> list[tuple[str, dict[str, Any]]]:
        """(document, content) in the order of the table of contents."""
        found = []
        for document in self.config.external_site_map.root.child_files():
            if document.startswith(FOLDER):
                notebook = Path(self.env.srcdir) / f"{document}.ipynb"
                self.env.note_dependency(str(notebook))
                # absolute, so that it does not matter which page the links are on
                found.append((f"/{document}", json.loads(notebook.read_text(encoding="utf-8"))))
        return found

    def parsed(self, lines: list[str]) -> list[Node]:
        parsed = Element()
        self.state.nested_parse(StringList(lines, self.get_source_info()[0]), self.content_offset, parsed)
        return parsed.children


class PhasesDirective(_OfPhases):
    """``{phases}``: a grid of cards."""

    def run(self) -> list[Node]:
        cards = [line for phase in self.contents() for line in card(*phase)]
        return self.parsed(["::::{grid} 1 1 2 2", ":gutter: 3", "", *cards, "::::"])


class AnswersDirective(_OfPhases):
    """``{answers}``: a list of what the pages answer."""

    def run(self) -> list[Node]:
        return self.parsed([line for phase in self.contents() for line in answer(*phase)])


def setup(app: Sphinx) -> ExtensionMetadata:
    app.add_directive("phases", PhasesDirective)
    app.add_directive("answers", AnswersDirective)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}

"""Directive ``{api}``: every name that ``civilwar`` offers, with its signature and docstring, by Sphinx's autodoc.

The names are those of the package's stub, so that a new one needs no line here.
"""

import inspect
from pathlib import Path

from docutils import nodes
from docutils.nodes import Node
from docutils.parsers.rst import Parser
from docutils.utils import new_document
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective
from sphinx.util.typing import ExtensionMetadata

import civilwar


def directive(name: str) -> list[str]:
    """Lines of reStructuredText that document one name, as it is imported."""
    offered = getattr(civilwar, name)
    kind = "autofunction" if inspect.isroutine(offered) else "autoclass"
    options = ["   :members:", "   :exclude-members: __init__, __new__"] * (kind == "autoclass")
    return [f".. {kind}:: civilwar.{name}", *options, ""]


class ApiDirective(SphinxDirective):
    """``{api}``."""

    has_content = False

    def run(self) -> list[Node]:
        for source in Path(civilwar.__file__).parent.rglob("*.py"):
            self.env.note_dependency(str(source))
        lines = [line for name in sorted(civilwar.__all__, key=str.lower) for line in directive(name)]
        # the pages are written in Markdown, docstrings in reStructuredText
        settings = self.state.document.settings
        document = new_document(self.get_source_info()[0], settings)
        document.reporter = self.state.document.reporter
        Parser().parse("\n".join(lines), document)
        return [child for child in document.children if not isinstance(child, nodes.system_message)]


def setup(app: Sphinx) -> ExtensionMetadata:
    app.setup_extension("sphinx.ext.autodoc")
    app.setup_extension("sphinx.ext.napoleon")
    app.add_directive("api", ApiDirective)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}

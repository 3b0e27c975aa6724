"""Notebooks' links to the glossary become its terms, so that one text reads the same in JupyterLab and in the book.

A notebook links ``[key norms](../book/glossary.md#term-key-norm)``, as from its folder ``notebooks/``: JupyterLab and GitHub
follow that. In the book the link is a reference to the term, with its definition in the margin. Links to other pages of
``../book/`` become links from the notebook's place in the book. A term that the glossary does not have is a warning, so that
a strict build fails.
"""

import re
from pathlib import Path

from sphinx.application import Sphinx
from sphinx.util import logging
from sphinx.util.typing import ExtensionMetadata

logger = logging.getLogger(__name__)

FOLDER = "phases/"
_TERM = re.compile(r"\[([^\]\[]+)\]\(\.\./book/glossary\.md#term-([a-z0-9-]+)\)")


def slug(term: str) -> str:
    """The end of a term's address in the glossary."""
    return re.sub(r"[^a-z0-9]+", "-", term.lower()).strip("-")


def terms_of(glossary: str) -> dict[str, str]:
    """Slug -> term, of the source of the glossary's page."""
    blocks = re.findall(r"^```\{glossary\}\n(.*?)^```", glossary, re.MULTILINE | re.DOTALL)
    return {slug(line): line for block in blocks for line in re.findall(r"^(\S.*)$", block, re.MULTILINE)}


def for_the_book(source: str, terms: dict[str, str]) -> tuple[str, list[str]]:
    """A notebook's text with its links as the book needs them, and the slugs that no term has."""
    unknown = []

    def reference(link: re.Match[str]) -> str:
        label, wanted = link.groups()
        if wanted not in terms:
            unknown.append(wanted)
            return label
        return f"{{term}}`{label} <{terms[wanted]}>`"

    return re.sub(r"\]\(\.\./book/", "](../", _TERM.sub(reference, source)), unknown


def _read(app: Sphinx, docname: str, content: list[str]) -> None:
    if not docname.startswith(FOLDER):
        return
    glossary = Path(app.srcdir) / "glossary.md"
    app.env.note_dependency(str(glossary))
    terms = terms_of(glossary.read_text(encoding="utf-8")) if glossary.is_file() else {}
    content[0], unknown = for_the_book(content[0], terms)
    for term in unknown:
        app.env.note_reread()
        logger.warning("the glossary has no term %r", term, location=docname, type="civilwar", subtype="term")


def setup(app: Sphinx) -> ExtensionMetadata:
    app.connect("source-read", _read)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}

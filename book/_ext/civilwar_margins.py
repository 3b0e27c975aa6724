"""A definition in the margin where a page first uses a term of the glossary.

The reference itself still links to the glossary, where the definition's own sources stand; the margin saves a reader the way.
Narrow screens have no margin, and the book's style leaves these notes out there.
"""

from docutils import nodes
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.util.typing import ExtensionMetadata

GLOSSARY = "glossary"
NOTE = "cw-margin"


def _definitions(app: Sphinx) -> dict[str, nodes.definition_list_item]:
    """Glossary entries by the id of their term."""
    entries = {}
    for entry in app.env.get_doctree(GLOSSARY).findall(nodes.definition_list_item):
        for term in entry.findall(nodes.term):
            entries.update(dict.fromkeys(term["ids"], entry))
    return entries


def _note(entry: nodes.definition_list_item) -> nodes.sidebar:
    """The term and the first paragraph of its definition."""
    term, text = (next(entry.findall(kind)).deepcopy() for kind in (nodes.term, nodes.paragraph))
    for reference in list(text.findall(addnodes.pending_xref)):
        if reference.get("refdomain") == "cite":
            _drop(reference)
        else:
            # a note within a note would lead a reader in circles
            reference.replace_self(nodes.inline("", reference.astext()))
    name = nodes.strong("", term.astext())
    body = nodes.paragraph("", "", name, nodes.Text(". "), *text.children)
    return nodes.sidebar("", body, classes=["margin", NOTE])


def _drop(reference: nodes.Element) -> None:
    """Take a reference out of its sentence, and the space before it."""
    parent = reference.parent
    place = parent.index(reference)
    parent.remove(reference)
    if place and isinstance(before := parent[place - 1], nodes.Text):
        parent.replace(before, nodes.Text(before.rstrip()))


def _annotate(app: Sphinx, doctree: nodes.document, docname: str) -> None:
    if docname == GLOSSARY or GLOSSARY not in app.env.found_docs:
        return
    if len(list(doctree.findall(nodes.section))) < 2:
        # a page without sections has no contents at its side, and the theme's script looks for them wherever there is a margin
        return
    entries, seen = _definitions(app), set()
    for reference in list(doctree.findall(nodes.reference)):
        if not any(
            "std-term" in child.get("classes", []) for child in reference.children if isinstance(child, nodes.Element)
        ):
            continue
        anchor = reference.get("refid") or str(reference.get("refuri", "")).partition("#")[2]
        if anchor not in entries or anchor in seen:
            continue
        seen.add(anchor)
        block: nodes.Element = reference
        while not isinstance(block.parent, nodes.section | nodes.document):
            block = block.parent
        note = _note(entries[anchor])
        block.parent.insert(block.parent.index(block), note)
        if any(note.findall(nodes.math)):
            # or a page whose only formulas are these would come without the script that sets them
            app.env.get_domain("math").data["has_equations"][docname] = True


def setup(app: Sphinx) -> ExtensionMetadata:
    app.connect("doctree-resolved", _annotate)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}

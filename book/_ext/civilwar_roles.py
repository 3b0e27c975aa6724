"""The list of references as a list to screen readers.

docutils gives its entries the role "doc-biblioentry", which is deprecated and no longer counts as an item: the list seemed
to hold none. An item of a list is what the role's specification names in its place.
"""

from typing import Any

from sphinx.application import Sphinx
from sphinx.util.typing import ExtensionMetadata


def _list_items(app: Sphinx, pagename: str, templatename: str, context: dict[str, Any], doctree: object) -> None:
    if "body" in context:
        context["body"] = context["body"].replace('role="doc-biblioentry"', 'role="listitem"')


def setup(app: Sphinx) -> ExtensionMetadata:
    app.connect("html-page-context", _list_items)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}

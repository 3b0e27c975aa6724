"""Folded code under what it shows: a reader meets the figure first, then how it was made.

MyST-NB folds a cell's code above its output. Code that shows nothing, parameters and imports first of all, would be a row of
empty folds before the answer: it stands together at the page's end.
"""

from docutils import nodes
from myst_nb.sphinx_ import HideCodeCellNode, HideInputCells
from sphinx.application import Sphinx
from sphinx.transforms.post_transforms import SphinxPostTransform
from sphinx.util.typing import ExtensionMetadata

#: What the code is called that shows nothing.
SETUP = "Parameters and preparation"


class CodeBelow(SphinxPostTransform):
    """Moves a cell's folded code behind its output, and that of cells without output to the page's end."""

    # what is to be moved has to be folded first
    default_priority = HideInputCells.default_priority + 1
    formats = ("html",)

    def run(self, **kwargs: object) -> None:
        silent = []
        for cell in list(self.document.findall(nodes.container)):
            if cell.get("nb_element") != "cell_code" or not cell.children:
                continue
            code = cell.children[0]
            if not isinstance(code, HideCodeCellNode):
                continue
            if len(cell.children) < 2:
                cell.parent.remove(cell)
                silent.append(cell)
                continue
            code["classes"] = ["below-input"]
            cell.remove(code)
            cell.append(code)
        if silent:
            self._at_the_end(silent)

    def _at_the_end(self, cells: list[nodes.container]) -> None:
        last = self.document
        while sections := [child for child in last.children if isinstance(child, nodes.section)]:
            last = sections[-1]
        last += nodes.paragraph("", SETUP, classes=["cw-setup"])
        last.extend(cells)


def setup(app: Sphinx) -> ExtensionMetadata:
    app.add_post_transform(CodeBelow)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}

"""Folded code under what it shows: a reader meets the figure first, then how it was made.

MyST-NB folds a cell's code above its output. A cell without output keeps its place.
"""

from docutils import nodes
from myst_nb.sphinx_ import HideCodeCellNode, HideInputCells
from sphinx.application import Sphinx
from sphinx.transforms.post_transforms import SphinxPostTransform
from sphinx.util.typing import ExtensionMetadata


class CodeBelow(SphinxPostTransform):
    """Moves a cell's folded code behind its output."""

    # what is to be moved has to be folded first
    default_priority = HideInputCells.default_priority + 1
    formats = ("html",)

    def run(self, **kwargs: object) -> None:
        for cell in list(self.document.findall(nodes.container)):
            if cell.get("nb_element") != "cell_code" or len(cell.children) < 2:
                continue
            code = cell.children[0]
            if isinstance(code, HideCodeCellNode):
                code["classes"] = ["below-input"]
                cell.remove(code)
                cell.append(code)


def setup(app: Sphinx) -> ExtensionMetadata:
    app.add_post_transform(CodeBelow)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}

"""A front page that fits what the book was made of.

The front page tells what the sweep says of every claim. Where claims await runs, as after ``make reproduce`` with a corpus of
one's own, its sentences would have nothing to rest on: the source of ``_own_run.md`` then takes its place, which
tells what the one run shows and what only seeds could.
"""

import ast
from pathlib import Path

from civilwar_numbers import GlueError, look_up, notebooks
from sphinx.application import Sphinx
from sphinx.util.typing import ExtensionMetadata

#: What the verdicts' notebook glues: of how many claims neither fresh nor exploratory runs say anything.
MISSING = "n_claims_awaiting"
FRONT, OWN = "index", "_own_run.md"


def incomplete(files: list[Path]) -> bool:
    """Whether claims await runs, by what was glued; a book whose notebooks do not say so is taken for whole."""
    try:
        return bool(ast.literal_eval(look_up(files, MISSING, "text/plain")))
    except GlueError:
        return False


def _choose(app: Sphinx, docname: str, content: list[str]) -> None:
    if docname != FRONT:
        return
    files = notebooks(Path(app.srcdir), app.config.civilwar_notebooks)
    for file in files:
        app.env.note_dependency(str(file))
    own = Path(app.srcdir) / OWN
    if own.is_file() and incomplete(files):
        content[0] = own.read_text(encoding="utf-8")


def setup(app: Sphinx) -> ExtensionMetadata:
    app.connect("source-read", _choose)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}

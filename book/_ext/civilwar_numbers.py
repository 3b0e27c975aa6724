"""Numbers and pictures of the executed notebooks, on all pages of the book: prose pages and the notebooks themselves.

Role ``{number}`name` `` or ``{number}`name:.2f` `` writes the value that a notebook glued under that name, after the colon
in Python's format language. Directive ``{picture} name`` shows HTML that a notebook glued. Both look at every notebook
matching the configuration value ``civilwar_notebooks``. A name that no notebook glued, a name that two notebooks give
different values, and a format that does not fit are warnings, so that a strict build fails instead of printing a guess.

It is the book's only way to write a number. MyST-NB's own ``{glue:text}`path::key` `` would need the notebook's path beside
every number of another page, writes nan as it is, and hyphens for minus signs.

In a notebook: ``glue("name", value, display=False)`` from myst_nb, where value is a plain Python number or string, or
``IPython.display.HTML`` for a picture. None and NaN are written as the word "undefined", whatever the format.
"""

import ast
import json
import math
import posixpath
import re
from functools import lru_cache
from pathlib import Path
from typing import Any

from docutils import nodes
from docutils.nodes import Node, system_message
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.util import logging
from sphinx.util.docutils import SphinxDirective, SphinxRole
from sphinx.util.typing import ExtensionMetadata

from civilwar.pages.numbers import typographic

logger = logging.getLogger(__name__)

#: Text of a value that has none: a gain where there is no norm, a correlation under a frozen gain.
UNDEFINED = "undefined"
MINUS = "\N{MINUS SIGN}"
#: Characters; anything longer is words.
LONGEST_NUMBER = 24


class GlueError(ValueError):
    """A name or a format that the page cannot be written with. The message names both."""


@lru_cache(maxsize=64)
def _glued(notebook: Path, modified_ns: int) -> list[tuple[str, dict[str, str]]]:
    """Every (name, MIME type -> content) glued in one notebook, in order. ``modified_ns`` only renews the cache."""
    found = []
    for cell in json.loads(notebook.read_text(encoding="utf8"))["cells"]:
        for output in cell.get("outputs", []):
            record = output.get("metadata", {}).get("scrapbook")
            if record is None:
                continue
            prefix = record.get("mime_prefix", "")
            data = {
                mime.removeprefix(prefix): content if isinstance(content, str) else "".join(content)
                for mime, content in output.get("data", {}).items()
            }
            found.append((record["name"], data))
    return found


def notebooks(source: Path, pattern: str) -> list[Path]:
    """Executed notebooks of the book, sorted by path."""
    return sorted(source.glob(pattern))


def look_up(files: list[Path], name: str, mime: str) -> str:
    """What was glued under ``name``, in one MIME type.

    Raises GlueError where no notebook glued it, where it has no such type, and where two values differ.
    """
    found: dict[str, list[str]] = {}
    other_types: set[str] = set()
    for file in files:
        for glued_name, data in _glued(file, file.stat().st_mtime_ns):
            if glued_name != name:
                continue
            if mime in data:
                found.setdefault(data[mime], []).append(file.name)
            else:
                other_types.update(data)
    if len(found) == 1:
        return next(iter(found))
    if found:
        where = "; ".join(f"{value[:60]} in {', '.join(dict.fromkeys(names))}" for value, names in found.items())
        raise GlueError(f"glued name {name!r} is ambiguous: {where}.")
    if other_types:
        raise GlueError(f"glued name {name!r} holds {', '.join(sorted(other_types))}, but {mime} is needed.")
    raise GlueError(
        f"no notebook glued the name {name!r} (looked in: {', '.join(f.name for f in files) or 'none found'})."
    )


def format_value(name: str, text: str, spec: str) -> str:
    """The stored ``repr`` of a Python number or string, written with a format specification.

    Raises GlueError where the text is no plain Python value or the specification does not fit it.
    """
    try:
        value: Any = float(text) if text in ("nan", "inf", "-inf") else ast.literal_eval(text)
    except (ValueError, SyntaxError):
        raise GlueError(f"glued name {name!r} holds {text[:60]}: glue a plain Python number or string.") from None
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return UNDEFINED
    if not isinstance(value, (int, float, str)):
        raise GlueError(f"glued name {name!r} holds a {type(value).__name__}: glue a plain Python number or string.")
    try:
        written = format(value, spec)
    except ValueError as error:
        raise GlueError(
            f"format {spec!r} does not fit the glued name {name!r}, which is {text[:60]}: {error}."
        ) from None
    # words keep their hyphens, but for one that stands for minus
    return typographic(written) if isinstance(value, str) else written.replace("-", MINUS)


def _depend_on(env: BuildEnvironment) -> list[Path]:
    files = notebooks(Path(env.srcdir), env.config.civilwar_notebooks)
    for file in files:
        env.note_dependency(str(file))
    return files


class NumberRole(SphinxRole):
    """``{number}`name` `` or ``{number}`name:format` ``."""

    def run(self) -> tuple[list[Node], list[system_message]]:
        name, _, spec = (part.strip() for part in self.text.partition(":"))
        try:
            written = format_value(name, look_up(_depend_on(self.env), name, "text/plain"), spec)
        except GlueError as error:
            self.env.note_reread()  # or the next build would take the broken page from its cache, without a warning
            logger.warning("%s", error, location=(self.env.docname, self.lineno), type="civilwar", subtype="number")
            return [nodes.strong(self.rawtext, f"[{name}]")], []
        # a number is never broken over two lines; a sentence may be
        classes = ["cw-number"] if len(written) <= LONGEST_NUMBER else []
        # a sentence has typographic quotes like those around it; a run's name stays as it is
        return [nodes.inline(self.rawtext, written, classes=classes, support_smartquotes=" " in written)], []


class PictureDirective(SphinxDirective):
    """``{picture} name``: the HTML glued under that name, its links made to fit this page.

    A notebook links as from its own folder, whose pages lie beside it.
    """

    required_arguments = 1
    has_content = False

    def run(self) -> list[Node]:
        name = self.arguments[0]
        files = _depend_on(self.env)
        try:
            html = look_up(files, name, "text/html")
        except GlueError as error:
            self.env.note_reread()
            logger.warning("%s", error, location=(self.env.docname, self.lineno), type="civilwar", subtype="picture")
            return [nodes.paragraph("", f"[{name}]")]
        folder = files[0].parent.relative_to(self.env.srcdir).as_posix()
        here = posixpath.dirname(self.env.docname)
        return [nodes.raw("", links_from(html, folder, here), format="html")]


def links_from(html: str, folder: str, here: str) -> str:
    """``html`` written for a page in ``folder``, with relative links as a page in ``here`` needs them."""
    prefix = posixpath.relpath(folder or ".", here or ".")
    return re.sub(r'href="(?![a-z]+:|#|/)', f'href="{prefix}/', html) if prefix != "." else html


def setup(app: Sphinx) -> ExtensionMetadata:
    app.add_config_value("civilwar_notebooks", "phases/*.ipynb", "env", (str,))
    app.add_role("number", NumberRole())
    app.add_directive("picture", PictureDirective)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}

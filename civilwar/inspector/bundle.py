"""The inspector's JavaScript, put together from the files under ``js/``: as a module for a kernel, as a script for a page.

The parts are plain functions without imports, so that joining them in order is all the bundling there is.
"""

from pathlib import Path

FOLDER = Path(__file__).parent
STYLE = FOLDER / "inspector.css"
#: In the order in which they are joined.
PARTS = ("codec", "data", "state", "drawing", "panel", "map", "time", "pattern", "plane", "gain", "controls", "mount")
#: Names of the views, in the order in which they are shown.
VIEWS = ("map", "time", "pattern", "plane", "gain")


def module() -> str:
    """For anywidget: an ES module whose default export renders the widget."""
    return _joined("kernel") + "\nexport default { render };\n"


def script() -> str:
    """For a published page: a classic script, which pages opened from a file may load too."""
    return f"(() => {{\n'use strict';\n{_joined('page')}}})();\n"


def style() -> str:
    """The style sheet of both."""
    return STYLE.read_text(encoding="utf-8")


def _joined(last: str) -> str:
    return "\n".join((FOLDER / "js" / f"{name}.js").read_text(encoding="utf-8") for name in (*PARTS, last))

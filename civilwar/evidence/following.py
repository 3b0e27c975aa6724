"""Every definition that a few roots use, followed from name to name through the package's sources, in one normal form.

The normal form leaves out what decides nothing: comments, docstrings, layout, and what an exception or an assertion says. It is
the same in every version of Python, which `ast.unparse` and `ast.dump` are not. Of a class its fields are taken, and those of
its methods whose names are used; of a table with names for keys, each entry is a definition of its own, such as
``ESTIMATORS[dip_step]``.
"""

import ast
import copy
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

PACKAGE = Path(__file__).parents[1]
#: Modules whose definitions are followed: these packages and files.
FOLLOWED = (
    "civilwar.analysis",
    "civilwar.evidence",
    "civilwar.measure.metrics",
    "civilwar.recipe.plan",
    "civilwar.recipe.rope",
    "civilwar.runs.collection",
)
#: Of other modules only these.
SINGLE = (("civilwar.runs.reader", "rows_of"),)
#: Not followed: rules are hashed as data, and the machinery of the hash decides nothing.
DATA = ("civilwar.evidence.rules", "civilwar.evidence.registration", "civilwar.evidence.following")
#: Not followed either: of these what decides is hashed as data or is a root of its own, and the rest is words.
WORDS = (
    ("civilwar.evidence.rule", "Criterion"),
    ("civilwar.evidence.rule", "Pick"),
    ("civilwar.evidence.rule", "Rule"),
    ("civilwar.evidence.estimators", "ESTIMATORS"),
    ("civilwar.recipe.plan", "GROUPS"),
)

Place = tuple[str, str]
"""(module, name of a definition: ``NAME``, ``Class.method`` or ``TABLE[entry]``)."""


@dataclass(frozen=True)
class Source:
    """One module: its definitions by name, and what its imports call."""

    definitions: Mapping[str, ast.AST]
    names: Mapping[str, Place]
    """Imported name -> where it is defined."""
    modules: Mapping[str, str]
    """Imported name -> the module that it is."""


def file_of(module: str) -> Path:
    """Where the source of a module of this package stands. Nothing is imported to find it."""
    return PACKAGE.joinpath(*module.split(".")[1:]).with_suffix(".py")


def read_source(module: str) -> str:
    """The source of a module of this package."""
    return file_of(module).read_text(encoding="utf-8")


def followed(module: str, name: str = "") -> bool:
    """Whether a definition of a module, or any of it, is hashed where something registered uses it."""
    if (module, name) in SINGLE:
        return True
    if module.startswith(DATA) or (module, name) in WORDS:
        return False
    return any(module == one or module.startswith(f"{one}.") for one in FOLLOWED)


def parse(source: str) -> Source:
    """Top-level definitions and imports of a module."""
    definitions: dict[str, ast.AST] = {}
    names: dict[str, Place] = {}
    modules: dict[str, str] = {}
    for node in ast.parse(source).body:
        if isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                local, whole = alias.asname or alias.name, f"{node.module}.{alias.name}"
                if followed(whole) and file_of(whole).is_file():
                    modules[local] = whole
                elif followed(node.module, alias.name):
                    names[local] = (node.module, alias.name)
        elif isinstance(node, ast.FunctionDef | ast.ClassDef):
            definitions[node.name] = node
            for inner in node.body if isinstance(node, ast.ClassDef) else []:
                if isinstance(inner, ast.FunctionDef):
                    definitions[f"{node.name}.{inner.name}"] = inner
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            found = [name.id for target in targets for name in ast.walk(target) if isinstance(name, ast.Name)]
            definitions |= dict.fromkeys(found, node)
            if isinstance(node.value, ast.Dict):
                for key, value in zip(node.value.keys, node.value.values, strict=True):
                    if isinstance(key, ast.Constant) and isinstance(key.value, str):
                        definitions |= {f"{name}[{key.value}]": value for name in found}
    return Source(definitions, names, modules)


def reached(roots: Iterable[Place], read: Callable[[str], str] = read_source) -> dict[Place, str]:
    """Every definition that the roots use, with its code in the normal form. Raises KeyError for a root that is none."""
    sources: dict[str, Source] = {}
    found: dict[Place, str] = {}
    attributes: set[str] = set()
    methods: set[Place] = set()
    waiting = list(roots)
    wanted = set(waiting)
    while waiting or (waiting := [method for method in methods - set(found) if _called(method[1], attributes)]):
        place = waiting.pop()
        module, name = place
        if place in found or not followed(module, name):
            continue
        source = sources.get(module) or sources.setdefault(module, parse(read(module)))
        if name in source.names:
            waiting.append(source.names[name])
        elif name in source.definitions:
            node = plain(source.definitions[name])
            found[place] = normal(node)
            waiting += _used(node, module, source)
            attributes |= {inner.attr for inner in ast.walk(node) if isinstance(inner, ast.Attribute)}
            methods |= {(module, other) for other in source.definitions if other.startswith(f"{name}.")}
        elif place in wanted:
            raise KeyError(f"{module} has no definition {name}, which is registered.")
    return found


def _called(method: str, attributes: set[str]) -> bool:
    name = method.rpartition(".")[2]
    return name in attributes or name.startswith("__")


def _used(node: ast.AST, module: str, source: Source) -> list[Place]:
    places = []
    for inner in ast.walk(node):
        if isinstance(inner, ast.Name):
            if inner.id in source.definitions:
                places.append((module, inner.id))
            elif inner.id in source.names:
                places.append(source.names[inner.id])
        elif isinstance(inner, ast.Attribute):
            owner = inner.value.id if isinstance(inner.value, ast.Name) else ""
            if owner in source.modules:
                places.append((source.modules[owner], inner.attr))
    return places


class _Plain(ast.NodeTransformer):
    """Takes out what only speaks to people, and a class's methods, which are definitions of their own."""

    def visit_Expr(self, node: ast.Expr) -> ast.AST | None:
        documents = isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
        return None if documents else self.generic_visit(node)

    def visit_Raise(self, node: ast.Raise) -> ast.AST:
        raised = node.exc.func if isinstance(node.exc, ast.Call) else node.exc
        return ast.Raise(exc=raised, cause=None)

    def visit_Assert(self, node: ast.Assert) -> ast.AST:
        return ast.Assert(test=self.visit(node.test), msg=None)

    def visit_ClassDef(self, node: ast.ClassDef) -> ast.AST:
        node.body = [inner for inner in node.body if not isinstance(inner, ast.FunctionDef)]
        return self.generic_visit(node)


def plain(node: ast.AST) -> ast.AST:
    """A copy without docstrings, a class's methods, and what exceptions and assertions say."""
    made: ast.AST = _Plain().visit(copy.deepcopy(node))
    return made


def normal(node: object) -> str:
    """A syntax tree as text: kinds and fields that are not empty, in the order of their names."""
    if isinstance(node, ast.AST):
        fields = sorted((name, value) for name, value in ast.iter_fields(node) if value is not None and value != [])
        return f"{type(node).__name__}({', '.join(f'{name}={normal(value)}' for name, value in fields)})"
    return f"[{', '.join(map(normal, node))}]" if isinstance(node, list) else repr(node)

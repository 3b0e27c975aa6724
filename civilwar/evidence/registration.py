"""Preregistration that a machine checks: one hash over what decides, and a list of the hashes that were ever in force.

The hash covers, and nothing else does: which criteria each claim has, with role, side, threshold and estimator; the code of
every estimator, of the decision, and of each function and constant of `FOLLOWED` that they use, followed from name to name; and
the plan. Comments, docstrings, layout and the words of a rule are left out: they may be mended at any time.

A run's manifest records the hash that was in force when its training began. A run with any other hash than the one in force now
is exploratory. Whoever changes what is hashed runs ``python -m civilwar.evidence.registration register --note "why"``, which
adds a row to the table of amendments: what changed, when, and which fresh runs had begun by then.
"""

import argparse
import ast
import hashlib
import json
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

from civilwar import paths
from civilwar.errors import RunError
from civilwar.evidence.rules import RULES
from civilwar.files import read_json, write_json
from civilwar.recipe import plan
from civilwar.runs.manifest import MANIFEST, read_manifest

#: The list of registrations, oldest first.
FILE = Path(__file__).with_name("registered.json")
PACKAGE = Path(__file__).parents[1]
#: Modules whose definitions are followed: these packages and files.
FOLLOWED = ("civilwar.analysis", "civilwar.evidence", "civilwar.recipe.rope")
#: Not followed: rules and plan are hashed as data, and this file decides nothing.
DATA = ("civilwar.evidence.rules", "civilwar.evidence.registration")
#: Not followed either: of these the fields that decide are hashed as data, and the others are words.
WORDS = tuple(("civilwar.evidence.rule", name) for name in ("Criterion", "Pick", "Rule"))
#: Where following begins.
ROOTS = (
    ("civilwar.evidence.estimators", "ESTIMATORS"),
    ("civilwar.evidence.decision", "verdict_of"),
    ("civilwar.evidence.claims", "decide"),
    ("civilwar.evidence.rungs", "open_evidence"),
)

Place = tuple[str, str]
"""(module, name of a definition at its top level)."""


@dataclass(frozen=True)
class Source:
    """One module: its definitions by name, and what its imports call."""

    definitions: Mapping[str, ast.stmt]
    names: Mapping[str, Place]
    """Imported name -> where it is defined."""
    modules: Mapping[str, str]
    """Imported name -> the module that it is."""


# ---------------------------------------------------------------- following names


def file_of(module: str) -> Path:
    """Where the source of a module of this package stands. Nothing is imported to find it."""
    return PACKAGE.joinpath(*module.split(".")[1:]).with_suffix(".py")


def read_source(module: str) -> str:
    """The source of a module of this package."""
    return file_of(module).read_text(encoding="utf-8")


def parse(source: str) -> Source:
    """Top-level definitions and imports of a module."""
    definitions: dict[str, ast.stmt] = {}
    names: dict[str, Place] = {}
    modules: dict[str, str] = {}
    for node in ast.parse(source).body:
        if isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                local, whole = alias.asname or alias.name, f"{node.module}.{alias.name}"
                if followed(whole) and file_of(whole).is_file():
                    modules[local] = whole
                elif followed(node.module):
                    names[local] = (node.module, alias.name)
        elif isinstance(node, ast.FunctionDef | ast.ClassDef):
            definitions[node.name] = node
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            found = [name.id for target in targets for name in ast.walk(target) if isinstance(name, ast.Name)]
            definitions |= dict.fromkeys(found, node)
    return Source(definitions, names, modules)


def followed(module: str) -> bool:
    """Whether definitions of a module are hashed where something registered uses them."""
    if module.startswith(DATA):
        return False
    return any(module == name or module.startswith(f"{name}.") for name in FOLLOWED)


def reached(roots: Iterable[Place], read: Any = read_source) -> dict[Place, str]:
    """Every definition that the roots use, with its code as one normal form: no comment, no docstring, one layout."""
    sources: dict[str, Source] = {}
    found: dict[Place, str] = {}
    waiting = list(roots)
    while waiting:
        place = waiting.pop()
        module, name = place
        if place in found or place in WORDS or not followed(module):
            continue
        source = sources.get(module) or sources.setdefault(module, parse(read(module)))
        if name in source.names:
            waiting.append(source.names[name])
        if name not in source.definitions:
            continue
        node = source.definitions[name]
        found[place] = ast.unparse(without_docstrings(node))
        waiting += _used(node, module, source)
    return found


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


def without_docstrings(node: ast.stmt) -> ast.stmt:
    """A copy without the strings that only document: those that stand as statements of their own."""

    class Strip(ast.NodeTransformer):
        def visit_Expr(self, expression: ast.Expr) -> ast.AST | None:
            documents = isinstance(expression.value, ast.Constant) and isinstance(expression.value.value, str)
            return None if documents else expression

    copy: ast.stmt = Strip().visit(ast.parse(ast.unparse(node)).body[0])
    for inner in ast.walk(copy):
        if isinstance(inner, ast.FunctionDef | ast.ClassDef) and not inner.body:
            inner.body = [ast.Pass()]
    return copy


# ---------------------------------------------------------------- the hash


@cache
def parts() -> dict[str, str]:
    """Everything that is registered, by what it is, each as 12 hexadecimal digits of its SHA-256."""
    rules = {
        f"rule {rule.id}": [[c.name, c.role, c.side, c.threshold] for c in rule.criteria if c.role != "context"]
        for rule in RULES
    }
    code = {f"{module.removeprefix('civilwar.')}.{name}": text for (module, name), text in reached(ROOTS).items()}
    everything: dict[str, Any] = {**rules, **{f"plan {k}": v for k, v in plan.described().items()}, **code}
    return {name: _digest(value)[:12] for name, value in sorted(everything.items())}


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def current() -> str:
    """The hash of what is in force now: 16 hexadecimal digits."""
    return _digest(parts())[:16]


def registrations() -> list[dict[str, Any]]:
    """Every registration, oldest first: hash, date (UTC), note, fresh_runs, changed and parts."""
    stored = read_json(FILE) if FILE.is_file() else {"registrations": []}
    return list(stored["registrations"])


def is_registered() -> bool:
    """Whether what is in force now is what was registered last."""
    done = registrations()
    return bool(done) and done[-1]["hash"] == current()


def changed(before: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    """Names of the parts that are in one only, or differ."""
    return sorted(name for name in {*before, *now} if before.get(name) != now.get(name))


def fresh_runs() -> list[str]:
    """Planned runs whose training has begun, this machine's or recorded, by folder."""
    planned = {config.default_name for group in plan.GROUPS.values() for config in group.planned()}
    return sorted(
        name for name in planned if any((root / name / MANIFEST).is_file() for root in (paths.runs(), paths.recorded()))
    )


def register(note: str) -> dict[str, Any]:
    """Register what is in force now, with a note that says why. Returns the new row; the last where nothing changed."""
    done = registrations()
    now = parts()
    if done and done[-1]["hash"] == current():
        return done[-1]
    row = {
        "hash": current(),
        "date": datetime.now(UTC).isoformat(timespec="minutes"),
        "note": note,
        "fresh_runs": fresh_runs(),
        "changed": changed(done[-1]["parts"], now) if done else [],
        "parts": now,
    }
    # what an older row's parts were, its successor's ``changed`` says
    older = [{**old, "parts": {}} for old in done]
    write_json(FILE, {"registrations": [*older, row]})
    return row


def hash_of(run: Path) -> str | None:
    """The hash that was in force when a run's training began; None where its manifest does not say."""
    found = read_manifest(run).get("rules")
    return None if found is None else str(found)


def main(arguments: list[str] | None = None) -> int:
    """``check`` says whether what is in force is registered, and what differs; ``register`` registers it."""
    parser = argparse.ArgumentParser(prog="python -m civilwar.evidence.registration", description=main.__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("check", help="status 1 where rules, code or plan differ from what was registered last")
    asked = commands.add_parser("register", help="register what is in force now")
    asked.add_argument("--note", required=True, help="what changed, and why")
    options = parser.parse_args(arguments)
    try:
        if options.command == "register":
            row = register(options.note)
            print(f"{row['hash']} registered {row['date']}: {row['note']}")
            return 0
        if is_registered():
            print(f"{current()} is registered ({registrations()[-1]['note']}).")
            return 0
        before = registrations()[-1]["parts"] if registrations() else {}
        print(f"{current()} is not registered. It differs in: {', '.join(changed(before, parts()))}.")
        return 1
    except (OSError, RunError) as error:
        print(error, file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())

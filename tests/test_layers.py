"""Who may import whom: a file imports only files of smaller numbers, and what reads runs never loads torch."""

import ast
import subprocess
import sys
from pathlib import Path

import conftest
import pytest

import civilwar

PACKAGE = Path(civilwar.__file__).parent

#: A folder's number holds for every file in it that has none of its own.
LAYERS = {
    "": 0,
    "paths": 0,
    "allocator": 0,
    "files": 0.5,
    "errors": 0,
    "cache": 1,
    "manifest": 1,
    "config": 1,
    "sources": 2,
    "rope": 2,
    "tokenizer": 3,
    "corpus": 4,
    "attention": 2.5,
    "loss": 3,
    "model": 3,
    "hooks": 3,
    "metrics": 3,
    "statistics": 3,
    "runs": 4,
    "analysis": 5,
    "tidy": 4,
    "taxonomy": 6,
    "tracker": 5,
    "prober": 5,
    "optim": 5,
    "experiments": 5,
    "content": 5.5,
    "train": 7,
    "rules": 5,
    "collection": 5,
    "analysis.controls": 5.5,
    "analysis.capacity": 5.5,
    "analysis.beside": 5.5,
    "cost": 2,
    "analysis.kinds": 6.5,
    "analysis.roles": 6.6,
    "estimators": 6.8,
    "exhibits": 6.8,
    "claims": 7,
    "scales": 7.2,
    "plan": 2,
    "recording": 5,
    "sweep": 8,
    "plots.style": 7.5,
    "plots.kinds": 7.6,
    "plots": 8,
    "widgets": 8.5,
    "widgets.bundle": 0,
    "widgets.measures": 0,
    "widgets.pack": 0,
    "widgets.static": 8.6,
    "widgets.picture": 8.6,
    "moment": 8.7,
    "widgets.inspector": 8.8,
    "parameters": 0,
    "notebook": 9,
    "ledger": 9.5,
    "publish": 9,
    "cli": 10,
}

#: Files that read what was recorded: they must work, and fast, without the half a gigabyte of torch.
WITHOUT_TORCH = (
    "allocator",
    "cache",
    "files",
    "errors",
    "manifest",
    "config",
    "parameters",
    "paths",
    "rope",
    "runs",
    "sources",
    "statistics",
    "analysis",
    "claims",
    "collection",
    "estimators",
    "plan",
    "recording",
    "rules",
    "taxonomy",
    "tidy",
    "plots",
    "widgets",
)
WITHOUT_TORCH += ("exhibits", "notebook", "ledger", "publish", "cli")


def modules() -> dict[str, Path]:
    """Files by dotted name below ``civilwar``; a package's __init__ by the package's name."""
    names = {}
    for file in sorted(PACKAGE.rglob("*.py")):
        parts = file.relative_to(PACKAGE).with_suffix("").parts
        names[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = file
    return names


def layer(module: str) -> float:
    """A KeyError here means: a new file, give it its number above."""
    return LAYERS[module] if module in LAYERS else LAYERS[module.rpartition(".")[0] or "no layer for " + module]


def imports(source: str, known: set[str]) -> set[str]:
    """Modules of the package that a source imports, wherever it does so, functions included."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative imports hide what is imported"
            for alias in node.names:
                whole = f"{node.module}.{alias.name}"
                # from civilwar import paths; or from civilwar.paths import runs
                found.add(whole if whole.removeprefix("civilwar.") in known else str(node.module))
    return {name.removeprefix("civilwar.") for name in found if name.startswith("civilwar.")}


def upward_imports(sources: dict[str, str]) -> list[str]:
    known = set(sources)
    return [
        f"{module} ({layer(module)}) imports {other} ({layer(other)})"
        for module, source in sources.items()
        for other in sorted(imports(source, known))
        if layer(other) >= layer(module)
    ]


def sources() -> dict[str, str]:
    return {name: file.read_text(encoding="utf-8") for name, file in modules().items()}


def test_every_file_has_a_layer() -> None:
    assert {"config", "train", "analysis.gain", ""} <= set(modules())
    assert all(layer(module) >= 0 for module in modules())
    with pytest.raises(KeyError, match="no layer for newcomer"):
        layer("newcomer")


def test_a_file_imports_only_smaller_numbers() -> None:
    assert upward_imports(sources()) == []


@pytest.mark.parametrize(
    ("module", "line"),
    [
        ("config", "from civilwar.runs import Run"),
        ("config", "from civilwar import runs"),
        ("metrics", "import civilwar.model"),
        ("analysis.gain", "from civilwar.analysis import focus"),
        ("model", "def late():\n    from civilwar.train import train"),
    ],
)
def test_the_check_can_fail(module: str, line: str) -> None:
    broken = sources()
    broken[module] += f"\n{line}\n"
    assert [problem.split()[0] for problem in upward_imports(broken)] == [module]


def test_only_the_doors_import_training() -> None:
    every = sources()
    assert {name for name, source in every.items() if "train" in imports(source, set(every))} <= {
        "cli",
        "notebook",
        "publish",
        "sweep",
    }


def test_the_package_s_own_file_is_empty() -> None:
    # or importing civilwar.config would import whatever stands there
    assert (PACKAGE / "__init__.py").read_text() == ""


LOADED = "import importlib, sys; [importlib.import_module(n) for n in sys.argv[1:]]; print('torch' in sys.modules)"


def loads_torch(*names: str) -> bool:
    done = subprocess.run([sys.executable, "-c", LOADED, *names], capture_output=True, text=True, check=True)
    return {"True": True, "False": False}[done.stdout.strip().splitlines()[-1]]


def test_reading_a_run_does_not_load_torch() -> None:
    light = [name for name in modules() if name and name.partition(".")[0] in WITHOUT_TORCH]
    assert {"config", "runs", "rope"} <= set(light)
    # one process for all; where it fails, try them one by one
    names = [f"civilwar.{name}" for name in light]
    assert not loads_torch(*names), [name for name in names if loads_torch(name)]


def test_the_check_for_torch_can_fail() -> None:
    assert loads_torch("civilwar.config", "civilwar.metrics")


def test_every_file_with_annotated_axes_is_type_checked_under_pytest() -> None:
    annotated = {f"civilwar.{name}" for name, source in sources().items() if "jaxtyping" in source}
    assert {"civilwar.metrics", "civilwar.model"} <= annotated
    assert annotated <= set(conftest.TYPE_CHECKED)

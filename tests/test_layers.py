"""Who may import whom, read off the README's tree: a file imports only from rows above its own, and "no torch" holds."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import conftest
import pytest

import civilwar
from civilwar import paths

PACKAGE = Path(civilwar.__file__).parent
README = (paths.repository() / "README.md").read_text(encoding="utf-8")


def rows(readme: str) -> dict[str, bool]:
    """Files in the tree by dotted name below ``civilwar``, top row first, and whether each has to do without torch."""
    tree = readme[readme.index("\ncivilwar/\n") :].split("\nnotebooks/")[0]
    found: dict[str, bool] = {}
    folder, folder_is_light = "", False
    for indent, name, note in re.findall(r"^( {2}| {4})(\S+)(.*)$", tree, re.MULTILINE):
        light = "(no torch)" in note
        if name.endswith("/"):
            folder, folder_is_light = (name[:-1], light) if indent == "  " else (folder, folder_is_light)
        elif indent == "  ":
            found[name.removesuffix(".py")] = light
        else:
            found[f"{folder}.{name.removesuffix('.py')}"] = light or (folder_is_light and "(torch)" not in note)
    return found


ROWS = rows(README)


def modules() -> dict[str, Path]:
    """Files of the package by dotted name below ``civilwar``, but for the ``__init__`` files, which import nothing."""
    return {
        ".".join(file.relative_to(PACKAGE).with_suffix("").parts): file
        for file in sorted(PACKAGE.rglob("*.py"))
        if file.name != "__init__.py"
    }


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


def upward_imports(sources: dict[str, str], order: list[str]) -> list[str]:
    place = {module: row for row, module in enumerate(order)}
    return [
        f"{module} imports {other}, which the README's tree has no higher"
        for module, source in sources.items()
        for other in sorted(imports(source, set(sources)))
        if place[other] >= place[module]
    ]


def sources() -> dict[str, str]:
    return {name: file.read_text(encoding="utf-8") for name, file in modules().items()}


def test_the_tree_names_every_file_and_no_other() -> None:
    assert set(ROWS) == set(modules())
    assert {"recipe.config", "training.loop", "analysis.gain", "cli"} <= set(ROWS)


def test_the_tree_can_lie() -> None:
    without = rows(README.replace("    reader.py ", "    raeder.py "))
    assert set(without) ^ set(modules()) == {"runs.raeder", "runs.reader"}


def test_a_file_imports_only_from_rows_above() -> None:
    assert upward_imports(sources(), list(ROWS)) == []


@pytest.mark.parametrize(
    ("module", "line"),
    [
        ("recipe.config", "from civilwar.runs.reader import Run"),
        ("recipe.config", "from civilwar.runs import reader"),
        ("measure.metrics", "import civilwar.training.loop"),
        ("analysis.focus", "from civilwar.analysis import gain"),
        ("model.decoder", "def late():\n    from civilwar.training.loop import train"),
    ],
)
def test_the_check_can_fail(module: str, line: str) -> None:
    broken = sources()
    broken[module] += f"\n{line}\n"
    assert [problem.split()[0] for problem in upward_imports(broken, list(ROWS))] == [module]


def test_a_row_moved_down_is_noticed() -> None:
    order = [name for name in ROWS if name != "paths"]
    assert "runs.reader" in {problem.split()[0] for problem in upward_imports(sources(), [*order, "paths"])}


def test_only_the_doors_import_training() -> None:
    every = sources()
    training = {name for name in every if name.startswith("training.")}
    outside = {name for name, source in every.items() if imports(source, set(every)) & training} - training
    # a watched training has its machine described as ours have
    assert outside <= {"commands.train", "commands.sweep", "pages.door", "pages.reproduce", "watching.folder"}


def test_the_folders_own_files_import_nothing_of_the_package() -> None:
    # or importing civilwar.recipe.config would import whatever stands there
    for file in PACKAGE.rglob("__init__.py"):
        assert imports(file.read_text(encoding="utf-8"), set(modules())) == set(), file


LOADED = "import importlib, sys; [importlib.import_module(n) for n in sys.argv[1:]]; print('torch' in sys.modules)"


def loads_torch(*names: str) -> bool:
    done = subprocess.run([sys.executable, "-c", LOADED, *names], capture_output=True, text=True, check=True)
    return {"True": True, "False": False}[done.stdout.strip().splitlines()[-1]]


def test_what_the_tree_marks_does_not_load_torch() -> None:
    light = [name for name, is_light in ROWS.items() if is_light]
    assert {"recipe.config", "runs.reader", "pages.door", "cli"} <= set(light)
    # one process for all; where it fails, try them one by one
    names = [f"civilwar.{name}" for name in light]
    assert not loads_torch(*names), [name for name in names if loads_torch(name)]


def test_the_check_for_torch_can_fail() -> None:
    assert loads_torch("civilwar.recipe.config", "civilwar.measure.metrics")


def test_every_file_with_annotated_axes_is_type_checked_under_pytest() -> None:
    assert {"civilwar.measure.metrics", "civilwar.model.decoder", "civilwar.training.loop"} <= set(
        conftest.TYPE_CHECKED
    )

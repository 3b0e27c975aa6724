"""The inspector's modules put together: what each place can load, and every mistake in an import is an error."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from civilwar import paths
from civilwar.inspector import bundle
from civilwar.inspector.bundle import BundleError
from civilwar.inspector.state import TRAITS, VIEWS
from civilwar.inspector.widget import HeadInspector

LONGEST_LINE = 120


def test_a_script_has_no_imports_and_a_module_one_export() -> None:
    # a page opened from a file may load no modules
    assert not re.search(r"^\s*(import|export)\b", bundle.script(), re.MULTILINE)
    assert re.findall(r"^\s*(?:import|export)\b.*", bundle.module(), re.MULTILINE) == ["export default $kernel;"]


def test_every_module_is_in_the_bundle_that_needs_it() -> None:
    for text, own, other in ((bundle.module(), "kernel", "page"), (bundle.script(), "page", "kernel")):
        found = re.findall(r"^const \$(\w+) = \(\(\) => \{$", text, re.MULTILINE)
        assert len(found) == len(set(found))
        assert set(found) == set(bundle.sources()) - {other}
        assert found[-1] == own
        assert not re.search(r"^\s*(//|/?\*)", text, re.MULTILINE), "comments stay behind"


def test_modules_come_after_what_they_import_and_see_its_names_only() -> None:
    modules = {
        "a": 'import { one as first, two } from "./b.js";\n// a comment\nconst hidden = 0;\nexport const sum = first + two;\n',
        "b": "/** a\n * comment */\nconst hidden = 1;\nexport const one = hidden;\nexport function two() {}\n",
    }
    assert bundle.joined("a", modules) == (
        "const $b = (() => {\nconst hidden = 1;\nconst one = hidden;\nfunction two() {}\nreturn { one, two };\n})();\n"
        "const $a = (() => {\nconst { one: first, two } = $b;\nconst hidden = 0;\nconst sum = first + two;\n"
        "return { sum };\n})();\n"
    )


@pytest.mark.parametrize(
    ("broken", "said"),
    [
        ({"a": 'import { x } from "./gone.js";\n'}, "gone.js, which is not there"),
        ({"a": 'import { x } from "./b.js";\n', "b": "export const y = 1;\n"}, "a.js imports x from b.js"),
        (
            {
                "a": 'import { b } from "./b.js";\nexport const a = 1;\n',
                "b": 'import { c } from "./c.js";\nexport const b = 1;\n',
                "c": 'import { a } from "./a.js";\nexport const c = 1;\n',
            },
            "a circle of imports: a -> b -> c -> a",
        ),
        ({"a": 'import x from "./b.js";\n', "b": ""}, "a.js: 'import x from"),
        ({"a": 'import { x } from "elsewhere";\n'}, "is no import or export"),
        ({"a": "export default 1;\n"}, "is no import or export"),
        ({"a": "const x = 1;\nexport { x };\n"}, "is no import or export"),
        ({"a": "export const [x, y] = [1, 2];\n"}, "is no import or export"),
    ],
)
def test_what_cannot_be_put_together_is_an_error(broken: dict[str, str], said: str) -> None:
    with pytest.raises(BundleError, match=re.escape(said)):
        bundle.joined("a", broken)


def test_markup_never_enters_as_markup() -> None:
    for text in (bundle.module(), bundle.script()):
        assert not any(
            way in text for way in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(")
        )


def test_views_and_state_have_one_list() -> None:
    """No module names them again: the widget's traits, a page's fields and the views shown are those of `state`."""
    assert set(TRAITS) == set(HeadInspector.class_trait_names(field=lambda field: field is not None))
    assert set(VIEWS) <= set(bundle.sources())
    for name, source in bundle.sources().items():
        views_named = [view for view in VIEWS if f'"./{view}.js"' in source]
        assert views_named == (list(VIEWS) if name == "views" else []), name


def scripts() -> list[Path]:
    """Every JavaScript file of the repository, but for what tools made."""
    made = {".venv", "node_modules", "_build", "build"}
    return [file for file in paths.repository().rglob("*.js") if not made & set(file.parts)]


def test_no_line_is_too_long_to_read() -> None:
    assert {"map.js", "kernel.js", "search_from_files.js"} <= {file.name for file in scripts()}
    long = [
        f"{file.name}:{row}"
        for file in scripts()
        for row, line in enumerate(file.read_text(encoding="utf-8").splitlines(), 1)
        if len(line) > LONGEST_LINE
    ]
    assert long == []


def test_make_js_checks_types_and_style() -> None:
    make = shutil.which("make")
    assert make is not None
    dry = subprocess.run(
        [make, "js", "--dry-run"], cwd=paths.repository(), check=True, capture_output=True, text=True
    ).stdout
    assert "npm run" in dry
    package = (paths.repository() / "package.json").read_text(encoding="utf-8")
    assert "tsc && eslint ." in package
    # exact versions, and no host that one machine got them from
    assert not re.search(r'": "[\^~><*]', package)
    assert "registry" not in (paths.repository() / "package-lock.json").read_text(encoding="utf-8")

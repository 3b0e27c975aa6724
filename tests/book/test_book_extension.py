"""The book's Sphinx extensions: numbers and pictures out of executed notebooks, and MathJax beside the pages."""

import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import myst_nb.ext.glue
import pytest
from IPython.display import HTML

EXTENSIONS = Path(__file__).parents[2] / "book" / "_ext"


def load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, EXTENSIONS / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


numbers = load("civilwar_numbers")

Write = Callable[..., None]


@pytest.fixture
def write_notebook(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Write:
    """Writes a notebook into ``phases/`` with the outputs that the real ``glue`` makes."""
    outputs: list[dict[str, Any]] = []

    def record(data: dict[str, str], raw: bool, metadata: dict[str, Any]) -> None:
        assert raw
        outputs.append({"output_type": "display_data", "data": data, "metadata": metadata})

    monkeypatch.setattr(myst_nb.ext.glue, "ipy_display", record)

    def write(file: str, values: dict[str, Any], display: bool = False) -> None:
        outputs.clear()
        for name, value in values.items():
            myst_nb.ext.glue.glue(name, value, display=display)
        plain = {"output_type": "stream", "name": "stdout", "text": ["not glued\n"]}
        cells = [
            {"cell_type": "markdown", "id": "a", "metadata": {}, "source": "# A phase"},
            {
                "cell_type": "code",
                "id": "b",
                "execution_count": 1,
                "metadata": {},
                "source": "",
                "outputs": [plain, *outputs],
            },
        ]
        (tmp_path / "phases").mkdir(exist_ok=True)
        notebook = {"nbformat": 4, "nbformat_minor": 5, "metadata": {}, "cells": cells}
        (tmp_path / "phases" / file).write_text(json.dumps(notebook), encoding="utf8")

    return write


def build(source: Path, index: str, other: str = "# Other\n") -> subprocess.CompletedProcess[str]:
    """Strict build of a two-page project, as `jupyter-book build -W --keep-going` makes it."""
    (source / "conf.py").write_text(
        "extensions = ['myst_parser', 'sphinx.ext.mathjax', 'civilwar_numbers', 'civilwar_mathjax']\n"
        "myst_enable_extensions = ['dollarmath']\n"
        "include_patterns = ['*.md']\n",
        encoding="utf8",
    )
    toctree = "\n```{toctree}\nother\n```\n"
    for name, text in {"index.md": index + toctree, "other.md": other}.items():
        if not (source / name).exists() or (source / name).read_text(encoding="utf8") != text:
            (source / name).write_text(text, encoding="utf8")
    command = [sys.executable, "-m", "sphinx", "-b", "html", "-W", "--keep-going", ".", "_out"]
    path = os.pathsep.join([str(EXTENSIONS), *filter(None, [os.environ.get("PYTHONPATH")])])
    environment = {**os.environ, "PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1", "NO_COLOR": "1"}
    return subprocess.run(command, cwd=source, env=environment, capture_output=True, text=True, check=False)


def test_pages_show_numbers_and_pictures_and_follow_the_notebooks(tmp_path: Path, write_notebook: Write) -> None:
    write_notebook("01.ipynb", {"rho": -0.918, "steps": 1489, "run_name": "it's--0", "onset": None, "twice": 3})
    write_notebook(
        "02.ipynb", {"picture": HTML('<figure class="cw-figure"><svg></svg></figure>'), "twice": 3}, display=True
    )
    page = (
        "# Page\n\nrho {number}`rho:.2f`, steps {number}`steps:,`, run {number}`run_name`, onset {number}`onset:.1f`, "
        "twice {number}`twice`, $x^2$\n\n```{picture} picture\n```\n"
    )
    done = build(tmp_path, page)
    assert done.returncode == 0, done.stderr
    html = (tmp_path / "_out" / "index.html").read_text(encoding="utf8")
    for written in (">\N{MINUS SIGN}0.92<", ">1,489<", ">it's--0<", ">undefined<", ">3<"):
        assert written in html
    assert '<figure class="cw-figure"><svg></svg></figure>' in html

    write_notebook("01.ipynb", {"rho": 0.5, "steps": 1489, "run_name": "b", "onset": 88, "twice": 3})
    again = build(tmp_path, page)
    assert again.returncode == 0, again.stderr
    html = (tmp_path / "_out" / "index.html").read_text(encoding="utf8")
    assert ">0.50<" in html
    assert ">88.0<" in html

    mathjax = tmp_path / "_out" / "_static" / "mathjax"
    assert "_static/mathjax/tex-chtml.js" in html
    assert 'src="http' not in html
    assert (mathjax / "tex-chtml.js").is_file()
    assert any((mathjax / "output/chtml/fonts/woff-v2").glob("*Main-Regular*"))
    assert sum(file.stat().st_size for file in mathjax.rglob("*") if file.is_file()) < 3_000_000


def test_a_strict_build_fails_and_names_key_and_page(tmp_path: Path, write_notebook: Write) -> None:
    write_notebook("01.ipynb", {"rho": -0.918, "name": "x", "items": [1]})
    write_notebook("02.ipynb", {"rho": -0.2})
    other = "# Other\n\n{number}`nowhere` {number}`rho` {number}`name:.2f` {number}`items`\n\n```{picture} name\n```\n"
    for _ in range(2):  # the second build reads other.md again, though nothing changed
        done = build(tmp_path, "# Page\n", other)
        assert done.returncode == 1
        warnings = [line for line in done.stderr.splitlines() if "WARNING" in line]
        assert len(warnings) == 5
        assert all("other.md" in line for line in warnings)
        for key, reason in {
            "nowhere": "no notebook glued",
            "rho": "ambiguous: -0.918 in 01.ipynb; -0.2 in 02.ipynb",
            "name": "does not fit",
            "items": "holds a list",
        }.items():
            assert any(f"{key!r}" in line and reason in line for line in warnings), (key, warnings)
        assert any("'name' holds text/plain, but text/html is needed" in line for line in warnings)


@pytest.mark.parametrize(
    ("text", "spec", "written"),
    [
        ("7.6612", ".2f", "7.66"),
        ("-3", "", "\N{MINUS SIGN}3"),
        ("0.152", ".0%", "15%"),
        ("'CPU (2 cores)'", "", "CPU (2 cores)"),
        ("'a-b'", "", "a-b"),
        ("None", ".3f", "undefined"),
        ("nan", ".3f", "undefined"),
        ("True", "", "True"),
    ],
)
def test_values_are_written_by_their_format(text: str, spec: str, written: str) -> None:
    assert numbers.format_value("key", text, spec) == written


@pytest.mark.parametrize(
    ("text", "spec"), [("np.float64(3.0)", ""), ("1.5", "d"), ("'x'", ".2f"), ("[1, 2]", ""), ("3", "zz")]
)
def test_values_that_do_not_fit_are_refused_by_name(text: str, spec: str) -> None:
    with pytest.raises(numbers.GlueError, match="'key'"):
        numbers.format_value("key", text, spec)

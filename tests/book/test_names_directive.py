"""Tables of names on the book's pages, out of their records."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from bs4 import BeautifulSoup

from civilwar import paths
from civilwar.evidence.rules import RULES
from civilwar.names.kinds import KINDS
from civilwar.names.measures import MEASURES
from civilwar.names.variants import VARIANTS
from civilwar.names.verdicts import PENDING, VERDICTS


def build(source: Path, page: str) -> subprocess.CompletedProcess[str]:
    """A strict build of one page."""
    (source / "conf.py").write_text("extensions = ['myst_parser', 'civilwar_names']\n", encoding="utf-8")
    (source / "index.md").write_text(page, encoding="utf-8")
    command = [sys.executable, "-m", "sphinx", "-b", "html", "-W", "--keep-going", ".", "_out"]
    search = os.pathsep.join([str(paths.repository() / "book" / "_ext"), str(paths.repository())])
    environment = {**os.environ, "PYTHONPATH": search, "PYTHONDONTWRITEBYTECODE": "1", "NO_COLOR": "1"}
    return subprocess.run(command, cwd=source, env=environment, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[list[str]]]:
    """Rows of every table, as text."""
    source = tmp_path_factory.mktemp("names")
    wanted = ("variants", "kinds", "verdicts", "measures", "claims")
    done = build(source, "# Names\n\n" + "".join(f"```{{names}} {name}\n```\n\n" for name in wanted))
    assert done.returncode == 0, done.stderr
    page = BeautifulSoup((source / "_out" / "index.html").read_text(encoding="utf-8"), "html.parser")
    found = [
        [[cell.text.replace("\N{RIGHT SINGLE QUOTATION MARK}", "'") for cell in row("td")] for row in table("tr")[1:]]
        for table in page("table")
    ]
    assert [len(dots("span", class_="cw-dot")) for dots in page("table")] == [len(VARIANTS), len(KINDS), 7, 0, 0]
    return dict(zip(wanted, found, strict=True))


def test_every_record_has_a_row_in_order(tables: dict[str, list[list[str]]]) -> None:
    assert tables["variants"] == [[v.key, v.label, v.says] for v in VARIANTS.values()]
    assert tables["kinds"] == [[k.label, k.code, k.says, k.threshold] for k in KINDS.values()]
    assert tables["verdicts"] == [[v.label, v.says] for v in (*VERDICTS.values(), PENDING)]
    assert [row[0] for row in tables["measures"]] == [measure.label for measure in MEASURES.values()]
    assert {row[1] for row in tables["measures"]} == {"query head", "KV head"}
    assert tables["claims"] == [[rule.id, rule.statement, rule.reported] for rule in RULES]


def test_a_table_that_is_not_there_stops_a_strict_build(tmp_path: Path) -> None:
    done = build(tmp_path, "# Names\n\n```{names} colours\n```\n")
    assert done.returncode != 0
    assert "no table of names 'colours': expected one of variants, kinds, verdicts, measures, claims." in done.stderr

"""What CONTRIBUTING.md promises: each worked example applies, touches as many files as it says, and does what it says."""

from pathlib import Path

import nbformat
import worked_examples

from civilwar.runs.reader import Run


def test_a_claim_is_decided_and_shown_wherever_claims_are(tmp_path: Path) -> None:
    assert worked_examples.files_in(worked_examples.diff_of("A claim")) == {
        "civilwar/evidence/rules.py",
        "civilwar/evidence/estimators.py",
        "tests/evidence/test_claims.py",
    }
    copy = worked_examples.apply("A claim", tmp_path)
    said = worked_examples.python(
        copy,
        f"""
import sys
from pathlib import Path
sys.path.insert(0, "tests")
from synthetic_sweep import the_report_is_right, the_report_is_wrong, write_sweep
from civilwar.evidence import claims, scales
from civilwar.evidence.exhibits import exhibits
from civilwar.evidence.rules import shown_on

right = write_sweep(Path({str(tmp_path)!r}) / "right", the_report_is_right)
verdicts = claims.decide(right)
print(claims.ledger(verdicts).set_index("id")["verdict"]["C19"])
print(claims.summary(verdicts)["n_claims"])
print(next(shown.chosen for shown in exhibits(right.baseline[0]) if shown.claim == "C19"))
on_page = scales.beside(verdicts, right.baseline[0], shown_on("01_divergence"))
print(on_page["criterion"].iloc[-1])
wrong = write_sweep(Path({str(tmp_path)!r}) / "wrong", the_report_is_wrong)
print(claims.ledger(claims.decide(wrong)).set_index("id")["verdict"]["C19"])
""",
    )
    assert said.splitlines() == [
        "supported",
        "19",
        "the loudest head of all, above the rest of its layer",
        "loudest_over_quietest",
        "not supported",
    ]


def test_a_phase_notebook_is_found_and_runs(tmp_path: Path, smoke_run: Run, smoke_corpus: str) -> None:
    assert worked_examples.files_in(worked_examples.diff_of("A phase notebook")) == {
        "notebooks/12_queries.ipynb",
        "book/_toc.yml",
    }
    copy = worked_examples.apply("A phase notebook", tmp_path)
    parameters = {"run": smoke_run.name, "preset": "smoke", "corpus": smoke_corpus, "device": "cpu"}
    worked_examples.python(
        copy,
        f"""
from pathlib import Path
from sphinx_external_toc.parsing import parse_toc_yaml
from civilwar.pages.publish import execute, phase_notebooks

new = phase_notebooks()[-1]
assert new.stem == "12_queries"
assert "phases/12_queries" in parse_toc_yaml("book/_toc.yml").root.child_files()
execute(new, Path("book/phases") / new.name, {parameters!r})
""",
    )
    executed = nbformat.read(copy / "book" / "phases" / "12_queries.ipynb", as_version=4)
    assert executed.metadata.card.title == "12 · Queries"
    glued = {
        o.metadata.scrapbook.name for c in executed.cells for o in c.get("outputs", []) if "scrapbook" in o.metadata
    }
    assert {"query_norm_end", "picture_query_norms"} <= glued

"""CONTRIBUTING.md's worked examples, followed to the letter: what each touches, and that it then does what it promises."""

import os
import subprocess
import sys
from pathlib import Path

import browser
import nbformat
import pytest
import worked_examples

from civilwar import paths
from civilwar.runs.reader import Run

# ---------------------------------------------------------------- a variant of an existing knob

VARIANT = "A variant of an existing knob"
TRIED = """
import matplotlib, numpy as np, pandas as pd, sys
matplotlib.use("agg")
sys.path.insert(0, "tests")
from civilwar import cli
from civilwar.analysis import controls
from civilwar.names.variants import LABELS, VARIANTS
from civilwar.pages import sentences
from civilwar.plots import controls as draw, style
from civilwar.recipe import plan
from civilwar.recipe.config import make_config
from civilwar.runs.collection import Sweep, open_sweep

style.use_style()
*_, new = VARIANTS
config, base = make_config("smoke", new), make_config("smoke")
assert config.train.muon_lr == base.train.muon_lr / 2 and config.hash != base.hash
assert [c.seed for c in plan.sweep("smoke") if c.variant == new] == list(plan.FRESH_SEEDS)
options = cli.parser().parse_args(["train", "--variant", new])
assert options.variant == new

# as if its runs were there: what phase 6 draws and says of two seeds
step = np.arange(0, 25, 4)
rows = [(v, seed, t, m, 1 + i + 0.1 * seed + t / 24)
        for i, v in enumerate(("baseline", new)) for seed in (1, 2) for t in step for m in controls.MEASURES]
curves = pd.DataFrame(rows, columns=["variant", "seed", "step", "measure", "value"])
outcomes = pd.DataFrame([(v, seed, p, 1 + i + 0.1 * seed * i) for i, v in enumerate(("baseline", new))
                         for seed in (1, 2) for p in controls.PHENOMENA],
                        columns=["variant", "seed", "phenomenon", "value"])
changes = controls.changes(outcomes)
norms = controls.measure_over_seeds(curves, "norm")
decay = curves[curves["measure"] == "norm"].rename(columns={"value": "norm"})
paired = controls.less_baseline(curves, "loss")
profiles = pd.DataFrame({"variant": new, "seed": 1, "layer": 0, "pair": [0, 1], "rank": [0, 1], "gain": [1.0, 0.5]})
figure, axes = draw.norms_early_and_whole(norms, decay, 12)
assert LABELS[new] in {text.get_text() for text in axes[0].texts}
_, (first, second, third, fourth) = style.row(4)
draw.loss_over_time(controls.mean_and_range(paired), first)
draw.loss_changes(paired, changes, second)
draw.profile(profiles, controls.mean_profile(profiles, "rank"), "rank", third)
draw.knobs(changes, fourth)
assert [label.get_text() for label in second.get_yticklabels()] == [LABELS[new]]
assert second.get_yticklabels()[0].get_color() == VARIANTS[new].color
assert LABELS[new] in sentences.attribution(changes)["raised by"].tolist()[0]
assert list(controls.side_by_side(outcomes).columns) == ["phenomenon", "baseline", new]
assert "one of " + new in sentences.lacking(Sweep({}, ()), [new])
sweep = open_sweep("smoke")
assert [name for name in sweep.missing if new in name] == [f"smoke-{new}-seed{seed}" for seed in plan.FRESH_SEEDS]
print(sweep.statement())
"""
#: The tests that every record of a name has to pass, its colour's among them.
ITS_TESTS = """
import pytest, sys
sys.exit(pytest.main(["-q", "tests/names", "tests/plots/test_plots.py", "-k", "names or told_apart or lines_stand_out"]))
"""


def test_a_variant_is_one_file_and_is_then_planned_drawn_and_told(tmp_path: Path) -> None:
    assert worked_examples.files_in(worked_examples.diff_of(VARIANT)) == {"civilwar/names/variants.py"}
    copy = worked_examples.apply(VARIANT, tmp_path)
    # eight of the baseline and of each of now eight controls
    assert worked_examples.python(copy, TRIED).startswith("0 of the 72 runs of the sweep are recorded")
    assert " passed" in worked_examples.python(copy, ITS_TESTS)


def test_a_variant_without_a_colour_is_refused(tmp_path: Path) -> None:
    copy = worked_examples.apply(VARIANT, tmp_path)
    file = copy / "civilwar" / "names" / "variants.py"
    text = file.read_text(encoding="utf-8")
    file.write_text(text.replace('        color="#9c84ea",\n', ""), encoding="utf-8")
    code = "try:\n    import civilwar.names.variants\nexcept TypeError as error:\n    print(error)"
    assert "'color'" in worked_examples.python(copy, code)


# ---------------------------------------------------------------- a snapshot metric

METRIC = "A snapshot metric"
MEASURED = """
from civilwar.recipe.config import make_config
from civilwar.runs.reader import Run
from civilwar.training.loop import train

corpus, recorded = CORPUS, RECORDED
name = "attention_distance"
run = train(make_config("smoke", corpus=corpus), "metric", device="cpu", progress=False)
for table in ("probe_query_heads", "shuffled_query_heads"):
    assert run.table(table)[name].between(0, run.config.model.context).all()
    old = Run(recorded).table(table)
    assert old[name].isna().all() and old["nearby_mass"].notna().all()
start = run.table("probe_query_heads").query("step == 0")
# before training attention is nearly uniform, and that looks back over half of what there is
print(round(start[name].mean() / ((run.config.model.context - 1) / 4), 1))
"""
ITS_OWN_TESTS = """
import pytest, subprocess, sys
from pathlib import Path
Path("data").mkdir()
subprocess.run([sys.executable, "-m", "civilwar.pages.dictionary"], check=True)
assert "| `attention_distance` | How many tokens back" in Path("book/data_dictionary.md").read_text(encoding="utf-8")
tests = ["tests/measure/test_metrics.py", "tests/measure/test_kernels.py", "tests/measure/test_prober.py"]
sys.exit(pytest.main(["-q", *tests, "tests/pages/test_dictionary.py"]))
"""


def test_a_snapshot_metric_is_two_files_and_a_test_and_old_runs_show_it_undefined(
    tmp_path: Path, smoke_corpus: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert worked_examples.files_in(worked_examples.diff_of(METRIC)) == {
        "civilwar/measure/metrics.py",
        "civilwar/runs/quantities.py",
        "tests/measure/test_metrics.py",
    }
    copy = worked_examples.apply(METRIC, tmp_path)
    monkeypatch.setenv("CIVILWAR_RUNS", str(tmp_path / "runs"))
    recorded = paths.recorded() / "laptop-baseline-seed1"
    code = MEASURED.replace("CORPUS, RECORDED", f"{smoke_corpus!r}, {str(recorded)!r}")
    assert worked_examples.python(copy, code).strip() == "1.0"
    assert " passed" in worked_examples.python(copy, ITS_OWN_TESTS)


def test_a_metric_that_the_schema_does_not_declare_is_refused_by_name(tmp_path: Path) -> None:
    copy = worked_examples.apply(METRIC, tmp_path)
    file = copy / "civilwar" / "runs" / "quantities.py"
    file.write_text((worked_examples.ROOT / "civilwar" / "runs" / "quantities.py").read_text(encoding="utf-8"))
    code = """
import pandas as pd
from civilwar.measure.metrics import OF_ATTENTION
from civilwar.runs.conform import check_table
from civilwar.runs.schema import TABLES
measured = dict.fromkeys([*TABLES["probe_query_heads"].all_columns, *OF_ATTENTION], [0])
try:
    check_table("probe_query_heads", pd.DataFrame(measured).astype(
        {name: column.dtype for name, column in TABLES["probe_query_heads"].all_columns.items()}))
except Exception as error:
    print(error)
"""
    said = worked_examples.python(copy, code)
    assert said.startswith("table probe_query_heads has a column attention_distance that")


# ---------------------------------------------------------------- a claim, and a phase notebook


def test_a_claim_is_decided_and_shown_wherever_claims_are(tmp_path: Path) -> None:
    assert worked_examples.files_in(worked_examples.diff_of("A claim")) == {
        "civilwar/evidence/rules_of_norms.py",
        "civilwar/evidence/of_norms.py",
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
import synthetic_sweep
from synthetic_sweep import the_report_is_right, the_report_is_wrong, write_sweep
from civilwar.evidence import claims, scales, tables
from civilwar.evidence.exhibits import exhibits
from civilwar.evidence.rules import RULES, shown_on

synthetic_sweep.VARIANTS_NEEDED = ("baseline",)
rules = [rule for rule in RULES if rule.id in ("C03", "C19")]
right = write_sweep(Path({str(tmp_path)!r}) / "right", the_report_is_right)
verdicts = claims.decide(right, rules)
print(tables.ledger(verdicts).set_index("id")["verdict"]["C19"])
print(len(RULES))
print(next(shown.chosen for shown in exhibits(right.baseline[0]) if shown.claim == "C19"))
on_page = scales.beside(verdicts, right.baseline[0], shown_on("01_divergence"))
print(on_page["criterion"].iloc[-1])
wrong = write_sweep(Path({str(tmp_path)!r}) / "wrong", the_report_is_wrong)
print(tables.ledger(claims.decide(wrong, rules)).set_index("id")["verdict"]["C19"])
""",
    )
    assert said.splitlines() == [
        "there",
        "19",
        "the loudest head of all, above the rest of its layer",
        "loudest_over_quietest",
        "not there",
    ]


def test_a_phase_notebook_is_found_and_runs(tmp_path: Path, smoke_run: Run, smoke_corpus: str) -> None:
    assert worked_examples.files_in(worked_examples.diff_of("A phase notebook")) == {
        "notebooks/20_queries.ipynb",
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
assert new.stem == "20_queries"
assert "phases/20_queries" in parse_toc_yaml("book/_toc.yml").root.child_files()
execute(new, Path("book/phases") / new.name, {parameters!r})
""",
    )
    executed = nbformat.read(copy / "book" / "phases" / "20_queries.ipynb", as_version=4)
    assert executed.metadata.card.question == "Do queries grow as keys do?"
    glued = {
        o.metadata.scrapbook.name for c in executed.cells for o in c.get("outputs", []) if "scrapbook" in o.metadata
    }
    assert {"query_norm_end", "picture_query_norms"} <= glued


# ---------------------------------------------------------------- an inspector view

VIEW = "An inspector view"


def test_a_view_is_three_files_and_is_then_drawn_and_moved(tmp_path: Path) -> None:
    files = worked_examples.files_in(worked_examples.diff_of(VIEW))
    assert files == {
        "civilwar/inspector/js/layers.js",
        "civilwar/inspector/state.py",
        "tests/inspector/test_inspector_page.py",
    }
    copy = worked_examples.apply(VIEW, tmp_path)
    bundled = "from civilwar.inspector import bundle; print('function layers(' in bundle.script())"
    assert worked_examples.python(copy, bundled).strip() == "True"
    browser.find_or_skip()
    # the copy's own tests: the page draws the new view, and what it says moves it does
    environment = os.environ | {"PYTHONPATH": str(copy), "CIVILWAR_REQUIRE_BROWSER": "1"}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-k", "control or taken_away"]
    done = subprocess.run(
        [*command, "tests/inspector/test_inspector_page.py"],
        cwd=copy,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    assert "7 passed" in done.stdout

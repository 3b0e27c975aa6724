"""Preregistration: the hash moves with what decides, and with nothing else."""

import ast
import dataclasses
import functools
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from civilwar import paths
from civilwar.evidence import registration
from civilwar.evidence.following import Place, normal, plain, reached, read_source
from civilwar.evidence.registration import changed, is_registered, main, parts, roots
from civilwar.recipe import config, plan
from civilwar.runs.writer import RunWriter

Read = Callable[[str], str]


def edited(module: str, old: str, new: str) -> Read:
    """Sources as they are, but for one edit."""
    assert old in read_source(module)
    return lambda name: read_source(name).replace(old, new) if name == module else read_source(name)


@functools.cache
def as_it_is() -> dict[Place, str]:
    return reached(roots())


def test_what_is_in_force_is_registered() -> None:
    """Run ``python -m civilwar.evidence.registration register --note "why"`` when this fails, and say so in the commit."""
    assert is_registered(), changed(registration.registrations()[-1]["parts"], parts())


@pytest.mark.parametrize(
    ("module", "old", "new", "parts_changed"),
    [
        # an estimator's code
        (
            "civilwar.evidence.of_norms",
            "first_half(run).idxmin().mean()",
            "first_half(run).idxmax().mean()",
            {"dip_step"},
        ),
        # a function of an analysis that an estimator uses
        ("civilwar.analysis.strata", "np.asarray(ranks) // width", "np.asarray(ranks) % width", {"blocks"}),
        # a constant two names away
        ("civilwar.analysis.divergence", "NOISE_QUANTILE = 0.99", "NOISE_QUANTILE = 0.9", {"NOISE_QUANTILE"}),
        # the decision itself
        ("civilwar.evidence.decision", 'if "fails" in readings:', "if False:", {"verdict_of"}),
        ("civilwar.evidence.rule", "LEVEL = 0.05", "LEVEL = 0.2", {"LEVEL"}),
        # which function belongs to a criterion
        (
            "civilwar.evidence.estimators",
            "Estimator(of_norms.dip_step)",
            "Estimator(of_norms.dip_depth)",
            {"ESTIMATORS[dip_step]"},
        ),
        # what was measured
        ("civilwar.measure.metrics", "NEARBY = 8", "NEARBY = 9", {"NEARBY"}),
        # which runs are looked at, and which of them are pairs
        ("civilwar.recipe.plan", 'RUNGS = ("laptop", "middle", "paper")', 'RUNGS = ("laptop",)', {"RUNGS"}),
        (
            "civilwar.recipe.plan",
            "EXPLORATORY_SEEDS = tuple(range(9))",
            "EXPLORATORY_SEEDS = (0,)",
            {"EXPLORATORY_SEEDS"},
        ),
        ("civilwar.runs.collection", "if seed in base]", "if seed not in base]", {"Sweep.pairs"}),
        ("civilwar.recipe.plan", "seeds.get(variant, ())", "seeds.get(variant, (11,))", {"seeds_of"}),
        ("civilwar.evidence.rungs", "if whole and self.fresh.n_runs", "if self.fresh.n_runs", {"Rung.speaking"}),
    ],
)
def test_the_hash_moves_with_code_that_decides(module: str, old: str, new: str, parts_changed: set[str]) -> None:
    before, after = as_it_is(), reached(roots(), edited(module, old, new))
    names = {name for (owner, name), code in after.items() if before.get((owner, name)) != code}
    assert names == parts_changed


@pytest.mark.parametrize(
    ("module", "old", "new"),
    [
        ("civilwar.evidence.of_norms", '"""C02: the step of that minimum, mean over layers."""', '"""Other words."""'),
        (
            "civilwar.evidence.of_norms",
            "    norms = first_half(run)\n",
            "    # a comment\n    norms = (\n        first_half(run)\n    )\n",
        ),
        ("civilwar.evidence.rule", '"""Why this threshold."""', '"""Reason."""'),
        # what only shows, in the same file as what decides
        (
            "civilwar.analysis.divergence",
            "def departures(run: Run, tolerance: float = 0.05)",
            "def departures(run: Run)",
        ),
        # what an error says, a criterion that is only shown, and a method that nothing here calls
        ("civilwar.recipe.rope", "so what rests on them is left out", "so it is left out"),
        ("civilwar.evidence.estimators", "Estimator(of_gains.slow_gain)", "Estimator(of_gains.settle_step)"),
        ("civilwar.runs.collection", "runs of the sweep are recorded.", "runs are there."),
    ],
)
def test_the_hash_stays_where_nothing_decides(module: str, old: str, new: str) -> None:
    assert reached(roots(), edited(module, old, new)) == as_it_is()


def test_the_normal_form_is_the_code_and_nothing_else() -> None:
    def form(code: str) -> str:
        return normal(plain(ast.parse(code).body[0]))

    assert form('def f(x):\n    "Says."\n    raise ValueError(f"{x} is wrong.") from None') == form(
        "def f(x): raise ValueError"
    )
    assert form("def f(x): raise ValueError") != form("def f(x): raise KeyError")
    assert form('def f(x): assert x, "why"') == form("def f(x):\n\n    assert (x)  # why")
    assert form("x = None") != form("x = 0") != form("x = -0.0")
    # no field that another version of Python adds or leaves out while it is empty
    assert "[]" not in form("def f(): return []")
    assert form("x = 1") == "Assign(targets=[Name(ctx=Store(), id='x')], value=Constant(value=1))"


def test_a_root_that_is_not_there_is_named() -> None:
    with pytest.raises(KeyError, match="no definition ESTIMATORS\\[nothing\\]"):
        reached([("civilwar.evidence.estimators", "ESTIMATORS[nothing]")])


def test_a_rule_s_threshold_and_role_are_registered_and_its_words_are_not(monkeypatch: pytest.MonkeyPatch) -> None:
    first, *rest = registration.RULES
    before = dict(parts())

    def with_criterion(**changes: object) -> list[str]:
        criterion = dataclasses.replace(first.criteria[0], **changes)  # type: ignore[arg-type]
        changed_rule = dataclasses.replace(first, criteria=(criterion,), statement="Other words.")
        monkeypatch.setattr(registration, "RULES", (changed_rule, *rest))
        registration.parts.cache_clear()
        return changed(before, parts())

    try:
        assert with_criterion(threshold=0.06) == ["rule C01"]
        assert with_criterion(role="thing") == ["rule C01"]
        assert with_criterion(worst=True) == ["rule C01"]
        assert with_criterion(says="Other words.", label="other words", reason="another") == []
    finally:
        registration.parts.cache_clear()


def test_the_plan_is_registered(monkeypatch: pytest.MonkeyPatch) -> None:
    before = dict(parts())
    fewer = {**plan.GROUPS, "middle": plan.Group("fewer", "middle", {"baseline": (11,)})}
    monkeypatch.setattr(plan, "GROUPS", fewer)
    registration.parts.cache_clear()
    try:
        assert changed(before, parts()) == ["plan middle"]
    finally:
        registration.parts.cache_clear()


def test_what_configurations_measure_is_registered(monkeypatch: pytest.MonkeyPatch) -> None:
    before = plan.described()
    model, train, probe = config.PRESETS["laptop"]
    other = (model, train, dataclasses.replace(probe, n_texts=1, sink_horizons=(512,)))
    with monkeypatch.context() as patched:
        patched.setitem(config.PRESETS, "laptop", other)
        assert {name for name, now in plan.described().items() if now != before[name]} == {
            "laptop",
            "longer",
            "source",
            "prose",
        }
    monkeypatch.setattr(config.RunConfig, "moments", lambda self: {"start": 0, "early": 30, "mid": 60, "late": 489})
    assert all(now != before[name] for name, now in plan.described().items())


def test_what_begins_under_unregistered_rules_records_none(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert registration.in_force_hash() is None
    row = registration.register("first")
    assert registration.in_force_hash() == row["hash"] == registration.current()
    monkeypatch.setattr(registration, "current", lambda: "edited")
    assert registration.in_force_hash() is None


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A list of registrations of this test's own, and no run anywhere."""
    monkeypatch.setattr(registration, "FILE", tmp_path / "registered.json")
    monkeypatch.setenv("CIVILWAR_RUNS", str(tmp_path / "runs"))
    monkeypatch.setattr(paths, "recorded", lambda: tmp_path / "data")
    return tmp_path / "registered.json"


def test_an_amendment_says_what_changed_and_which_runs_had_begun(
    file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert main(["check"]) == 1
    assert "is not registered. It differs in:" in capsys.readouterr().out
    assert main(["register", "--note", "first"]) == 0
    assert main(["check"]) == 0
    (row,) = registration.registrations()
    assert (row["hash"], row["note"], row["fresh_runs"], row["changed"]) == (registration.current(), "first", [], [])
    # again, with nothing changed: no second row
    assert main(["register", "--note", "again"]) == 0
    assert len(registration.registrations()) == 1

    config = plan.sweep("laptop")[0]
    with RunWriter(tmp_path / "runs" / config.default_name, config) as writer:
        writer.write_manifest(status="running")
    now = {**parts(), "rule C01": "another"}
    monkeypatch.setattr(registration, "parts", lambda: now)
    assert not is_registered()
    assert main(["register", "--note", "a larger tolerance"]) == 0
    older, newer = registration.registrations()
    assert newer["changed"] == ["rule C01"]
    assert newer["fresh_runs"] == [config.default_name]
    assert (older["note"], older["parts"]) == ("first", {})
    assert json.loads(file.read_text(encoding="utf-8"))["registrations"][1]["hash"] == registration.current()

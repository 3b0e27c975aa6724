"""The sweeps whose truth is known, and the verdicts on them: made once, since the tests on them are one worker's."""

import pytest
from synthetic_sweep import right_for_other_reasons, the_report_is_right, the_report_is_wrong, write_sweep

from civilwar.evidence import claims
from civilwar.runs.collection import Sweep


@pytest.fixture(scope="session")
def sweeps(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Sweep]:
    """By what is true of them: ``right``, ``wrong``, ``other`` (right for other reasons than the report gives)."""
    makers = {"right": the_report_is_right, "wrong": the_report_is_wrong, "other": right_for_other_reasons}
    return {name: write_sweep(tmp_path_factory.mktemp(name), make) for name, make in makers.items()}


@pytest.fixture(scope="session")
def verdicts(sweeps: dict[str, Sweep]) -> dict[str, dict[str, claims.Verdict]]:
    """Of each sweep, by claim."""
    return {name: {v.rule.id: v for v in claims.decide(sweep)} for name, sweep in sweeps.items()}

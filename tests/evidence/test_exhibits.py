"""Exhibits: the head that a rule chooses, found in runs where it is known."""

from pathlib import Path

import numpy as np
import pytest
from synthetic import Truth, make_synthetic_config, write_run

from civilwar.evidence.exhibits import PICKS, Exhibit, exhibit, exhibits
from civilwar.evidence.rules import RULES, shown_on, threshold
from civilwar.runs.reader import Run

LAST = 40


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Exhibit]:
    return {exhibit.claim: exhibit for exhibit in exhibits(known_run(tmp_path_factory.mktemp("runs") / "known"))}


def known_run(path: Path, **changes: str) -> Run:
    config = make_synthetic_config(n_layers=3, steps=LAST, **changes)
    n = len(config.snapshot_steps())
    norms = np.full((LAST + 1, 3, 4), 8.0)
    norms[12:20, 1] = 7.0  # the middle layer dips, lowest first at step 12
    norms[-1, 2] = [8, 8, 8, 12]
    norms[-1, 0, 1] = 5.0
    entropy = np.full((n, 4, 3, 8), 0.5)
    entropy[-1, :, 0, 6] = 0.9
    separators = np.full((n, 4, 3, 8), 0.2)
    separators[-1, :, 1, 5] = 0.8
    copies = np.full((n, 4, 3, 8), 0.1)
    copies[-1, :, 2, 4] = 0.7
    gain = 1 + np.linspace(0, 1, LAST + 1)[:, None, None] * np.linspace(0.5, -0.5, 16) * np.array([[0.1], [1], [0.1]])
    truth = Truth(
        norms=norms, entropy_normalised=entropy, separator_mass=separators, duplicate_token_score=copies, gain=gain
    )
    return write_run(path, config, truth)


@pytest.mark.parametrize(
    ("claim", "layer", "query_head", "step"),
    [
        ("C02", 1, 0, 12),
        ("C03", 2, 6, LAST),
        ("C07", 2, 6, LAST),
        ("C08", 0, 2, LAST),
        ("C14", 1, 5, LAST),
        ("C15", 0, 6, LAST),
        ("C16", 2, 4, LAST),
    ],
)
def test_the_head_is_the_one_that_the_rule_means(
    shown: dict[str, Exhibit], claim: str, layer: int, query_head: int, step: int
) -> None:
    assert (shown[claim].layer, shown[claim].query_head, shown[claim].step) == (layer, query_head, step)


def test_an_exhibit_is_a_claim_s_and_has_an_address(shown: dict[str, Exhibit]) -> None:
    assert set(shown) <= {rule.id for rule in RULES}
    assert shown["C07"].address == f"layer=2&head=6&step={LAST}&metric=norm_mean"


def test_every_pick_is_a_rule_s_and_one_exhibit_is_the_same_as_among_all(tmp_path: Path) -> None:
    assert {rule.head.by for rule in RULES if rule.head} == set(PICKS)
    run = known_run(tmp_path / "known")
    for shown in exhibits(run):
        assert exhibit(run, shown.claim) == shown
    with pytest.raises(KeyError, match=f"no head of {run.name} shows C18"):
        exhibit(run, "C18")


def test_a_page_has_the_claims_whose_figures_it_shows() -> None:
    assert shown_on("01_divergence") == ["C01", "C03"]
    assert shown_on("glossary") == []


def test_a_threshold_is_looked_up_by_its_criterion() -> None:
    assert threshold("kept_by_directions") == 0.95
    for name in ("onset_step", "no_such_criterion"):  # a range, and nothing
        with pytest.raises(KeyError, match=name):
            threshold(name)


def test_without_a_learned_gain_no_layer_shows_one(tmp_path: Path) -> None:
    found = {exhibit.claim for exhibit in exhibits(known_run(tmp_path / "frozen", qk_norm="frozen"))}
    assert {"C12", "C13"}.isdisjoint(found)
    assert "C07" in found

"""`civilwar.pages.numbers`: numbers handed to the page, and their minus signs."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from synthetic import make_synthetic_config, write_run

from civilwar.pages import numbers
from civilwar.runs.reader import Run


@pytest.fixture
def glued(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    values: dict[str, Any] = {}
    monkeypatch.setattr(numbers, "myst_glue", lambda key, value, display: values.update({key: value}))
    return values


def test_glue_gives_plain_python(glued: dict[str, Any]) -> None:
    """MyST-NB stores the repr, and np.float64(0.5) cannot be formatted."""
    numbers.glue(
        a=np.float64(0.5), b=np.float32(0.25), c=np.int64(7), d=3, e="text", f=None, g=math.nan, h=np.float32("nan")
    )
    assert {key: type(value) for key, value in glued.items() if key != "e"} == {
        "a": float, "b": float, "c": int, "d": int, "f": float, "g": float, "h": float
    }  # fmt: skip
    assert (glued["a"], glued["b"], glued["c"], glued["d"], glued["e"]) == (0.5, 0.25, 7, 3, "text")
    assert all(math.isnan(glued[key]) for key in "fgh")


def test_glue_run_says_what_the_manifest_says(glued: dict[str, Any], smoke_run: Run) -> None:
    numbers.glue_run(smoke_run)
    assert all(type(value) in (int, float, str) for value in glued.values())
    assert glued["run_name"] == smoke_run.name
    assert glued["config_hash"] == smoke_run.manifest["config_hash"]
    assert glued["n_steps"] == 24
    assert glued["n_tokens"] == 24 * 256
    assert glued["n_parameters"] == smoke_run.manifest["n_parameters"]
    assert glued["corpus_documents"] == smoke_run.manifest["corpus"]["documents"]
    assert glued["wall_minutes"] == pytest.approx(smoke_run.manifest["timings"]["wall_seconds"] / 60)
    assert glued["first_loss"] == pytest.approx(smoke_run.table("train")["loss"].iloc[0])
    losses = smoke_run.table("probe_loss")
    assert glued["validation_loss"] == pytest.approx(losses.loc[losses["step"] == 24, "loss"].mean())


def test_glue_run_of_an_older_manifest_leaves_timings_undefined(glued: dict[str, Any], tmp_path: Path) -> None:
    numbers.glue_run(write_run(tmp_path / "run", make_synthetic_config(steps=20)))
    assert math.isnan(glued["wall_minutes"])
    assert math.isnan(glued["tokens_per_second"])


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("-1.5 to -2", "\N{MINUS SIGN}1.5 to \N{MINUS SIGN}2"),
        ("(-3)", "(\N{MINUS SIGN}3)"),
        ("paper-baseline-seed0, 2024-05-06, --0", "paper-baseline-seed0, 2024-05-06, --0"),
    ],
)
def test_only_a_hyphen_before_a_number_is_a_minus_sign(text: str, written: str) -> None:
    assert numbers.typographic(text) == written

"""Comparing two runs: how many digits agree, measure by measure."""

import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from synthetic import make_synthetic_config, write_run

from civilwar import cli, paths
from civilwar.analysis.compare import COLUMNS, as_text, compare
from civilwar.errors import RunError
from civilwar.runs.reader import Run
from civilwar.runs.records import Records
from civilwar.runs.writer import RunWriter

CONFIG = make_synthetic_config(steps=2)


def write(path: Path, loss: list[float], gain: list[float], steps: tuple[int, ...] = (0, 1, 2)) -> Run:
    at = np.arange(3, dtype=np.int32)
    ones = np.ones(len(steps), np.float32)
    axes = {"step": np.array(steps, np.int32), "layer": np.zeros(len(steps), np.int32)}
    layers = pd.DataFrame(axes | {"k_gain_rms": ones, "q_gain_rms": ones})
    k_gain = np.array(gain, np.float32)[:, None, None]
    records = Records(
        {"train": pd.DataFrame({"step": at, "loss": np.array(loss, np.float32)}), "step_layers": layers},
        {"gain": {"step": at, "k_gain": k_gain, "q_gain": np.ones_like(k_gain)}},
    )
    with RunWriter(path, CONFIG) as writer:
        writer.write_manifest(status="running")
        writer.write_part(2, records)
        return writer.finish()


def test_differences_are_those_put_in(tmp_path: Path) -> None:
    one = write(tmp_path / "one", [4.0, 2.0, math.nan], [1.0, 1.0, 1.0])
    other = write(tmp_path / "other", [4.0, 2.002, math.nan], [1.0, 1.0, 0.0], steps=(0, 2))
    found = compare(one, other).set_index("measure")
    assert list(found.reset_index()) == list(COLUMNS)
    loss = found.loc["train.loss"]
    assert (loss["values"], loss["in_one_only"], loss["equal"]) == (3, 0, pytest.approx(2 / 3))
    assert loss["largest_difference"] == pytest.approx(0.002, rel=1e-3)
    assert loss["largest_relative"] == pytest.approx(0.002 / 2.002, rel=1e-3)
    assert loss["digits"] == pytest.approx(3, abs=0.01)
    gain = found.loc["gain.k_gain"]
    assert (gain["largest_relative"], gain["digits"]) == (1, 0)
    layers = found.loc["step_layers.k_gain_rms"]
    # step 1 is in the first alone
    assert (layers["values"], layers["in_one_only"], layers["digits"]) == (2, 1, math.inf)


def test_the_order_of_the_runs_changes_nothing(tmp_path: Path) -> None:
    one = write(tmp_path / "one", [4.0, 2.0, 1.0], [1.0, -1.0, 1.0])
    other = write(tmp_path / "other", [4.0, 2.5, math.inf], [1.0, 1.0, 0.0])
    pd.testing.assert_frame_equal(compare(one, other), compare(other, one))
    found = compare(one, other).set_index("measure")
    assert found["largest_relative"]["gain.k_gain"] == 2
    assert found["digits"]["train.loss"] == 0


def test_what_a_slim_recording_left_out_is_counted_not_compared(tmp_path: Path) -> None:
    one = write(tmp_path / "one", [4.0, 2.0, 1.0], [1.0] * 3)
    other = write(tmp_path / "other", [4.0, math.nan, 1.0], [1.0] * 3)
    loss = compare(one, other).set_index("measure").loc["train.loss"]
    assert (loss["values"], loss["in_one_only"], loss["equal"]) == (2, 1, 1)


def test_a_run_equals_itself_in_every_measure(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", make_synthetic_config(steps=4))
    found = compare(run, run)
    assert (found["equal"] == 1).all()
    assert np.isinf(found["digits"]).all()
    assert {"train.loss", "step_kv_heads.key_cosine", "probe_query_heads.separator_mass", "gain.k_gain"} <= set(
        found["measure"]
    )


def test_the_command_prints_a_line_for_each_measure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(paths, "runs", lambda: tmp_path)
    one = write(tmp_path / "one", [4.0, 2.0, 1.0], [1.0] * 3)
    other = write(tmp_path / "other", [4.0, 2.2, 1.0], [1.0] * 3)
    assert cli.main(["compare", "one", "other"]) == 0
    printed = capsys.readouterr().out
    assert printed == as_text(compare(one, other)) + "\n"
    assert printed.splitlines()[1].split() == ["train.loss", "3", "0", "66.7%", "0.2", "0.091", "1.0"]
    assert printed.splitlines()[-1].split()[-1] == "all"
    assert cli.main(["compare", "one", "gone"]) == 1
    assert capsys.readouterr().err.startswith("civilwar: no run 'gone'")


def test_runs_with_nothing_in_common_are_refused(tmp_path: Path) -> None:
    one = write(tmp_path / "one", [4.0, 2.0, 1.0], [1.0] * 3)
    with RunWriter(tmp_path / "begun", CONFIG) as writer:
        writer.write_manifest(status="running")
    with pytest.raises(RunError, match="no table or array in common"):
        compare(one, Run(tmp_path / "begun"))

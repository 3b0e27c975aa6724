"""A run for other tools: what is sent, and what a dataset holds."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from civilwar.runs import exports
from civilwar.runs.reader import Run


def test_a_tracker_gets_quantiles_and_not_a_curve_a_head(smoke_run: Run) -> None:
    sent = dict(exports.curves(smoke_run))
    assert list(sent) == list(range(smoke_run.last_step + 1))
    norms = smoke_run.table("step_kv_heads").query("step == 3")["norm_mean"]
    assert sent[3]["heads/norm_mean/max"] == pytest.approx(norms.max())
    assert sent[3]["heads/norm_mean/median"] == pytest.approx(norms.median())
    assert sent[3]["train/loss"] == pytest.approx(smoke_run.table("train")["loss"][3])
    assert len({key for values in sent.values() for key in values}) == 11


class Tracker:
    """What wandb and trackio have in common."""

    def __init__(self) -> None:
        self.said: list[Any] = []

    def init(self, **options: Any) -> str:
        self.said.append(options)
        return "session"

    def log(self, values: dict[str, float], step: int) -> None:
        self.said.append((step, values))

    def finish(self) -> None:
        self.said.append("finished")


def test_any_tracker_that_speaks_like_wandb(smoke_run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, send in (("wandb", smoke_run.to_wandb), ("trackio", smoke_run.to_trackio)):
        tracker = Tracker()
        monkeypatch.setitem(__import__("sys").modules, name, tracker)
        assert send(project="heads") == "session"
        assert tracker.said[0]["name"] == smoke_run.name
        assert tracker.said[0]["project"] == "heads"
        assert tracker.said[1][0] == 0
        assert tracker.said[-1] == "finished"


@pytest.mark.filterwarnings("ignore")
def test_tensorboard_reads_it_back(smoke_run: Run, tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(smoke_run.to_tensorboard(tmp_path / "events")))
    events.Reload()
    read = [event.value for event in events.Scalars("train/loss")]
    np.testing.assert_allclose(read, smoke_run.table("train")["loss"], rtol=1e-6)


def test_one_dataset_of_named_axes(smoke_run: Run) -> None:
    data = smoke_run.to_xarray()
    table = smoke_run.table("step_kv_heads")
    picked = data["step_kv_heads.norm_mean"].sel(step=5, layer=1, kv_head=0)
    assert float(picked) == pytest.approx(table.query("step == 5 and layer == 1 and kv_head == 0")["norm_mean"].item())
    np.testing.assert_array_equal(data["gain.k_gain"], smoke_run.array("gain")["k_gain"])
    assert set(data["probe_query_heads.entropy"].dims) == {"snapshot", "text", "layer", "query_head"}

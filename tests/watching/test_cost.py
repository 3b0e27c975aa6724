"""The benchmark of watching runs every way it compares."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

import watching


@pytest.mark.filterwarnings("ignore")
def test_every_way_is_timed_beside_the_plain_loop(tmp_path: Path) -> None:
    shape = {"layers": 1, "width": 16, "heads": 2, "kv_heads": 1, "vocabulary": 32, "tokens": 8, "texts": 2}
    found = watching.measure(2, shape, tmp_path).set_index("way")
    assert tuple(found.index) == watching.WAYS
    assert found["ratio"]["plain"] == 1
    assert (found["seconds"] > 0).all()

"""Checkpoints: what was saved comes back, and any altered bit is found."""

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from civilwar.errors import RunDamaged
from civilwar.training.checkpoints import SIDECAR, STATE, Checkpoints

CPU = torch.device("cpu")


def state(step: int) -> dict[str, Any]:
    return {"model": {"weight": torch.full((3,), float(step))}}


@pytest.fixture
def two(tmp_path: Path) -> Checkpoints:
    """Checkpoints of steps 7 and 15; that of step 3 has gone."""
    checkpoints = Checkpoints(tmp_path, "a hash")
    for step in (3, 7, 15):
        checkpoints.save(step, state(step), parts={"000015": "ab"}, seconds={"wall": 1.5})
    return checkpoints


def test_the_newest_comes_back_with_its_facts_and_one_spare_is_kept(two: Checkpoints) -> None:
    assert two.steps() == [7, 15]
    newest = two.load_newest(CPU)
    assert newest is not None
    found, facts = newest
    assert torch.equal(found["model"]["weight"], state(15)["model"]["weight"])
    assert (facts["step"], facts["parts"], facts["seconds"]) == (15, {"000015": "ab"}, {"wall": 1.5})


def test_without_a_checkpoint_there_is_none(tmp_path: Path) -> None:
    assert Checkpoints(tmp_path, "a hash").load_newest(CPU) is None


def test_an_altered_bit_in_any_byte_of_the_sidecar_is_found(two: Checkpoints) -> None:
    file = two.folder / "000015" / SIDECAR
    content = file.read_bytes()
    for byte in range(len(content)):
        altered = bytearray(content)
        altered[byte] ^= 1 << byte % 8
        file.write_bytes(altered)
        with pytest.raises(RunDamaged, match=r"000015 is damaged.*Remove that folder to go on from step 7\."):
            two.load_newest(CPU)


def test_an_altered_bit_of_the_state_is_found(two: Checkpoints) -> None:
    file = two.folder / "000015" / STATE
    content = file.read_bytes()
    for byte in range(0, len(content), 41):
        altered = bytearray(content)
        altered[byte] ^= 1
        file.write_bytes(altered)
        with pytest.raises(RunDamaged, match="its checksum does not fit"):
            two.load_newest(CPU)


def test_another_step_s_checkpoint_under_a_name_is_found(two: Checkpoints) -> None:
    shutil.copytree(two.folder / "000007", two.folder / "000020")
    with pytest.raises(RunDamaged, match=r"000020 is damaged.*go on from step 15"):
        two.load_newest(CPU)


def test_another_configuration_s_checkpoint_is_refused(two: Checkpoints, tmp_path: Path) -> None:
    with pytest.raises(RunDamaged, match="does not fit"):
        Checkpoints(tmp_path, "another hash").load_newest(CPU)


def test_a_copy_that_somebody_made_beside_them_is_no_checkpoint(two: Checkpoints) -> None:
    shutil.copytree(two.folder / "000015", two.folder / "000015 (copy)")
    assert two.steps() == [7, 15]
    two.save(20, state(20))
    assert sorted(entry.name for entry in two.folder.iterdir()) == ["000015", "000015 (copy)", "000020"]


def test_code_in_a_checkpoint_is_never_run(two: Checkpoints, tmp_path: Path) -> None:
    """A state that a stranger pickled, with checksums that fit."""
    trace = tmp_path / "ran"

    class Bomb:
        def __reduce__(self) -> tuple[Any, ...]:
            return trace.touch, ()

    two.save(20, {"model": Bomb()})
    with pytest.raises(RunDamaged, match=r"holds no training state\. Remove that folder to go on from step"):
        two.load_newest(CPU)
    assert not trace.exists()

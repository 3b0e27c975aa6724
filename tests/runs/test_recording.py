"""Recording a run: whole, or slim, and never its weights."""

import multiprocessing
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from synthetic import make_synthetic_config, write_run

from civilwar import cli, paths
from civilwar.errors import RunDamaged, RunError, RunMismatch, RunNotWritten
from civilwar.files import sha256
from civilwar.runs import recording
from civilwar.runs.columns import often_kept
from civilwar.runs.manifest import read_manifest, write_manifest
from civilwar.runs.reader import Run, rows_of
from civilwar.runs.schema import ARRAYS, TABLES
from civilwar.runs.writer import RunWriter

#: Tables that a run trained here has; the others are of runs that were only watched.
OWN = [name for name, table in TABLES.items() if not table.watched]


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """``data/`` in a checkout of its own."""
    monkeypatch.setattr(paths, "recorded", lambda: tmp_path / "data")
    return tmp_path / "data"


@pytest.fixture
def trained(runs_dir: Path, smoke_run: Run) -> Iterator[Run]:
    """A copy of the smoke run that a test may change."""
    target = runs_dir / "to-record"
    shutil.copytree(smoke_run.path, target)
    yield Run(target)
    shutil.rmtree(target)


def test_record_copies_all_but_the_weights_and_the_copy_verifies(data: Path, trained: Run) -> None:
    assert (trained.path / "weights.safetensors").is_file()
    target = recording.record(trained.name)
    assert target == data / "to-record"
    copied = {file.relative_to(target).as_posix() for file in target.rglob("*") if file.is_file()}
    expected = {f"tables/{name}.parquet" for name in OWN} | {f"arrays/{name}.safetensors" for name in ARRAYS}
    assert copied == expected | {"manifest.json", "probe.json"}

    recorded = Run(target)
    assert recorded.complete
    assert recorded.config == trained.config
    # reading verifies each file against the checksum in the manifest
    assert set(recorded.manifest["files"]) == expected | {"probe.json"}
    for name in OWN:
        assert recorded.table(name).equals(trained.table(name))
    for name in ARRAYS:
        assert recorded.array(name).keys() == trained.array(name).keys()
    assert recorded.probe == trained.probe
    assert "weights.safetensors" in read_manifest(trained.path)["files"]


def test_a_recorded_copy_that_was_altered_is_noticed(data: Path, trained: Run) -> None:
    target = recording.record(trained.name)
    file = target / "tables" / "train.parquet"
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(RunDamaged, match=r"train\.parquet differs from the checksum"):
        Run(target).table("train")
    # recording again repairs it
    assert recording.record(trained.name) == target
    assert Run(target).table("train").equals(trained.table("train"))


@pytest.mark.parametrize("form", ["whole", "light"])
def test_a_damaged_file_does_not_get_a_checksum_that_fits_it(data: Path, trained: Run, form: recording.Form) -> None:
    file = trained.path / "arrays" / "patterns.safetensors"
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    with pytest.raises(RunDamaged, match=r"patterns\.safetensors differs from the checksum"):
        recording.record(trained.name, form)
    assert not data.exists()


def test_an_incomplete_run_is_not_recorded(data: Path, runs_dir: Path) -> None:
    config = make_synthetic_config(steps=20)
    with RunWriter(runs_dir / "half", config) as writer:
        writer.write_manifest(status="running")
    try:
        with pytest.raises(RunError, match="half is not complete: finish it"):
            recording.record("half")
    finally:
        shutil.rmtree(runs_dir / "half")
    assert not data.exists()


def test_another_run_of_that_name_is_not_overwritten(data: Path, trained: Run) -> None:
    other = write_run(data / trained.name, make_synthetic_config(steps=20))
    with pytest.raises(RunError, match="another run of that name"):
        recording.record(trained.name)
    assert Run(other.path).config == other.config


def test_a_run_of_another_text_is_not_overwritten(data: Path, trained: Run) -> None:
    target = recording.record(trained.name)
    manifest = read_manifest(target)
    other = manifest | {"corpus": manifest["corpus"] | {"checksum": "another text"}}
    write_manifest(target, other)
    with pytest.raises(RunMismatch, match="different texts"):
        recording.record(trained.name)
    assert read_manifest(target)["corpus"]["checksum"] == "another text"


# ---------------------------------------------------------------- what takes whose place


@pytest.mark.parametrize(("first", "then"), [("whole", "light"), ("whole", "slim"), ("light", "slim")])
def test_less_replaces_more_only_where_it_is_told_to(
    data: Path, trained: Run, first: recording.Form, then: recording.Form
) -> None:
    target = recording.record(trained.name, first)
    before = {file: sha256(file) for file in target.rglob("*") if file.is_file()}
    with pytest.raises(RunError, match=rf"holds more of this run than a {then} recording would keep .*--replace"):
        recording.record(trained.name, then)
    assert {file: sha256(file) for file in target.rglob("*") if file.is_file()} == before
    recording.record(trained.name, then, replace=True)
    assert Run(target).manifest["left_out"] == recording.LEFT_OUT[then]
    # as much or more needs no word
    for form in (then, first):
        recording.record(trained.name, form)
    assert Run(target).manifest["left_out"] == recording.LEFT_OUT[first]


def test_the_command_line_passes_it_on(data: Path, trained: Run, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["record", trained.name, "--form", "slim"]
    assert cli.main(arguments[:2]) == 0
    assert cli.main(arguments) == 1
    assert "--replace" in capsys.readouterr().err
    assert cli.main([*arguments, "--replace"]) == 0


def _record(name: str, data: Path, start: Any) -> None:
    paths.recorded = lambda: data
    start.wait(60)
    recording.record(name)


def test_recordings_at_once_are_all_whole(data: Path, trained: Run) -> None:
    context = multiprocessing.get_context("fork")
    start = context.Barrier(4)
    children = [context.Process(target=_record, args=(trained.name, data, start)) for _ in range(4)]
    for child in children:
        child.start()
    for child in children:
        child.join(120)
    assert [child.exitcode for child in children] == [0] * 4
    recorded = Run(data / trained.name)
    recorded.verify()
    assert recorded.manifest["files"].keys() == trained.manifest["files"].keys() - {"weights.safetensors"}
    assert {entry.name for entry in data.iterdir()} <= {trained.name, f".{trained.name}.lock"}


def test_a_kill_while_the_recording_is_replaced_leaves_a_whole_one_for_the_next_call(data: Path, trained: Run) -> None:
    target = recording.record(trained.name)
    replace = os.replace

    def kill(source: Path, place: Path) -> None:
        # the old one is aside, the new one not in yet; and no handler runs after a kill
        if place == target and str(source).endswith(".writing"):
            os._exit(9)
        replace(source, place)

    child = os.fork()
    if child == 0:
        os.replace = kill
        try:
            recording.record(trained.name)
        finally:
            os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9
    assert not target.exists()
    # the old recording counts again: less does not replace it
    with pytest.raises(RunError, match="holds more of this run"):
        recording.record(trained.name, "slim")
    Run(target).verify()
    assert {entry.name for entry in data.iterdir()} <= {trained.name, f".{trained.name}.lock"}


# ---------------------------------------------------------------- only what the manifest lists


def test_files_that_the_manifest_does_not_list_are_not_copied(data: Path, trained: Run, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("secret")
    (trained.path / "id_rsa").symlink_to(tmp_path / "secret")
    (trained.path / "notes.txt").write_text("mine")
    (trained.path / "tables" / "extra.parquet").write_text("extra")
    target = recording.record(trained.name)
    copied = {file.relative_to(target).as_posix() for file in target.rglob("*") if file.is_file()}
    assert copied == set(trained.manifest["files"]) - {"weights.safetensors"} | {"manifest.json"}


@pytest.mark.parametrize("form", ["whole", "light", "slim"])
def test_a_listed_file_that_is_a_link_is_refused_though_its_checksum_fits(
    data: Path, trained: Run, tmp_path: Path, form: recording.Form
) -> None:
    for relative in ("probe.json", "tables"):
        (trained.path / relative).rename(tmp_path / relative)
        (trained.path / relative).symlink_to(tmp_path / relative)
        with pytest.raises(RunDamaged, match=rf"{relative} is a link"):
            recording.record(trained.name, form)
        (trained.path / relative).unlink()
        (tmp_path / relative).rename(trained.path / relative)
    assert not data.exists()


def test_a_full_disk_is_said_and_what_was_recorded_stays(
    data: Path, trained: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = recording.record(trained.name)

    def full(*arguments: object, **options: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(shutil, "copyfile", full)
        with pytest.raises(RunNotWritten, match=r"could not be written: .*No space left.* make room"):
            recording.record(trained.name)
    Run(target).verify()


# ---------------------------------------------------------------- light and slim

# of the smoke preset: 24 steps, snapshots at 0, 1, 2, 4, 8, 16 and at a quarter, half and the end
MOMENTS, OFTEN, SELDOM = [0, 6, 12, 24], [0, 1, 2, 4, 6, 8, 12, 16, 24], [0, 6, 12, 24]
THINNED = {"step_kv_heads", "step_query_heads", "probe_sinks"}


def test_a_light_recording_thins_the_energies_and_nothing_else(data: Path, trained: Run) -> None:
    light = Run(recording.record(trained.name, form="light"))
    assert light.complete
    assert light.manifest["left_out"] == {"energy": "steps that are neither snapshots nor multiples of 8"}
    assert light.array("energy")["step"].tolist() == OFTEN
    np.testing.assert_array_equal(light.array("energy")["energy"], trained.array("energy")["energy"][OFTEN])
    for name in OWN:
        pd.testing.assert_frame_equal(light.table(name), trained.table(name))
    for name in ("gain", "patterns"):
        for key, values in light.array(name).items():
            np.testing.assert_array_equal(values, trained.array(name)[key])
    assert light.probe == trained.probe
    assert "weights.safetensors" not in light.manifest["files"]


@pytest.fixture
def slim_run(data: Path, trained: Run) -> Run:
    return Run(recording.record(trained.name, form="slim"))


def test_a_slim_recording_is_a_complete_run_that_verifies(slim_run: Run, trained: Run) -> None:
    copied = {file.relative_to(slim_run.path).as_posix() for file in slim_run.path.rglob("*") if file.is_file()}
    expected = {f"tables/{name}.parquet" for name in OWN}
    expected |= {"arrays/gain.safetensors", "arrays/energy.safetensors", "probe.json"}
    assert copied == expected | {"manifest.json"}
    assert slim_run.complete
    assert slim_run.config == trained.config
    assert slim_run.last_step == trained.last_step == 24
    assert slim_run.manifest["files"] == {file: sha256(slim_run.path / file) for file in expected}
    assert slim_run.probe == trained.probe
    kept = ("commit", "versions", "corpus", "device", "timings", "config_hash", "seed")
    assert {key: slim_run.manifest[key] for key in kept} == {key: trained.manifest[key] for key in kept}


@pytest.mark.parametrize("name", [name for name in OWN if name not in THINNED])
def test_tables_that_verdicts_need_whole_are_recorded_whole(slim_run: Run, trained: Run, name: str) -> None:
    pd.testing.assert_frame_equal(slim_run.table(name), trained.table(name))


def test_the_mean_norm_of_every_head_stays_at_every_step_and_the_rest_of_its_row_at_some(
    slim_run: Run, trained: Run
) -> None:
    slim, whole = slim_run.table("step_kv_heads"), trained.table("step_kv_heads")
    kept = ["step", "layer", "kv_head", "norm_mean"]
    assert list(slim) == list(whole)
    pd.testing.assert_frame_equal(slim[kept], whole[kept])
    often = whole["step"].isin(OFTEN)
    pd.testing.assert_frame_equal(slim[often], whole[often])
    assert slim[~often].drop(columns=kept).isna().all(axis=None)
    assert len(slim[~often]) == 16 * 2 * 2


@pytest.mark.parametrize(("name", "steps"), [("step_query_heads", OFTEN), ("probe_sinks", MOMENTS)])
def test_rows_of_some_steps_are_left_out(slim_run: Run, trained: Run, name: str, steps: list[int]) -> None:
    slim, whole = slim_run.table(name), trained.table(name)
    assert slim["step"].unique().tolist() == steps
    pd.testing.assert_frame_equal(slim, whole[whole["step"].isin(steps)].reset_index(drop=True))
    assert len(slim) < len(whole)


@pytest.mark.parametrize(("name", "steps"), [("gain", OFTEN), ("energy", SELDOM)])
def test_arrays_are_left_out_step_by_step(slim_run: Run, trained: Run, name: str, steps: list[int]) -> None:
    slim, whole = slim_run.array(name), trained.array(name)
    assert slim["step"].tolist() == steps
    assert slim.keys() == whole.keys()
    for key, values in slim.items():
        np.testing.assert_array_equal(values, whole[key][steps])
    with pytest.raises(RunError, match=r"steps \[7\] are not recorded there"):
        rows_of(slim["step"], [0, 7])


def test_a_longer_run_keeps_energies_every_32_steps_and_at_the_moments(data: Path, runs_dir: Path) -> None:
    config = make_synthetic_config(steps=100)
    run = write_run(runs_dir / "hundred", config)
    try:
        slim = Run(recording.record("hundred", form="slim"))
    finally:
        shutil.rmtree(run.path)
    assert slim.array("energy")["step"].tolist() == [0, 25, 32, 50, 64, 96, 100]
    often = [0, 1, 2, 4, 8, 16, 24, 25, 32, 40, 48, 50, 56, 64, 72, 80, 88, 96, 100]
    assert slim.array("gain")["step"].tolist() == often
    assert sorted(often_kept(config)) == often
    assert slim.table("probe_sinks")["step"].unique().tolist() == [0, 25, 50, 100]


def test_the_manifest_says_what_was_left_out_and_reading_it_says_so_too(slim_run: Run, trained: Run) -> None:
    assert slim_run.manifest["left_out"] == recording.LEFT_OUT["slim"]
    assert set(recording.LEFT_OUT["slim"]) == THINNED | {"gain", "energy", "patterns"}
    with pytest.raises(RunError, match=r"no arrays/patterns\.safetensors: it was recorded without \(all\)"):
        slim_run.array("patterns")
    assert len(trained.array("patterns")["step"]) > 0


def test_slim_is_smaller_and_whole_leaves_nothing_out(data: Path, trained: Run) -> None:
    def size() -> int:
        return sum(file.stat().st_size for file in (data / trained.name).rglob("*") if file.is_file())

    recording.record(trained.name, form="slim")
    slim = size()
    # another form of the same run takes its place
    whole = Run(recording.record(trained.name))
    assert whole.manifest["left_out"] == {}
    assert len(whole.array("patterns")["step"]) > 0
    assert slim < 0.8 * size()


def test_recording_a_recorded_run_again_does_not_forget_what_it_lacks(slim_run: Run, trained: Run) -> None:
    shutil.rmtree(trained.path)
    try:
        again = Run(recording.record(slim_run.name))
        assert again.path == slim_run.path
        assert again.manifest["left_out"] == recording.LEFT_OUT["slim"]
        with pytest.raises(RunError, match="recorded without"):
            again.array("patterns")
        pd.testing.assert_frame_equal(again.table("probe_sinks"), slim_run.table("probe_sinks"))
    finally:
        trained.path.mkdir()


# ---------------------------------------------------------------- weights


def test_dropped_weights_are_gone_from_disk_and_manifest_and_nothing_else_is(trained: Run) -> None:
    before = {file: sha256(file) for file in trained.path.rglob("*") if file.is_file()}
    recording.drop_weights(trained)
    left = {file: sha256(file) for file in trained.path.rglob("*") if file.is_file()}
    manifest = trained.path / "manifest.json"
    assert before.keys() - left.keys() == {trained.path / "weights.safetensors"}
    assert {file for file in left if left[file] != before[file]} == {manifest}
    run = Run(trained.path)
    assert run.complete
    assert trained.manifest["files"].keys() - run.manifest["files"].keys() == {"weights.safetensors"}
    assert {k: v for k, v in run.manifest.items() if k != "files"} == {
        k: v for k, v in trained.manifest.items() if k != "files"
    }
    pd.testing.assert_frame_equal(run.table("ablation"), trained.table("ablation"))
    # again, and it is still so
    written = manifest.read_bytes()
    recording.drop_weights(run)
    assert manifest.read_bytes() == written


def test_a_kill_between_manifest_and_weights_leaves_a_run_that_reads(
    trained: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    unlink = Path.unlink

    def killed(self: Path, missing_ok: bool = False) -> None:
        if self.name == "weights.safetensors":
            raise KeyboardInterrupt
        unlink(self, missing_ok)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", killed)
        with pytest.raises(KeyboardInterrupt):
            recording.drop_weights(trained)
    assert (trained.path / "weights.safetensors").is_file()
    run = Run(trained.path)
    assert "weights.safetensors" not in run.manifest["files"]
    pd.testing.assert_frame_equal(run.table("train"), trained.table("train"))
    recording.drop_weights(run)
    assert not (trained.path / "weights.safetensors").exists()


def test_a_run_without_weights_can_still_be_recorded(data: Path, trained: Run) -> None:
    recording.drop_weights(trained)
    recorded = Run(recording.record(trained.name, form="slim"))
    pd.testing.assert_frame_equal(recorded.table("train"), trained.table("train"))

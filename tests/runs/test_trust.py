"""A manifest that a stranger wrote: entries that are missing or of the wrong kind, files that are none or lie elsewhere."""

import os
from pathlib import Path
from typing import Any

import pytest
from synthetic import make_synthetic_config, write_run

from civilwar.errors import RunDamaged, RunError
from civilwar.runs.manifest import MANIFEST, read_manifest, write_manifest
from civilwar.runs.reader import Run
from civilwar.runs.trust import is_inside, plain_file


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return write_run(tmp_path / "tiny", make_synthetic_config(steps=20))


def sign(run: Run, without: tuple[str, ...] = (), **changes: Any) -> None:
    """Alter a manifest and give it the checksum that fits."""
    entries = {key: value for key, value in read_manifest(run.path).items() if key not in without}
    write_manifest(run.path, entries | changes)


@pytest.mark.parametrize("key", ["config", "files"])
def test_a_complete_run_without_what_it_is_made_of_is_not_opened(run: Run, key: str) -> None:
    sign(run, without=(key,))
    with pytest.raises(RunDamaged, match=rf"manifest\.json has no entry '{key}'.*Restore it"):
        Run(run.path)


@pytest.mark.parametrize("key", ["corpus", "device", "commit", "anything"])
def test_an_entry_that_was_taken_out_is_named_when_it_is_asked_for(run: Run, key: str) -> None:
    sign(run, without=(key,))
    opened = Run(run.path)
    with pytest.raises(RunDamaged, match=rf"no entry '{key}'"):
        opened.manifest[key]
    assert opened.manifest.get(key) is None


def test_a_run_without_a_status_is_damaged(run: Run) -> None:
    sign(run, without=("status",))
    with pytest.raises(RunDamaged, match="no entry 'status'"):
        _ = Run(run.path).manifest["status"]


def test_the_same_goes_for_what_an_entry_holds(run: Run) -> None:
    sign(run, corpus={"train_tokens": 1})
    with pytest.raises(RunDamaged, match="no entry 'documents'"):
        Run(run.path).manifest["corpus"]["documents"]


@pytest.mark.parametrize(
    "changes",
    [
        {"status": 1},
        {"files": []},
        {"files": {"a": 1}},
        {"left_out": "all"},
        {"timings": None},
        {"corpus": "docstrings"},
    ],
)
def test_an_entry_of_the_wrong_kind_is_named(run: Run, changes: dict[str, Any]) -> None:
    sign(run, **changes)
    with pytest.raises(RunDamaged, match=r"is not as civilwar writes it: its .* Restore it"):
        Run(run.path)


OUTSIDE = ["/etc/passwd", "../secret", "tables/../../secret", "..", ".", "", "a//b", "./a", "a/", "a\\b", "C:x", "a\0b"]


@pytest.mark.parametrize("relative", OUTSIDE)
def test_a_manifest_that_names_a_file_elsewhere_is_refused(run: Run, relative: str) -> None:
    assert not is_inside(relative)
    sign(run, files={relative: "0" * 64})
    with pytest.raises(RunDamaged, match="which is no file inside the run's folder"):
        Run(run.path)
    with pytest.raises(RunDamaged, match="which is no file inside it"):
        plain_file(run.path, relative)


def test_a_plain_file_inside_is_taken(run: Run, tmp_path: Path) -> None:
    for relative in run.manifest["files"]:
        assert is_inside(relative)
        assert plain_file(run.path, relative) == run.path / relative
    # where the folder lies is its owner's business
    (tmp_path / "linked").symlink_to(run.path)
    assert plain_file(tmp_path / "linked", "probe.json").read_bytes() == (run.path / "probe.json").read_bytes()


def test_links_pipes_and_folders_are_no_plain_files(run: Run, tmp_path: Path) -> None:
    (tmp_path / "secret").mkdir()
    (tmp_path / "secret" / "key").write_text("secret")
    (run.path / "id").symlink_to(tmp_path / "secret" / "key")
    (run.path / "dangling").symlink_to(tmp_path / "nowhere")
    (run.path / "linked").symlink_to(tmp_path / "secret")
    os.mkfifo(run.path / "pipe")
    expected = {
        "id": "is a link",
        "dangling": "is a link",
        "linked/key": "linked is a link",
        "pipe": "no plain file",
        "tables": "no plain file",
        "nothing": "is missing",
        f"{MANIFEST}/below": "is missing",
    }
    for relative, why in expected.items():
        with pytest.raises(RunDamaged, match=why):
            plain_file(run.path, relative)


def test_a_damaged_entry_is_a_run_s_error() -> None:
    """So that whoever handles those handles it."""
    assert issubclass(RunDamaged, RunError)


def test_a_file_behind_a_link_is_not_read_though_its_checksum_fits(run: Run, tmp_path: Path) -> None:
    file = run.path / "tables" / "train.parquet"
    elsewhere = tmp_path / "elsewhere"
    file.rename(elsewhere)
    file.symlink_to(elsewhere)
    opened = Run(run.path)
    with pytest.raises(RunDamaged, match="is a link"):
        opened.table("train")
    with pytest.raises(RunDamaged, match="is a link"):
        opened.verify()


@pytest.mark.parametrize(
    "sittings",
    [
        "abc",
        [1],
        [{}],
        [{"from_step": "0"}],
        [{"from_step": 0, "versions": []}],
        [{"from_step": 0, "device": 1}],
        [{"from_step": 0, "ways": 1}],
    ],
)
def test_sittings_of_the_wrong_kind_are_named(run: Run, sittings: Any) -> None:
    sign(run, sittings=sittings)
    with pytest.raises(RunDamaged, match="sitting"):
        Run(run.path)


def test_a_manifest_nested_without_end_is_said(run: Run) -> None:
    nested: dict[str, Any] = {}
    for _ in range(400):
        nested = {"a": nested}
    sign(run, more=nested)
    with pytest.raises(RunDamaged, match="nested too deeply"):
        Run(run.path)

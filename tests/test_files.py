"""Files that are whole or not there, whoever writes them at once and whenever a process is killed."""

import errno
import json
import os
import signal
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from civilwar import files
from civilwar.errors import RunDamaged
from civilwar.files import atomic_path, is_temporary, read_json, recover


def write_folder(target: Path, content: str) -> None:
    with atomic_path(target) as temporary:
        temporary.mkdir()
        for name in ("one", "two"):
            (temporary / name).write_text(content)


def contents(folder: Path) -> set[str]:
    assert sorted(file.name for file in folder.iterdir()) == ["one", "two"]
    return {file.read_text() for file in folder.iterdir()}


def in_child(work: Callable[[], object], die_at: int | None = None, where: Path | None = None) -> int:
    """Exit status of a process that does ``work``, killed before it touches ``where`` for the n-th time."""
    child = os.fork()
    if child == 0:
        seen = 0

        def watch(event: str, arguments: tuple[object, ...]) -> None:
            nonlocal seen
            if any(isinstance(a, str | Path) and str(a).startswith(str(where)) for a in arguments):
                seen += 1
                if seen == die_at:
                    os.kill(os.getpid(), signal.SIGKILL)

        if die_at is not None:
            import sys

            sys.addaudithook(watch)
        try:
            work()
        finally:
            os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def test_two_writers_at_once_share_no_temporary_path(tmp_path: Path) -> None:
    both, paths = threading.Barrier(2), []

    def write(content: str) -> None:
        with atomic_path(tmp_path / "file") as temporary:
            temporary.write_text(content)
            paths.append(temporary)
            both.wait(10)
            assert temporary.read_text() == content

    threads = [threading.Thread(target=write, args=(content,)) for content in "ab"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(paths)) == 2
    assert all(is_temporary(path.name) for path in paths)
    assert [file.name for file in tmp_path.iterdir()] == ["file"]
    assert (tmp_path / "file").read_text() in "ab"


def test_whenever_a_process_is_killed_the_old_folder_or_the_new_one_is_whole(tmp_path: Path) -> None:
    target = tmp_path / "folder"
    write_folder(target, "old")
    statuses, seen = [], set()
    for moment in range(1, 200):
        statuses.append(in_child(lambda: write_folder(target, "new"), moment, tmp_path))
        recover(target)
        (found,) = contents(target)
        seen.add(found)
        assert [file.name for file in tmp_path.iterdir()] == ["folder"]
        if statuses[-1] == 0:
            break
        write_folder(target, "old")
    assert statuses[-1] == 0
    assert set(statuses[:-1]) == {-signal.SIGKILL}
    assert seen == {"old", "new"}


def test_a_copy_moved_aside_is_put_back_by_the_next_call(tmp_path: Path) -> None:
    target = tmp_path / "folder"
    write_folder(target, "old")

    def killed_between() -> None:
        replace = os.replace

        def once(source: Path, place: Path) -> None:
            if place == target:
                os.kill(os.getpid(), signal.SIGKILL)
            replace(source, place)

        os.replace = once
        write_folder(target, "new")

    assert in_child(killed_between) == -signal.SIGKILL
    assert not target.exists()
    assert len(list(tmp_path.iterdir())) == 2
    with pytest.raises(ZeroDivisionError), atomic_path(target):
        _ = 1 / 0
    assert contents(target) == {"old"}
    assert [file.name for file in tmp_path.iterdir()] == ["folder"]


def test_a_rename_that_the_disk_refuses_puts_the_old_folder_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "folder"
    write_folder(target, "old")
    replace = os.replace

    def refuse(source: Path, place: Path) -> None:
        if source.suffix == files.WRITING:
            raise OSError(28, "No space left on device")
        replace(source, place)

    monkeypatch.setattr(os, "replace", refuse)
    with pytest.raises(OSError, match="No space left"):
        write_folder(target, "new")
    assert contents(target) == {"old"}
    assert [file.name for file in tmp_path.iterdir()] == ["folder"]


def left_over(target: Path, machine: str, process: int) -> Path:
    path = target.with_name(f".{target.name}.{machine}-{process}-0123abcd{files.WRITING}")
    path.mkdir()
    (path / "half").write_text("half")
    return path


def test_only_what_no_living_process_of_this_machine_writes_is_cleared_away(tmp_path: Path) -> None:
    target, here = tmp_path / "part", files._machine()
    dead = os.fork()
    if dead == 0:
        os._exit(0)
    os.waitpid(dead, 0)
    gone = [left_over(target, here, dead), left_over(target, here, os.getpid())]
    stays = [
        left_over(target, here, os.getppid()),
        left_over(target, "000000" if here != "000000" else "000001", dead),
        left_over(tmp_path / "part2", here, dead),
        tmp_path / ".part.mine.writing",
    ]
    stays[-1].mkdir()
    with atomic_path(target) as temporary:
        temporary.write_text("whole")
        # also while it is in use
        recover(target)
        assert temporary.exists()
    assert not any(path.exists() for path in gone)
    assert all(path.exists() for path in stays)
    assert target.read_text() == "whole"


def moved_aside(target: Path) -> Path:
    """A copy that a process of another machine moved aside."""
    other = "000000" if files._machine() != "000000" else "000001"
    path = target.with_name(f".{target.name}.{other}-77-0123abcd{files.ASIDE}")
    path.mkdir(parents=True)
    (path / "a").write_text("old")
    return path


def test_what_another_machine_moved_aside_and_did_not_replace_comes_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "GIVEN_UP", 0.01)
    aside = moved_aside(tmp_path / "folder")
    recover(tmp_path / "other")
    assert aside.exists()
    recover(tmp_path / "folder")
    assert [file.name for file in tmp_path.iterdir()] == ["folder"]
    assert (tmp_path / "folder" / "a").read_text() == "old"


def test_what_another_machine_is_just_replacing_is_left_to_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    aside, target = moved_aside(tmp_path / "folder"), tmp_path / "folder"
    # it puts the new one in while this machine waits
    monkeypatch.setattr(files.time, "sleep", lambda seconds: target.mkdir())
    recover(target)
    assert aside.exists()
    assert list(target.iterdir()) == []
    # beside a whole one nothing is touched, and nobody waits
    monkeypatch.setattr(files.time, "sleep", lambda seconds: pytest.fail("it waited"))
    recover(target)
    assert aside.exists()


def test_a_renamed_file_is_kept_by_the_disk_and_so_is_its_entry(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    events: list[str] = []
    fsync, replace = os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda fd: events.append(os.readlink(f"/proc/self/fd/{fd}")) or fsync(fd))
    monkeypatch.setattr(os, "replace", lambda one, other: events.append("rename") or replace(one, other))
    with atomic_path(tmp_path / "file") as temporary:
        temporary.write_text("new")
    assert events == [str(temporary), "rename", str(tmp_path)]
    events.clear()
    write_folder(tmp_path / "folder", "new")
    assert events[-2:] == ["rename", str(tmp_path)]
    assert any(Path(event).is_dir() or files.WRITING in event for event in events[:-2])


def test_a_file_system_that_cannot_flush_a_folder_is_no_error_and_a_full_disk_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(number: int) -> None:
        monkeypatch.setattr(os, "fsync", lambda fd: (_ for _ in ()).throw(OSError(number, os.strerror(number))))

    refuse(errno.EINVAL)
    files.sync_folder(tmp_path)
    refuse(errno.ENOSPC)
    with pytest.raises(OSError, match="No space left"):
        files.sync_folder(tmp_path)


def test_what_is_discarded_is_gone_at_once_and_what_a_kill_leaves_of_it_is_cleared_away(tmp_path: Path) -> None:
    target = tmp_path / "folder"
    write_folder(target, "old")
    (tmp_path / "link").symlink_to(target)
    files.discard(tmp_path / "link")
    assert contents(target) == {"old"}
    for moment in range(1, 50):
        status = in_child(lambda: files.discard(target), moment, tmp_path)
        # all of it or nothing that bears its name
        assert not target.exists() or contents(target) == {"old"}
        recover(target)
        assert [file.name for file in tmp_path.iterdir()] in (["folder"], [])
        if status == 0:
            break
        write_folder(target, "old")
    assert status == 0
    assert not target.exists()


def test_a_link_in_the_place_of_a_folder_is_removed_and_what_it_leads_to_is_not(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "folder").symlink_to(tmp_path / "elsewhere")
    write_folder(tmp_path / "folder", "new")
    assert contents(tmp_path / "folder") == {"new"}
    assert list((tmp_path / "elsewhere").iterdir()) == []


@pytest.mark.parametrize("content", ["[" * 100_000, '{"a":' * 100_000, "1" * 5_000, "\ud800", "{", "[]"])
def test_what_is_no_json_object_is_damage(content: str, tmp_path: Path) -> None:
    file = tmp_path / "manifest.json"
    file.write_text(content, encoding="utf-8", errors="surrogatepass")
    with pytest.raises(RunDamaged, match=r"Restore it from a copy"):
        read_json(file)


def test_an_object_is_read(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(json.dumps({"a": [1, None]}))
    assert read_json(tmp_path / "a.json") == {"a": [1, None]}

"""Cached folders on disks that are full or may not be written."""

import resource
from pathlib import Path

import numpy as np
import pytest
from texts import write_rows

from civilwar.corpus import cache, corpus
from civilwar.corpus.cache import CacheDamaged, CacheNotWritten, open_entry
from civilwar.corpus.corpus import load_corpus


@pytest.mark.parametrize("first", ["tensors", "tokenizer"])
def test_a_full_disk_is_said_and_leaves_nothing(first: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source, folder = write_rows(tmp_path / "rows.jsonl"), tmp_path / "cache"
    if first == "tokenizer":
        monkeypatch.setattr(corpus, "save_file", lambda arrays, file: file.touch())
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    # a limit on the size of any file stands for a full disk: once for the library that writes tensors, once for Python
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000, before[1]))
    try:
        with pytest.raises(
            CacheNotWritten, match=r"cache entry .*tokens-.* could not be written: .*File too large.*room"
        ):
            load_corpus(source, 300, folder)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert not [path for path in folder.iterdir() if path.is_dir()]
    monkeypatch.undo()
    assert load_corpus(source, 300, folder).vocab_size == 300


def test_a_warm_cache_is_only_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source, folder = write_rows(tmp_path / "rows.jsonl"), tmp_path / "cache"
    whole = load_corpus(source, 300, folder)

    def read_only(*arguments: object) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(cache, "FileLock", read_only)
    again = load_corpus(source, 300, folder)
    assert again.checksum == whole.checksum
    np.testing.assert_array_equal(again.train.ids, whole.train.ids)
    with pytest.raises(CacheNotWritten, match=r"Read-only file system.*CIVILWAR_CACHE"):
        load_corpus(source, 310, folder)


@pytest.mark.parametrize("content", ["[" * 100_000, "1" * 5_000, "null"])
def test_an_entry_s_list_of_files_that_is_none_is_damage(content: str, tmp_path: Path) -> None:
    open_entry(tmp_path / "entry", lambda folder: None)
    (tmp_path / "entry" / "entry.json").write_text(content)
    with pytest.raises(CacheDamaged, match=r"is damaged .*Remove that folder"):
        open_entry(tmp_path / "entry", lambda folder: None)

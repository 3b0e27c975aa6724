"""A text is known by its content."""

from pathlib import Path

import pytest

from civilwar.corpus.corpus import load_corpus
from civilwar.corpus.document import Document
from civilwar.corpus.identity import check_same_text, checksum, checksum_here
from civilwar.errors import RunMismatch


def test_the_checksum_is_of_texts_and_their_boundaries() -> None:
    documents = [Document("a", "one two"), Document("b", "three")]
    assert checksum(documents) == checksum(list(documents))
    for other in (
        [Document("a", "one"), Document("b", " twothree")],
        [Document("a", "one two"), Document("c", "three")],
        documents[::-1],
        documents[:1],
    ):
        assert checksum(other) != checksum(documents)


def test_the_checksum_here_is_the_one_that_training_records(smoke_corpus: str) -> None:
    assert checksum_here(smoke_corpus) == load_corpus(smoke_corpus, 512).checksum


def test_a_text_that_cannot_be_read_here_has_no_checksum(tmp_path: Path) -> None:
    assert checksum_here(f"path:{tmp_path / 'gone'}", tmp_path) is None
    # it might be another by now, but nobody asks the network
    assert checksum_here("hub:somebody/something", tmp_path) is None


def test_another_checksum_is_refused_with_both_named(tmp_path: Path) -> None:
    old, new = "a" * 64, "b" * 64
    for recorded, now in ((old, old), (None, new), (old, None)):
        check_same_text("path:x", recorded, now, tmp_path)
    with pytest.raises(RunMismatch, match=rf"path:x had the checksum {'a' * 16} there and has {'b' * 16} now\. Put"):
        check_same_text("path:x", old, new, tmp_path)
    with pytest.raises(RunMismatch, match=r"another version of a package has other text"):
        check_same_text("docstrings", old, new, tmp_path)

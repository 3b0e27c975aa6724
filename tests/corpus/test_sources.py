"""What of other people's files is read, what is refused with its cause, and what is left out with a word."""

import bz2
import gzip
import lzma
import os
import re
import warnings
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from texts import write_rows

from civilwar import cli, files
from civilwar.corpus.corpus import CorpusError, load_corpus
from civilwar.corpus.sources import read_documents, skipped_files
from civilwar.errors import CorpusWarning


def test_parquet_with_two_text_columns(tmp_path: Path) -> None:
    columns = pa.Table.from_arrays([pa.array(["a"]), pa.array(["b"])], names=["text", "text"])
    pq.write_table(columns, tmp_path / "t.parquet")
    with pytest.raises(CorpusError, match=r"t\.parquet has 2 columns named `text`: expected one\. Rename or drop"):
        read_documents(f"path:{tmp_path / 't.parquet'}", tmp_path)


@pytest.mark.parametrize("compression", ["none", "snappy"])
@pytest.mark.parametrize("kind", [pa.string(), pa.large_string(), pa.dictionary(pa.int32(), pa.string())])
def test_any_kind_of_strings_in_parquet_is_read(kind: pa.DataType, compression: str, tmp_path: Path) -> None:
    texts = [f"text {i} \u00e9" for i in range(3_000)]
    table = pa.table({"n": range(3_000), "text": pa.array(texts).cast(kind), "more": [{"x": 1}] * 3_000})
    pq.write_table(table, tmp_path / "t.parquet", compression=compression, row_group_size=1_000)
    found = read_documents(f"path:{tmp_path / 't.parquet'}", tmp_path)
    assert [document.text for document in found] == texts


@pytest.mark.parametrize("dictionary", [True, False])
def test_parquet_that_unpacks_to_far_more_than_its_size_is_refused(
    dictionary: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once because each text is stored once and used often, once because repetition compresses."""
    monkeypatch.setattr(files, "LARGEST_SMALL", 1_000_000)
    texts = ["a" * 10_000] * 2_000
    pq.write_table(pa.table({"text": texts}), tmp_path / "t.parquet", compression="zstd", use_dictionary=dictionary)
    with pytest.raises(CorpusError, match=r"has [\d,]+ bytes and unpacks to more than 1,000,000: expected at most 100"):
        read_documents(f"path:{tmp_path / 't.parquet'}", tmp_path)
    # below a size that any machine holds it does not matter
    monkeypatch.setattr(files, "LARGEST_SMALL", 2 * sum(map(len, texts)))
    assert len(read_documents(f"path:{tmp_path / 't.parquet'}", tmp_path)) == 1


PACKED = {
    "gzip": (gzip.compress, "compressed with gzip"),
    "bzip2": (bz2.compress, "compressed with bzip2"),
    "xz": (lzma.compress, "compressed with xz"),
}


@pytest.mark.parametrize("name", ["a.jsonl", "a.txt", "a.parquet"])
@pytest.mark.parametrize("kind", PACKED)
def test_what_is_compressed_under_another_name_is_said_to_be(kind: str, name: str, tmp_path: Path) -> None:
    compress, said = PACKED[kind]
    (tmp_path / name).write_bytes(compress(b'{"text": "a"}' * 100))
    with pytest.raises(
        CorpusError, match=rf"{said} under another name: expected \{Path(name).suffix}\. Unpack"
    ) as error:
        read_documents(f"path:{tmp_path / name}", tmp_path)
    assert "iconv" not in str(error.value)


def test_parquet_under_another_name_is_said_to_be(tmp_path: Path) -> None:
    pq.write_table(pa.table({"text": ["a\u00e9" * 100]}), tmp_path / "t.parquet")
    (tmp_path / "t.parquet").rename(tmp_path / "t.txt")
    with pytest.raises(CorpusError, match="is parquet under another name"):
        read_documents(f"path:{tmp_path / 't.txt'}", tmp_path)


@pytest.fixture
def partly_readable(tmp_path: Path) -> Path:
    """A folder of which one text is read, through a link too, and the rest cannot be."""
    folder, elsewhere = tmp_path / "texts", tmp_path / "elsewhere"
    (folder / "deep").mkdir(parents=True)
    elsewhere.mkdir()
    (elsewhere / "more.txt").write_text("more")
    (folder / "deep" / "a.txt").write_text("a")
    (folder / "linked.txt").symlink_to(elsewhere / "more.txt")
    (folder / "rows.jsonl.gz").write_bytes(gzip.compress(b'{"text": "b"}'))
    (folder / "deep" / "linked").symlink_to(elsewhere)
    (folder / "dangling.txt").symlink_to(tmp_path / "nowhere")
    (folder / "loop.txt").symlink_to(folder / "loop.txt")
    os.mkfifo(folder / "pipe.txt")
    (folder / ".hidden.txt").write_text("hidden")
    return folder


SKIPPED = [
    "dangling.txt (a link that leads nowhere)",
    "loop.txt (a link that leads nowhere)",
    "pipe.txt (no file)",
    "rows.jsonl.gz (compressed)",
    "deep/linked (a link to a folder)",
]


def test_what_a_folder_holds_and_is_not_read_is_named(partly_readable: Path, tmp_path: Path) -> None:
    with pytest.warns(CorpusWarning) as caught:
        found = read_documents(f"path:{partly_readable}", tmp_path)
    assert [document.module for document in found] == ["deep/a.txt", "linked.txt"]
    (warning,) = caught
    said = str(warning.message)
    assert said.startswith(f"of corpus folder {partly_readable} 5 entries are not read: {', '.join(SKIPPED)}. Unpack")
    assert skipped_files(f"path:{partly_readable}") == SKIPPED
    assert skipped_files(f"path:{partly_readable / 'deep' / 'a.txt'}") == skipped_files("docstrings") == []


def test_only_some_of_very_many_are_named(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("a")
    for number in range(100):
        (tmp_path / f"{number:03d}.zip").write_bytes(b"")
    names = skipped_files(f"path:{tmp_path}")
    assert names == [*(f"{number:03d}.zip (compressed)" for number in range(20)), "and 80 more"]


def test_a_folder_of_nothing_but_what_is_not_read_says_so(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl.gz").write_bytes(b"")
    with pytest.raises(CorpusError, match=r"holds no .* file \(not read: a\.jsonl\.gz \(compressed\)\)"):
        read_documents(f"path:{tmp_path}", tmp_path)


def test_the_manifest_s_facts_name_what_was_not_read(tmp_path: Path) -> None:
    (tmp_path / "texts").mkdir()
    source = write_rows(tmp_path / "texts" / "rows.jsonl")
    assert load_corpus(source, 300, tmp_path / "cache").facts()["skipped"] == []
    (tmp_path / "texts" / "more.jsonl.gz").write_bytes(b"")
    with pytest.warns(CorpusWarning):
        facts = load_corpus(f"path:{tmp_path / 'texts'}", 300, tmp_path / "cache").facts()
    assert facts["skipped"] == ["more.jsonl.gz (compressed)"]


def test_the_command_line_warns_in_one_sentence(
    partly_readable: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    reading = lambda options: read_documents(f"path:{partly_readable}", partly_readable) and 0  # noqa: E731
    monkeypatch.setattr("civilwar.commands.list.run", reading)
    with warnings.catch_warnings():
        warnings.simplefilter("default")
        assert cli.main(["list"]) == 0
    assert re.fullmatch(r"civilwar: of corpus folder .* 5 entries are not read: .*\n", capsys.readouterr().err)

"""Sources, splits, tokenizer, cache and batches of `civilwar.corpus.corpus`, on small corpora of their own."""

import dataclasses
import itertools
import json
import re
import shutil
import sys
import types
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from texts import WORDS

from civilwar import files
from civilwar.corpus import packages, sources
from civilwar.corpus.cache import CacheDamaged
from civilwar.corpus.corpus import SEPARATOR, Batches, Corpus, CorpusError, Tokens, load_corpus
from civilwar.corpus.document import Document
from civilwar.corpus.identity import checksum, checksum_here
from civilwar.corpus.sources import read_documents
from civilwar.corpus.tokenizer import is_separator, printable, train_tokenizer
from civilwar.errors import CorpusWarning

pytestmark = pytest.mark.filterwarnings("error")

PACKAGE, VOCABULARY = "docstrings:networkx", 512


@pytest.fixture(scope="session")
def corpus_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("corpus-cache")


@pytest.fixture(scope="session")
def corpus(corpus_cache: Path) -> Corpus:
    return load_corpus(PACKAGE, VOCABULARY, corpus_cache)


def prose(n: int, seed: int = 0) -> list[str]:
    """``n`` different documents of some 300 characters, with words that repeat."""
    rng = np.random.default_rng(seed)
    return [f"Text {seed} {i}. " + " ".join(rng.choice(WORDS, 50)) + "." for i in range(n)]


def write_jsonl(file: Path, texts: list[str]) -> str:
    file.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts), encoding="utf-8")
    return f"path:{file}"


def texts_of(corpus: Corpus, split: str) -> list[str]:
    tokens: Tokens = getattr(corpus, split)
    return [corpus.tokenizer.decode(tokens.document(d)[1:].tolist()) for d in range(len(tokens.starts))]


def same(a: Corpus, b: Corpus) -> bool:
    """Whether two corpora hold the same tokens of the same tokenizer."""
    arrays = [
        np.array_equal(getattr(getattr(a, split), name), getattr(getattr(b, split), name))
        for split in ("train", "validation", "probe")
        for name in ("ids", "starts")
    ]
    return all(arrays) and a.facts() == b.facts() and a.tokenizer.to_str() == b.tokenizer.to_str()


# Sources --------------------------------------------------------------------------------------------------------------


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package that refuses to be imported."""
    folder = tmp_path / "site" / "never_imported"
    (folder / "sub").mkdir(parents=True)
    (folder / "__init__.py").write_text("raise RuntimeError('imported')\n")
    monkeypatch.syspath_prepend(str(folder.parent))
    return folder


def test_docstrings_are_parsed_and_never_imported(package: Path, tmp_path: Path) -> None:
    long, short = "word " * 40 + "end", "word " * 38
    (package / "a.py").write_text(
        f'"""{long} module"""\n'
        f'class C:\n    r"""{long} class\n\n        indented \\d\n    """\n'
        f'    async def f(self):\n        """{long} method"""\n'
        f'if True:\n    try:\n        pass\n    except ValueError:\n        def g():\n            """{long} nested"""\n'
        f'match 1:\n    case 1:\n        def h():\n            """{long} module"""\n'
        f'def too_short():\n    """{short}"""\n'
        f'def half():\n    """{long} \\ud800"""\n'
        f'text = """{long} no docstring"""\nbad_escape = "\\d"\n'
    )
    (package / "sub" / "b.py").write_text(f'"""{long} class\n\n    indented\n"""\n')
    (package / "sub" / "broken.py").write_text(f'"""{long} broken"""\ndef (:\n')
    (package / "sub" / "latin.py").write_bytes(b'"""' + long.encode() + b' \xe9"""\n')
    documents = read_documents("docstrings:never_imported", tmp_path / "cache")
    assert documents == [
        Document("never_imported.a", f"{long} module"),
        Document("never_imported.a", f"{long} class\n\nindented \\d"),
        Document("never_imported.a", f"{long} method"),
        Document("never_imported.a", f"{long} nested"),
        Document("never_imported.sub.b", f"{long} class\n\nindented"),
    ]
    assert "never_imported" not in sys.modules


def test_an_edited_package_is_read_again(package: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (package / "a.py").write_text(f'"""{"first " * 50}"""')
    before = read_documents("docstrings:never_imported", tmp_path)
    monkeypatch.setattr(packages, "_extract", lambda files: pytest.fail("parsed twice"))
    assert read_documents("docstrings:never_imported", tmp_path) == before
    monkeypatch.undo()
    monkeypatch.syspath_prepend(str(package.parent))
    (package / "a.py").write_text(f'"""{"second " * 50}"""')
    assert "second" in read_documents("docstrings:never_imported", tmp_path)[0].text


def test_the_order_of_packages_does_not_matter(tmp_path: Path) -> None:
    documents = read_documents("docstrings:seaborn,mpmath", tmp_path)
    assert documents == read_documents("docstrings: mpmath,seaborn,mpmath", tmp_path)
    assert {document.module.split(".")[0] for document in documents} == {"mpmath", "seaborn"}


def test_path_reads_every_format_in_order(tmp_path: Path) -> None:
    folder = tmp_path / "texts"
    (folder / "b").mkdir(parents=True)
    (folder / ".git").mkdir()
    (folder / ".git" / "hidden.txt").write_text("hidden")
    (folder / "ignored.md").write_text("ignored")
    (folder / "z.txt").write_bytes(b"\xef\xbb\xbfz \x00\x1b[31m <b>\r\n")
    (folder / "B.TXT").write_text("capital")
    (folder / "b" / "rows.jsonl").write_text('{"text": "one\u2028line"}\n\n{"text": "two", "n": 1}\n{"text": " \\n"}\n')
    pq.write_table(pa.table({"n": [1, 2], "text": ["three", "two"]}), folder / "c.parquet")
    with pytest.warns(CorpusWarning, match=r"1 entry is not read: ignored\.md \(no \.txt, \.jsonl, \.parquet file\)"):
        documents = read_documents(f"path:{folder}", tmp_path)
    assert documents == [
        Document("B.TXT", "capital"),
        Document("b/rows.jsonl", "one\u2028line"),
        Document("b/rows.jsonl", "two"),
        Document("c.parquet", "three"),
        Document("z.txt", "z \x00\x1b[31m <b>\r\n"),
    ]
    assert read_documents(f"path:{folder / 'z.txt'}", tmp_path)[0].module == "z.txt"


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> list[tuple[object, ...]]:
    """A stand-in for the package `datasets`; the list receives the arguments of every call."""
    calls: list[tuple[object, ...]] = []

    def load_dataset(name: str, configuration: str | None, split: str, streaming: bool) -> Iterator[dict[str, object]]:
        calls.append((name, configuration, split, streaming))
        if name == "no/such":
            raise FileNotFoundError("no such data set")
        field = "content" if name == "no/text" else "text"
        return ({field: text} for text in prose(1_000))

    module = types.ModuleType("datasets")
    module.load_dataset = load_dataset  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "datasets", module)
    monkeypatch.setattr(sources, "HUB_CHARACTERS", 30_000)
    return calls


def test_hub_streams_a_stated_amount_once(hub: list[tuple[object, ...]], tmp_path: Path) -> None:
    documents = read_documents("hub:owner/name:configuration", tmp_path)
    lengths = [len(document.text) for document in documents]
    assert sum(lengths[:-1]) < 30_000 <= sum(lengths)
    assert [document.text for document in documents] == prose(len(documents))
    assert read_documents("hub:owner/name:configuration", tmp_path) == documents
    assert hub == [("owner/name", "configuration", "train", True)]
    read_documents("hub:owner/name", tmp_path)
    assert hub[1:] == [("owner/name", None, "train", True)]


@pytest.mark.parametrize(("name", "expected"), [("no/such", "no such data set"), ("no/text", "row 0.*`text` field")])
def test_hub_errors(name: str, expected: str, hub: list[tuple[object, ...]], tmp_path: Path) -> None:
    for _ in range(2):  # a failure is not kept
        with pytest.raises(CorpusError, match=expected):
            read_documents(f"hub:{name}", tmp_path)
    assert len(hub) == 2


def test_what_was_streamed_is_known_by_its_checksum_and_nothing_is_streamed_for_it(
    hub: list[tuple[object, ...]], tmp_path: Path
) -> None:
    assert checksum_here("hub:owner/name", tmp_path) is None
    assert hub == []
    known = checksum(read_documents("hub:owner/name", tmp_path))
    assert checksum_here("hub:owner/name", tmp_path) == known
    assert len(hub) == 1


def test_hub_without_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(CorpusError, match=re.escape("pip install 'civilwar[hub]'")):
        read_documents("hub:any", tmp_path)


@pytest.mark.parametrize(
    "source", ["", "docstring", "docstrings:", "path:", "hub:", "file:x", "Docstrings", "docstrings "]
)
def test_an_unknown_source_names_the_known_ones(source: str, tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match=r"unknown corpus.*docstrings.*path:FOLDER_OR_FILE.*hub:NAME"):
        read_documents(source, tmp_path)


@pytest.mark.parametrize("package", ["no_such_package_here", "sys", "os.path", "../etc", "numpy,", "__main__x"])
def test_a_package_without_source(package: str, tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match=r"docstrings of .*(Correct|Install)"):
        read_documents(f"docstrings:{package}", tmp_path)


BAD_FILES: list[tuple[str, bytes, str]] = [
    ("latin.txt", b"caf\xe9 au lait", r"latin.txt is not UTF-8 at byte 3 .*Convert"),
    ("marked.txt", b"\xef\xbb\xbfcaf\xe9", r"at byte 6 "),
    ("utf16.txt", "text".encode("utf-16"), r"at byte 0 "),
    ("latin.jsonl", b'{"text": "caf\xe9"}', r"latin.jsonl is not UTF-8 at byte 13"),
    ("cut.jsonl", b'{"text": "a"}\n{"text": "b', r"line 2: not JSON.*Correct"),
    ("deep.jsonl", b"[" * 100_000, r"line 1: not JSON"),
    ("field.jsonl", b'{"content": "a"}', r"line 1: expected a `text` field"),
    ("list.jsonl", b'["text"]', r"line 1: expected a `text` field"),
    ("number.jsonl", b'{"text": 1}', r"line 1: expected a `text` field"),
    ("half.jsonl", b'{"text": "\\ud800"}', r"line 1: .*surrogate"),
    ("broken.parquet", b"PAR1 no", r"broken.parquet cannot be read as parquet"),
    ("empty.txt", b"", r"holds no text"),
    ("blank.txt", b" \n\n\t", r"holds no text"),
    ("page.html", b"<p>", r"unsupported kind: expected .txt, .jsonl, .parquet"),
]


@pytest.mark.parametrize(("name", "content", "expected"), BAD_FILES, ids=[name for name, *_ in BAD_FILES])
def test_files_that_cannot_be_used(name: str, content: bytes, expected: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(CorpusError, match=expected):
        read_documents(f"path:{tmp_path / name}", tmp_path)


@pytest.mark.parametrize(
    ("column", "expected"),
    [
        (pa.array([1, 2]), "row 0: expected a `text` field"),
        (pa.array(["a", None]), "row 1: `text` is null"),
        (pa.array([{"a": "b"}]), "`text` column holds no strings but struct<a: string>"),
        (pa.array([b"a", b"b\xff"]).view(pa.string()), "row 1: not UTF-8 at byte 1"),
    ],
)
def test_parquet_columns_that_cannot_be_used(column: pa.Array, expected: str, tmp_path: Path) -> None:
    pq.write_table(pa.table({"text": column}), tmp_path / "t.parquet")
    with pytest.raises(CorpusError, match=expected):
        read_documents(f"path:{tmp_path / 't.parquet'}", tmp_path)


def test_parquet_without_a_text_column(tmp_path: Path) -> None:
    pq.write_table(pa.table({"content": ["a"]}), tmp_path / "t.parquet")
    with pytest.raises(CorpusError, match="no `text` column, only content"):
        read_documents(f"path:{tmp_path / 't.parquet'}", tmp_path)


def test_missing_path_and_folder_without_text(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match="nowhere does not exist"):
        read_documents(f"path:{tmp_path / 'nowhere'}", tmp_path)
    with pytest.raises(CorpusError, match=r"holds no \.txt, \.jsonl, \.parquet file"):
        read_documents(f"path:{tmp_path}", tmp_path)


# Splits ---------------------------------------------------------------------------------------------------------------


def test_every_document_is_in_one_split_with_its_module(corpus: Corpus, corpus_cache: Path) -> None:
    module_of = {document.text: document.module for document in read_documents(PACKAGE, corpus_cache)}
    texts = {split: texts_of(corpus, split) for split in ("train", "validation", "probe")}
    assert sorted(itertools.chain(*texts.values())) == sorted(module_of)
    assert corpus.n_documents == len(module_of)
    assert corpus.n_bytes == sum(len(text.encode()) for text in module_of)
    modules = {split: {module_of[text] for text in held} for split, held in texts.items()}
    assert all(len(held) >= 2 for held in modules.values())
    assert not modules["train"] & modules["validation"]
    assert not modules["train"] & modules["probe"]
    assert not modules["validation"] & modules["probe"]
    assert len(corpus.train.ids) > 0.8 * sum(len(held.ids) for held in (corpus.train, corpus.validation, corpus.probe))


def test_a_modules_split_does_not_depend_on_other_modules(corpus: Corpus, corpus_cache: Path) -> None:
    more = load_corpus("docstrings:networkx,seaborn", VOCABULARY, corpus_cache)
    for split in ("train", "validation", "probe"):
        assert set(texts_of(corpus, split)) <= set(texts_of(more, split))
    assert more.checksum != corpus.checksum


@pytest.mark.parametrize("split", ["train", "validation", "probe"])
def test_documents_open_with_the_separator_and_only_there(corpus: Corpus, split: str) -> None:
    tokens: Tokens = getattr(corpus, split)
    assert tokens.ids.dtype == np.uint16
    assert tokens.starts.dtype == np.int64
    assert np.array_equal(np.flatnonzero(tokens.ids == corpus.tokenizer.token_to_id(SEPARATOR)), tokens.starts)
    assert tokens.ids.max() < VOCABULARY


def paragraphs(separator: str, n: int = 300) -> str:
    return separator.join(prose(n))


@pytest.mark.parametrize("separator", ["\n\n", "\n", " ", ""], ids=["blank lines", "lines", "one line", "no breaks"])
def test_one_long_document_is_cut_into_pieces(separator: str, tmp_path: Path) -> None:
    text = paragraphs(separator) if separator else paragraphs("").replace(" ", "")
    (tmp_path / "book.txt").write_text(text)
    corpus = load_corpus(f"path:{tmp_path / 'book.txt'}", 300, tmp_path / "cache")
    pieces = [text for split in ("train", "validation", "probe") for text in texts_of(corpus, split)]
    assert sum(map(len, pieces)) == len(text)
    assert all(piece in text and len(piece) <= max(len(text) // 100, 200) for piece in pieces)
    assert len(set(pieces)) == len(pieces) == corpus.n_documents >= 100
    assert min(len(corpus.validation.starts), len(corpus.probe.starts)) >= 2
    if separator == "\n\n":
        assert sum(piece.endswith("\n\n") for piece in pieces) > 0.9 * len(pieces)
    assert corpus.short_texts(16).shape == (2, 16)


def test_documents_of_few_files_are_their_own_groups(tmp_path: Path) -> None:
    texts = prose(100)
    corpus = load_corpus(write_jsonl(tmp_path / "rows.jsonl", [*texts, texts[0]]), 300, tmp_path / "cache")
    held = [texts_of(corpus, split) for split in ("train", "validation", "probe")]
    assert [len(part) for part in held] == [90, 5, 5]
    assert sorted(itertools.chain(*held)) == sorted(texts)


def test_a_corpus_too_small_to_split(tmp_path: Path) -> None:
    (tmp_path / "note.txt").write_text(prose(1)[0])
    with pytest.raises(
        CorpusError, match=r"too small: \d+ different documents or pieces .*expected at least 50. Add text"
    ):
        load_corpus(f"path:{tmp_path / 'note.txt'}", 300, tmp_path / "cache")
    (tmp_path / "same.txt").write_text("a" * 100_000)  # pieces that repeat each other would be in several splits
    with pytest.raises(CorpusError, match="too small: 1 different"):
        load_corpus(f"path:{tmp_path / 'same.txt'}", 300, tmp_path / "cache")


# Tokenizer ------------------------------------------------------------------------------------------------------------


def test_the_tokenizer_is_trained_on_the_training_split_alone(corpus: Corpus) -> None:
    again = train_tokenizer("test", texts_of(corpus, "train"), VOCABULARY)
    assert again.to_str() == corpus.tokenizer.to_str()
    everything = [text for split in ("train", "validation", "probe") for text in texts_of(corpus, split)]
    assert train_tokenizer("test", everything, VOCABULARY).to_str() != corpus.tokenizer.to_str()


def test_the_vocabulary_has_the_size_asked_for(corpus: Corpus, tmp_path: Path) -> None:
    assert corpus.tokenizer.get_vocab_size() == corpus.vocab_size == len(corpus.separator_ids) == VOCABULARY
    source = write_jsonl(tmp_path / "rows.jsonl", prose(60))
    with pytest.raises(
        CorpusError, match=r"vocabulary of 5,000 tokens.*Add text, or lower vocab_size to at most (\d+)"
    ) as error:
        load_corpus(source, 5_000, tmp_path / "cache")
    most = int(str(error.value).rstrip(".").split()[-1])
    assert load_corpus(source, most, tmp_path / "cache").vocab_size == most
    with pytest.raises(CorpusError, match="vocab_size = 257: expected more than 257"):
        load_corpus(source, 257, tmp_path / "cache")


def test_text_that_never_repeats_gives_no_vocabulary() -> None:
    with pytest.raises(CorpusError, match=r"gives only 257\. Add text\.$"):
        train_tokenizer("test", ["abcdefghijklm"], 300)


def test_a_literal_separator_in_a_text_stays_text(tmp_path: Path) -> None:
    texts = [f"{text} {SEPARATOR}{SEPARATOR} ignore" for text in prose(80)]
    source = write_jsonl(tmp_path / "rows.jsonl", texts)
    for _ in ("new", "from the cache"):
        corpus = load_corpus(source, 300, tmp_path / "cache")
        assert 0 not in corpus.tokenizer.encode(f"a{SEPARATOR}b").ids
        splits = (corpus.train, corpus.validation, corpus.probe)
        assert sum(int((tokens.ids == 0).sum()) for tokens in splits) == len(texts)
        assert SEPARATOR in texts_of(corpus, "probe")[0]


@settings(deadline=None)
@given(st.text())
def test_any_text_survives_the_tokenizer(corpus: Corpus, text: str) -> None:
    ids = corpus.tokenizer.encode(text).ids
    assert 0 not in ids
    assert corpus.tokenizer.decode(ids) == text


SEPARATORS = [SEPARATOR, ".", "\n", "\n\n", "\r\n", "),", " (", "\n    ", "\t}", ">>>", "=====", "—", "¿", "_"]
OTHERS = [
    "",
    "the",
    " the",
    " ",
    "    ",
    "\t",
    "a.",
    "1",
    ".5",
    "\ufffd",
    "é",
    "€",
    "endoftext",
    "<|endoftext|",
    "\x00",
]


@pytest.mark.parametrize("token", SEPARATORS)
def test_separators(token: str) -> None:
    assert is_separator(token)


@pytest.mark.parametrize("token", OTHERS)
def test_no_separators(token: str) -> None:
    assert not is_separator(token)


def test_separator_flags_belong_to_their_tokens(corpus: Corpus) -> None:
    vocabulary = corpus.tokenizer.get_vocab()
    assert corpus.separator_ids.dtype == np.bool_
    assert corpus.separator_ids[vocabulary[SEPARATOR]]
    for text, expected in {".": True, "\n": True, "=": True, "a": False, " ": False, " the": False}.items():
        (token,) = corpus.tokenizer.encode(text).ids
        assert corpus.separator_ids[token] == expected, text


def test_token_strings(corpus: Corpus) -> None:
    text = "x\x1b[0m the\n\n  \u202eé\x7f"
    ids = corpus.tokenizer.encode(text).ids
    shown = corpus.token_strings(torch.tensor(ids))
    assert len(shown) == len(ids)
    assert "".join(shown).startswith("x\u241b[0m the\n\n  ")
    assert "".join(shown).endswith("\u2421")
    assert "\u202e" not in "".join(shown)
    assert corpus.token_strings([0]) == [SEPARATOR]
    (half, _) = corpus.tokenizer.encode("\u00ff").ids  # no merge in this corpus joins its two bytes
    assert corpus.token_strings(np.array([half])) == ["\ufffd"]
    assert printable("\u202e\x85a\u00a0") == "\ufffd\ufffda\u00a0"


# Cache ----------------------------------------------------------------------------------------------------------------


def test_cache_hit_equals_cache_miss(corpus: Corpus, corpus_cache: Path, tmp_path: Path) -> None:
    before = {
        file: file.stat().st_mtime_ns for file in corpus_cache.rglob("*") if file.is_file() and file.stat().st_size
    }
    hit, miss = load_corpus(PACKAGE, VOCABULARY, corpus_cache), load_corpus(PACKAGE, VOCABULARY, tmp_path)
    assert {file: file.stat().st_mtime_ns for file in before} == before
    assert same(hit, corpus)
    assert same(miss, corpus)  # two extractions, two trainings
    assert np.array_equal(hit.separator_ids, miss.separator_ids)


def test_nothing_but_whole_entries_is_left(tmp_path: Path) -> None:
    source = write_jsonl(tmp_path / "rows.jsonl", prose(60))
    with pytest.raises(CorpusError):
        load_corpus(source, 5_000, tmp_path / "cache")
    load_corpus(source, 300, tmp_path / "cache")
    (entry,) = (path for path in (tmp_path / "cache").iterdir() if path.is_dir())
    assert sorted(file.name for file in entry.iterdir()) == ["entry.json", "tokenizer.json", "tokens.safetensors"]


def _flip(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


DAMAGE: list[tuple[str, Callable[[Path], object]]] = [
    ("tokens.safetensors", _flip),
    ("tokenizer.json", lambda file: file.write_bytes(file.read_bytes()[:-10])),
    ("tokenizer.json", Path.unlink),
    ("entry.json", lambda file: file.write_text("{")),
    ("entry.json", lambda file: file.write_text("[]")),
    ("entry.json", Path.unlink),
]


@pytest.mark.parametrize(("name", "damage"), DAMAGE)
def test_a_damaged_entry_is_refused_and_made_again_once_removed(
    name: str, damage: Callable[[Path], object], tmp_path: Path
) -> None:
    source, cache = write_jsonl(tmp_path / "rows.jsonl", prose(60)), tmp_path / "cache"
    whole = load_corpus(source, 300, cache)
    (file,) = cache.glob(f"tokens-*/{name}")
    damage(file)
    harmed = file.read_bytes() if file.exists() else None
    for _ in range(2):
        with pytest.raises(CacheDamaged, match=r"tokens-.* is damaged .*Remove that folder"):
            load_corpus(source, 300, cache)
    assert (file.read_bytes() if file.exists() else None) == harmed
    shutil.rmtree(file.parent)
    assert same(load_corpus(source, 300, cache), whole)


def test_what_a_killed_process_left_is_in_nobodys_way(tmp_path: Path) -> None:
    source, cache = write_jsonl(tmp_path / "rows.jsonl", prose(60)), tmp_path / "cache"
    whole = load_corpus(source, 300, cache)
    (entry,) = (path for path in cache.iterdir() if path.is_dir())
    # as this very process would call it; of another process see tests/test_files.py
    unfinished = files._own_paths(entry)[0]
    entry.rename(unfinished)
    (unfinished / "stray").write_text("half")
    assert same(load_corpus(source, 300, cache), whole)
    assert not unfinished.exists()
    assert not (entry / "stray").exists()


@pytest.mark.parametrize("size", [2**20 + 1, 2**31 - 1, 2**31, 2**63])
def test_a_vocabulary_that_no_memory_holds_is_refused(size: int, tmp_path: Path) -> None:
    source = write_jsonl(tmp_path / "rows.jsonl", prose(60))
    with pytest.raises(CorpusError, match=rf"vocab_size = {size:,}: expected at most 1,048,576"):
        load_corpus(source, size, tmp_path / "cache")


def test_the_tokenizer_is_kept_as_its_library_saves_it(corpus: Corpus, corpus_cache: Path, tmp_path: Path) -> None:
    (kept,) = corpus_cache.glob(f"tokens-{corpus.checksum[:16]}-{VOCABULARY}-*/tokenizer.json")
    corpus.tokenizer.save(str(tmp_path / "tokenizer.json"))
    assert kept.read_bytes() == (tmp_path / "tokenizer.json").read_bytes()


def test_by_default_the_cache_is_the_packages_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CIVILWAR_CACHE", str(tmp_path / "cache"))
    load_corpus(write_jsonl(tmp_path / "rows.jsonl", prose(60)), 300)
    assert list((tmp_path / "cache").glob("tokens-*/tokens.safetensors"))


def test_the_checksum_covers_texts_and_modules(tmp_path: Path) -> None:
    def loaded(name: str, texts: list[str]) -> str:
        return load_corpus(write_jsonl(tmp_path / name, texts), 300, tmp_path / "cache").checksum

    texts = prose(60)
    first = loaded("rows.jsonl", texts)
    assert re.fullmatch("[0-9a-f]{64}", first)
    (tmp_path / "elsewhere").mkdir()
    assert loaded("elsewhere/rows.jsonl", texts) == first
    assert len({first, loaded("other.jsonl", texts), loaded("rows.jsonl", texts[::-1])}) == 3
    assert checksum([Document("a", "bc")]) != checksum([Document("ab", "c")])


def test_facts_are_plain_numbers(corpus: Corpus) -> None:
    facts = corpus.facts()
    assert json.loads(json.dumps(facts)) == facts
    assert facts == {
        "source": PACKAGE,
        "checksum": corpus.checksum,
        "documents": corpus.n_documents,
        "bytes": corpus.n_bytes,
        "train_tokens": len(corpus.train.ids),
        "validation_tokens": len(corpus.validation.ids),
        "probe_tokens": len(corpus.probe.ids),
        "vocab_size": VOCABULARY,
        "skipped": [],
    }


# Batches and texts ----------------------------------------------------------------------------------------------------


def toy(lengths: list[int]) -> Tokens:
    """Documents whose tokens are all different, so that a token's place can be told."""
    starts = np.cumsum([0, *lengths])[:-1].astype(np.int64)
    return Tokens(np.arange(sum(lengths), dtype=np.uint16), starts)


@settings(deadline=None)
@given(
    lengths=st.lists(st.integers(1, 9), min_size=1, max_size=30),
    batch_size=st.integers(1, 3),
    context=st.integers(1, 7),
    seed=st.integers(0, 5),
)
def test_batches_cover_each_token_once(lengths: list[int], batch_size: int, context: int, seed: int) -> None:
    tokens = toy(lengths)
    steps = (len(tokens.ids) - 1) // (batch_size * context) - 1
    if steps < 0:
        return
    batches = Batches(tokens, seed, batch_size, context, steps)
    pairs = [batches.batch(step) for step in range(steps + 1)]
    for inputs, targets in pairs:
        assert inputs.shape == targets.shape == (batch_size, context)
        assert inputs.dtype == targets.dtype == torch.int64
        assert torch.equal(inputs[:, 1:], targets[:, :-1])
    read = torch.cat([inputs.flatten() for inputs, _ in pairs])
    assert len(set(read.tolist())) == len(read) == (steps + 1) * batch_size * context
    assert torch.equal(torch.cat([targets.flatten() for _, targets in pairs])[:-1], read[1:])
    # what follows a token is the next of its document, or the start of another
    starts, order = {*tokens.starts.tolist(), len(tokens.ids)}, read.tolist()
    assert all(b == a + 1 or (b in starts and a + 1 in starts) for a, b in itertools.pairwise(order))


def test_batches_are_stateless(corpus: Corpus) -> None:
    one, other = (corpus.training_batches(3, 2, 32, 9) for _ in range(2))
    forwards = [one.batch(step) for step in range(10)]
    for step in reversed(range(10)):
        for a, b in zip(forwards[step], other.batch(step), strict=True):
            assert torch.equal(a, b)
    forwards[0][0].zero_()
    assert one.batch(0)[0].any()  # what a caller does to a batch stays with the caller
    longer = corpus.training_batches(3, 2, 32, 20)
    assert torch.equal(longer.batch(9)[1], one.batch(9)[1])


@pytest.mark.parametrize("step", [-1, 11])
def test_no_batch_outside_the_run(corpus: Corpus, step: int) -> None:
    with pytest.raises(IndexError, match=f"step {step}: expected 0 to 10"):
        corpus.training_batches(0, 2, 32, 10).batch(step)


def test_the_seed_orders_training_text_and_nothing_else(corpus: Corpus) -> None:
    first, second = (corpus.training_batches(seed, 2, 64, 5).batch(0)[0] for seed in (0, 1))
    assert not torch.equal(first, second)
    assert first[0, 0] == second[0, 0] == 0  # whole documents change places
    untouched = [corpus.validation_texts(2, 64), corpus.probe_texts(2, 64), corpus.short_texts(16)]
    corpus.training_batches(7, 2, 64, 5).batch(3)
    after = [corpus.validation_texts(2, 64), corpus.probe_texts(2, 64), corpus.short_texts(16)]
    assert all(torch.equal(a, b) for a, b in zip(untouched, after, strict=True))


def test_training_text_is_never_repeated(corpus: Corpus) -> None:
    whole = (len(corpus.train.ids) - 1) // 64 - 1  # the last step at which one more batch of 64 tokens is left
    inputs, targets = corpus.training_batches(0, 1, 64, whole).batch(whole)
    assert inputs.shape == targets.shape == (1, 64)
    with pytest.raises(CorpusError) as error:
        corpus.training_batches(0, 1, 64, whole + 1)
    assert f"{len(corpus.train.ids):,} training tokens" in str(error.value)
    assert f"need {(whole + 2) * 64 + 1:,}" in str(error.value)
    assert "Add text, or lower steps" in str(error.value)


@pytest.mark.parametrize("split", ["validation", "probe"])
def test_held_out_texts_are_packed_like_training_text(corpus: Corpus, split: str) -> None:
    get = corpus.validation_texts if split == "validation" else corpus.probe_texts
    ids = getattr(corpus, split).ids.astype(np.int64)
    texts = get(3, 50)
    assert texts.shape == (3, 51)
    assert texts.dtype == torch.int64
    assert np.array_equal(torch.cat([texts[:, :-1].flatten(), texts[-1, -1:]]), ids[:151])
    most = (len(ids) - 1) // 50
    assert get(most, 50).shape == (most, 51)
    with pytest.raises(CorpusError, match=f"{len(ids):,} {split} tokens.*need {(most + 1) * 50 + 1:,}.*Add text"):
        get(most + 1, 50)


@pytest.mark.parametrize("length", [16, 48])
def test_short_texts(corpus: Corpus, length: int) -> None:
    texts = corpus.short_texts(length)
    assert texts.shape == (2, length)
    assert texts.dtype == torch.int64
    ids = corpus.probe.ids.astype(np.int64)
    windows = np.lib.stride_tricks.sliding_window_view(ids, length)
    (first,), (second,) = (np.flatnonzero((windows == text.numpy()).all(axis=1)) for text in texts)
    owner = np.searchsorted(corpus.probe.starts, [first, second], side="right") - 1
    assert first == corpus.probe.starts[owner[0]]
    assert second > corpus.probe.starts[owner[1]] + length // 2
    assert owner[0] != owner[1]
    assert texts[0, 0] == 0
    assert not (texts[0, 1:] == 0).any()  # neither runs into another document
    assert not (texts[1] == 0).any()
    assert not corpus.separator_ids[texts[1, 0]]


def test_short_texts_in_a_script_without_spaces(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    texts = ["".join(rng.choice(list("注意力头的范数增长而另一个缩小"), 100)) for _ in range(80)]
    corpus = load_corpus(write_jsonl(tmp_path / "rows.jsonl", texts), 300, tmp_path / "cache")
    assert not (corpus.short_texts(16)[1] == 0).any()


def test_short_texts_need_two_long_documents(corpus: Corpus) -> None:
    with pytest.raises(CorpusError, match=r"no two probe documents of .*Add longer texts"):
        corpus.short_texts(100_000)
    letters = np.full(40, corpus.tokenizer.token_to_id("a"), dtype=np.uint16)
    mid_document = Tokens(letters, np.array([0, 20]))  # each long enough to open a text, not to lie around one
    with pytest.raises(CorpusError, match="no two probe documents of 25 tokens"):
        dataclasses.replace(corpus, probe=mid_document).short_texts(16)
    single = Tokens(corpus.probe.document(0), np.array([0], dtype=np.int64))
    with pytest.raises(CorpusError, match="no two probe documents"):
        dataclasses.replace(corpus, probe=single).short_texts(16)

"""Text to tokens: the tokenizer, the three splits, and seeded training batches.

Tokenizer, splits and probe depend on the corpus alone; a run's seed only decides the order of its training documents.
So runs that differ in seed or variant read the same words in the same vocabulary and are measured on the same texts.
"""

import dataclasses
import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Int64
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file
from tokenizers import Tokenizer
from torch import Tensor

from civilwar import paths
from civilwar.corpus import identity
from civilwar.corpus.cache import open_entry
from civilwar.corpus.document import CorpusError, Document
from civilwar.corpus.sources import read_documents, skipped_files
from civilwar.corpus.tokenizer import (
    SEPARATOR,
    decode_each,
    is_plain_word,
    is_separator,
    load_tokenizer,
    printable,
    starts_word,
    train_tokenizer,
)

__all__ = ["SEPARATOR", "Batches", "Corpus", "CorpusError", "Tokens", "load_corpus"]

SPLITS = ("train", "validation", "probe")
#: Share of the modules held out for validation, and again for the probe. At the default corpus, some 100k tokens each.
HELD_OUT = 0.02
#: The same where modules or documents are few: fewer tokens would not make a probe.
HELD_OUT_SMALL = 0.05
#: With fewer groups than this, 2% of them is nothing: documents, then pieces of documents, become the groups.
MIN_GROUPS = 50
#: Characters in a piece of a document that had to be cut, between a small page and a few pages.
PIECE = (200, 4_000)
#: Part of a cached entry's name; raised whenever the same documents would give other tokens.
FORMAT_VERSION = 1

Ids = NDArray[np.uint16] | NDArray[np.uint32]

_ORDER_STREAM = 1  # second seed word, so that the order shares no random numbers with a run's initialisation


@dataclass(frozen=True)
class Tokens:
    """Packed documents of one split, in a fixed order that mixes the modules."""

    ids: Ids
    """[tokens]; every document is preceded by one `SEPARATOR` token."""
    starts: NDArray[np.int64]
    """[documents]; offset of the separator that opens each: document d is ``ids[starts[d]:starts[d + 1]]``."""
    modules: tuple[str, ...] = ()
    """[documents]; the module that each document stands in (`civilwar.corpus.sources.Document`)."""

    def document(self, index: int) -> Ids:
        """[tokens] of one document, its opening separator included."""
        following = self.starts[index + 1] if index + 1 < len(self.starts) else len(self.ids)
        return self.ids[self.starts[index] : following]


@dataclass(frozen=True)
class Corpus:
    """Everything a run knows of its text."""

    source: str
    checksum: str
    """SHA-256 over the documents and their module names, hexadecimal: the same wherever the same text was found."""
    tokenizer: Tokenizer
    """Byte-level BPE. Reads a literal ``<|endoftext|>`` in a text as plain characters, never as the separator."""
    train: Tokens
    validation: Tokens
    probe: Tokens
    n_documents: int
    """Over all splits, pieces of documents that had to be cut counted one by one."""
    n_bytes: int
    """UTF-8 bytes over all splits."""
    skipped: tuple[str, ...]
    """Files of a folder that were not read, with the reason (`civilwar.corpus.sources.skipped_files`)."""
    separator_ids: NDArray[np.bool_]
    """[vocab_size]; True for `SEPARATOR` and for tokens of only punctuation or newlines (`tokenizer.is_separator`)."""

    @property
    def vocab_size(self) -> int:
        """Token ids run from 0 to one less than this; 0 is the separator."""
        return len(self.separator_ids)

    def facts(self) -> dict[str, int | str | list[str]]:
        """Plain numbers for the manifest, and what of the source was not read."""
        return {
            "source": self.source,
            "checksum": self.checksum,
            "documents": self.n_documents,
            "bytes": self.n_bytes,
            "train_tokens": len(self.train.ids),
            "validation_tokens": len(self.validation.ids),
            "probe_tokens": len(self.probe.ids),
            "vocab_size": self.vocab_size,
            "skipped": list(self.skipped),
        }

    def training_batches(self, seed: int, batch_size: int, context: int, steps: int, passes: int = 1) -> "Batches":
        """Batches for steps 0 to ``steps`` inclusive: the state after the last update is measured on one more.

        Args:
            seed: decides the order of the documents, nothing else.
            batch_size: sequences per step.
            context: tokens per sequence.
            steps: parameter updates.
            passes: how many times the text may be read, each time in another order.

        Raises CorpusError when that takes more tokens than there are.
        """
        needed = (steps + 1) * batch_size * context + 1
        if needed > passes * len(self.train.ids):
            often = "twice" if passes == 1 else f"more than {passes} times"
            raise CorpusError(
                f"corpus {self.source!r} has {len(self.train.ids):,} training tokens, but {steps} steps of "
                f"{batch_size} x {context} tokens and one batch to measure the end on need {needed:,}: expected enough "
                f"that no text is shown {often}. Add text, or lower steps, batch_size or context."
            )
        return Batches(self.train, seed, batch_size, context, steps)

    def validation_texts(self, n: int, context: int) -> Int64[Tensor, "n pos"]:
        """``context + 1`` tokens per text (inputs and, one later, targets), packed like training text; no seed.

        Raises CorpusError when the split is too short.
        """
        return self._held_out("validation", n, context)

    def probe_texts(self, n: int, context: int) -> Int64[Tensor, "n pos"]:
        """Like `validation_texts`, of documents that neither training nor validation contain."""
        return self._held_out("probe", n, context)

    def _held_out(self, split: str, n: int, context: int) -> Int64[Tensor, "n pos"]:
        ids: NDArray[Any] = getattr(self, split).ids
        if n * context + 1 > len(ids):
            raise CorpusError(
                f"corpus {self.source!r} has {len(ids):,} {split} tokens, but {n} texts of {context} tokens need "
                f"{n * context + 1:,}: expected enough. Add text, or lower the number of texts or the context."
            )
        return _sequences(ids, 0, n, context)

    def short_texts(self, length: int) -> Int64[Tensor, "2 pos"]:
        """Two short probe texts: one that starts with the separator, one that starts in the middle of a document.

        The pair tells a sink on the separator from a sink on the first position. Text 0 is the separator and the
        beginning of a document; text 1 lies inside another document, after its first ``length // 2`` tokens, and its
        first token is no separator of any kind. Among all candidates each is the one with the most plain words.

        Raises CorpusError when the probe split has no two documents long enough.
        """
        ids, starts = self.probe.ids.astype(np.int64), self.probe.starts
        ends = np.append(starts[1:], len(ids))
        words_before = np.concatenate([[0], np.cumsum(self._flags(is_plain_word)[ids])])

        def most_words(candidates: NDArray[np.int64]) -> int:
            if len(candidates) == 0:
                raise CorpusError(
                    f"corpus {self.source!r} has no two probe documents of {length + length // 2 + 1} tokens: expected "
                    "two, to show attention patterns on. Add longer texts, or lower short_tokens."
                )
            return int(candidates[np.argmax(words_before[candidates + length] - words_before[candidates])])

        first = most_words(starts[ends - starts >= length])
        inside = [
            np.arange(start + 1 + length // 2, end - length + 1)
            for start, end in zip(starts, ends, strict=True)
            if start != first
        ]
        positions = np.concatenate(inside) if inside else np.empty(0, dtype=np.int64)
        positions = positions[~self.separator_ids[ids[positions]]]
        # at the start of a word, where the corpus is in a script that spaces its words
        at_words = positions[self._flags(starts_word)[ids[positions]]]
        second = most_words(at_words if len(at_words) else positions)
        return torch.from_numpy(np.stack([ids[first : first + length], ids[second : second + length]]))

    @cached_property
    def _texts(self) -> list[str]:
        return decode_each(self.tokenizer)

    def _flags(self, test: Callable[[str], bool]) -> NDArray[np.bool_]:
        """[vocab_size] answers to a question about each token's text."""
        return np.array([test(text) for text in self._texts])

    def token_strings(self, ids: Sequence[int] | NDArray[np.integer] | Tensor) -> list[str]:
        """The text of each token, for people to read (`tokenizer.printable`)."""
        return [printable(self._texts[int(index)]) for index in ids]


class Batches:
    """Training batches of one run. Holds no position: a resumed run asks for a step and gets what it would have got."""

    def __init__(self, tokens: Tokens, seed: int, batch_size: int, context: int, steps: int) -> None:
        passes = -(-((steps + 1) * batch_size * context + 1) // len(tokens.ids))
        self._ids: NDArray[Any] = np.concatenate([_in_order(tokens, seed, number) for number in range(passes)])
        self._batch_size, self._context, self._steps = batch_size, context, steps

    def batch(self, step: int) -> tuple[Int64[Tensor, "batch pos"], Int64[Tensor, "batch pos"]]:
        """Inputs and targets of the update after ``step`` updates: ``targets[b, t]`` comes after ``inputs[b, t]``.

        Sequence b of step s is stretch number ``s * batch_size + b`` of ``context`` tokens of the shuffled documents.

        Raises IndexError for a step below 0 or beyond the ``steps`` that were asked for.
        """
        if not 0 <= step <= self._steps:
            raise IndexError(f"no batch for step {step}: expected 0 to {self._steps}.")
        texts = _sequences(self._ids, step * self._batch_size, self._batch_size, self._context)
        return texts[:, :-1].contiguous(), texts[:, 1:].contiguous()


def _in_order(tokens: Tokens, seed: int, number: int) -> NDArray[Any]:
    """The documents in the order of one pass over them; the first pass has the order that a run of one pass has."""
    words = [seed, _ORDER_STREAM, number] if number else [seed, _ORDER_STREAM]
    order = np.random.Generator(np.random.PCG64(words)).permutation(len(tokens.starts))
    return np.concatenate([tokens.document(int(index)) for index in order])


def _sequences(ids: NDArray[Any], first: int, n: int, context: int) -> Int64[Tensor, "n pos"]:
    """Stretches ``first`` to ``first + n`` of ``context`` tokens, each with the token after it."""
    stretch = ids[first * context : (first + n) * context + 1].astype(np.int64)
    return torch.from_numpy(np.lib.stride_tricks.sliding_window_view(stretch, context + 1)[::context].copy())


def load_corpus(source: str, vocab_size: int, cache: Path | None = None) -> Corpus:
    """Read, split and tokenize a corpus, or take what an earlier call left in the cache.

    Args:
        source: ``docstrings`` (the default packages), ``docstrings:numpy,networkx``, ``source`` (Python source without its
            docstrings), ``prose`` (the King James Bible, an extra), ``path:FOLDER_OR_FILE`` (.txt: a
            document per file; .jsonl: a ``text`` field per line; .parquet: a ``text`` column), or ``hub:NAME[:CONFIG]``
            (Hugging Face ``datasets``: a ``text`` column, ``train`` split, kept once streamed).
        vocab_size: exact number of tokens of the vocabulary: 256 bytes, the separator, the rest merges.
        cache: folder for what is kept between calls; by default `paths.cache`.

    Raises CorpusError, or CacheDamaged or CacheNotWritten (`civilwar.corpus.cache`) naming the folder.
    """
    cache = paths.cache() if cache is None else cache
    documents = read_documents(source, cache)
    checksum = identity.checksum(documents)
    splits = _split(source, documents)

    def build(folder: Path) -> None:
        # on the training split alone: merges learnt from held-out text would leak it into the model's vocabulary
        tokenizer = train_tokenizer(source, [document.text for document in splits["train"]], vocab_size)
        arrays: dict[str, NDArray[Any]] = {}
        for split, held in splits.items():
            tokens = _encode(tokenizer, held)
            arrays |= {f"{split}.ids": tokens.ids, f"{split}.starts": tokens.starts}
        save_file(arrays, folder / "tokens.safetensors")
        # not by the library's own save, whose errors are of no kind
        (folder / "tokenizer.json").write_text(tokenizer.to_str(pretty=True), encoding="utf-8")

    entry = open_entry(cache / f"tokens-{checksum[:16]}-{vocab_size}-v{FORMAT_VERSION}", build)
    tokenizer = load_tokenizer(entry / "tokenizer.json")
    arrays = load_file(entry / "tokens.safetensors")
    return Corpus(
        source=source,
        checksum=checksum,
        tokenizer=tokenizer,
        **{
            split: Tokens(
                arrays[f"{split}.ids"],
                arrays[f"{split}.starts"],
                tuple(document.module for document in splits[split]),
            )
            for split in SPLITS
        },
        n_documents=sum(map(len, splits.values())),
        n_bytes=sum(len(document.text.encode()) for held in splits.values() for document in held),
        skipped=tuple(skipped_files(source)),
        separator_ids=np.array([is_separator(text) for text in decode_each(tokenizer)]),
    )


def _encode(tokenizer: Tokenizer, documents: Sequence[Document]) -> Tokens:
    dtype = np.uint16 if tokenizer.get_vocab_size() <= 2**16 else np.uint32
    separator = tokenizer.token_to_id(SEPARATOR)
    parts: list[NDArray[Any]] = []
    for first in range(0, len(documents), 512):  # encodings carry much besides the ids: few at a time
        texts = [document.text for document in documents[first : first + 512]]
        parts += [np.array([separator, *encoding.ids], dtype=dtype) for encoding in tokenizer.encode_batch_fast(texts)]
    starts = np.cumsum([0, *map(len, parts)], dtype=np.int64)[:-1]
    return Tokens(np.concatenate(parts), starts)


# Splits ---------------------------------------------------------------------------------------------------------------


def _split(source: str, documents: Sequence[Document]) -> dict[str, list[Document]]:
    """Documents of each split, ordered by a hash of their text so that neighbours come from different modules.

    A group stays together. Groups are modules, since near-duplicates live in one module (or file), and the hash of a
    module's name alone decides: other modules may come and go. Where there are fewer than `MIN_GROUPS`, as in a folder
    of few files, the document is the group, and where there are fewer documents too, as in one book, each is cut into
    pieces. Then the hashes only order the groups and the first few are held out, so that no split is left empty; and
    validation and probe may be of the same files as the training text, though no document or piece is in two splits.
    """
    groups = [document.module for document in documents]
    by_module = len(set(groups)) >= MIN_GROUPS
    if not by_module:
        if len(documents) < MIN_GROUPS:
            documents = _cut(documents)
        if len(documents) < MIN_GROUPS:
            raise CorpusError(
                f"corpus {source!r} is too small: {len(documents)} different documents or pieces of {PIECE[0]} "
                f"characters; expected at least {MIN_GROUPS}. Add text."
            )
        groups = [document.text for document in documents]
    hashes = np.array([_unit_hash(group) for group in groups])
    probe, validation = hashes < HELD_OUT, (hashes >= HELD_OUT) & (hashes < 2 * HELD_OUT)
    if not by_module or min(probe.sum(), validation.sum()) < 2:
        ranked = np.unique(hashes)
        count = max(2, round(HELD_OUT_SMALL * len(ranked)))
        probe, validation = np.isin(hashes, ranked[:count]), np.isin(hashes, ranked[count : 2 * count])
    splits: dict[str, list[Document]] = {split: [] for split in SPLITS}
    for index in np.argsort([_unit_hash(document.text) for document in documents], kind="stable"):
        splits["probe" if probe[index] else "validation" if validation[index] else "train"].append(documents[index])
    return splits


def _unit_hash(text: str) -> float:
    """A number in [0, 1) that the text decides; 53 bits, all that a float holds."""
    return (int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 11) / 2**53


def _cut(documents: Sequence[Document]) -> list[Document]:
    """Documents in pieces, each of at most `PIECE` characters and small enough to make a hundred of them.

    The last blank line of a piece's second half ends it; failing that the last newline, the last space, or its length.
    The pieces of a document make it up again, but for pieces that repeat an earlier one.
    """
    total = sum(len(document.text) for document in documents)
    length = min(max(total // (2 * MIN_GROUPS), PIECE[0]), PIECE[1])
    pieces: dict[str, Document] = {}
    for document in documents:
        text, start = document.text, 0
        while start < len(text):
            end = start + length
            if end < len(text):
                for mark in ("\n\n", "\n", " "):
                    found = text.rfind(mark, start + length // 2, end)
                    if found >= 0:
                        end = found + len(mark)
                        break
            piece = text[start:end]
            if piece.strip():
                pieces.setdefault(piece, dataclasses.replace(document, text=piece))
            start = end
    return list(pieces.values())

"""Byte-level BPE: training it, encoding untrusted text with it, and saying what kind of text each token is."""

import unicodedata
from collections.abc import Sequence
from pathlib import Path

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from civilwar.corpus.document import CorpusError
from civilwar.recipe.config import LARGEST_VOCABULARY

#: Opens every document. Its id is 0.
SEPARATOR = "<|endoftext|>"
#: 256 bytes and the separator: a vocabulary of only these would have no merges.
SMALLEST = 257


def train_tokenizer(source: str, texts: Sequence[str], vocab_size: int) -> Tokenizer:
    """A tokenizer of exactly ``vocab_size`` tokens. The same texts give the same one, whatever the number of threads.

    Raises CorpusError, naming ``source``, when the texts repeat themselves too little to give that many merges.
    """
    if vocab_size <= SMALLEST:
        raise CorpusError(f"vocab_size = {vocab_size}: expected more than {SMALLEST} (bytes and separator). Raise it.")
    if vocab_size > LARGEST_VOCABULARY:
        # the library would ask for the memory at once, and end the process where it does not get it
        raise CorpusError(f"vocab_size = {vocab_size:,}: expected at most {LARGEST_VOCABULARY:,}. Lower it.")
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        min_frequency=2,  # a pair seen once teaches the model nothing
        special_tokens=[SEPARATOR],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),  # every byte, so that any text can be encoded
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer, length=len(texts))
    reached = tokenizer.get_vocab_size()
    if reached != vocab_size:
        lower = f", or lower vocab_size to at most {reached:,}" if reached > SMALLEST else ""
        raise CorpusError(
            f"corpus {source!r} is too small for a vocabulary of {vocab_size:,} tokens: expected that many, "
            f"but it gives only {reached:,}. Add text{lower}."
        )
    return _distrustful(tokenizer)


def load_tokenizer(file: Path) -> Tokenizer:
    """A tokenizer that `train_tokenizer` made and ``save`` wrote."""
    return _distrustful(Tokenizer.from_file(str(file)))


def _distrustful(tokenizer: Tokenizer) -> Tokenizer:
    # A text that contains the separator's letters must not be able to end a document. Not part of the saved file.
    tokenizer.encode_special_tokens = True
    return tokenizer


def decode_each(tokenizer: Tokenizer) -> list[str]:
    """[vocab_size] text of each token on its own, exact but for U+FFFD in place of bytes that are no UTF-8 alone."""
    return [tokenizer.decode([index], skip_special_tokens=False) for index in range(tokenizer.get_vocab_size())]


def is_separator(token: str) -> bool:
    """Whether a token is `SEPARATOR` or has no characters but punctuation and newlines, spaces beside them allowed.

    Punctuation is Unicode's, and ASCII's symbols such as ``=``. ``),`` and a newline with the indentation after it are
    separators; spaces or tabs alone are not, nor is any token with a letter, a digit or part of a character in it.
    """
    marks = token.replace(" ", "").replace("\t", "")
    return token == SEPARATOR or (bool(marks) and all(map(_is_mark, marks)))


def _is_mark(character: str) -> bool:
    category = unicodedata.category(character)
    return character in "\n\r" or category.startswith("P") or (character.isascii() and category.startswith("S"))


def is_plain_word(token: str) -> bool:
    """Whether a token is lower-case letters with or without a space before, as most of running prose is."""
    word = token.removeprefix(" ")
    return word.isascii() and word.isalpha() and word.islower()


def starts_word(token: str) -> bool:
    """Whether a token is a space and letters."""
    return token.startswith(" ") and token[1:].isalpha()


def printable(token: str) -> str:
    """A token for people to read: spaces, tabs and newlines kept, no character that could upset a page or a terminal.

    ASCII controls become their pictures (U+2400 on); U+FFFD stands for the other controls and for characters that
    change how their neighbours are shown, such as marks of writing direction.
    """
    return "".join(map(_shown, token))


def _shown(character: str) -> str:
    if character in "\n\r\t" or not unicodedata.category(character).startswith("C"):
        return character
    code = ord(character)
    return chr(0x2400 + code) if code < 32 else "\u2421" if code == 127 else "\ufffd"

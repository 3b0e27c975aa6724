"""Texts that nobody would write in good faith: a run of them trains or is refused, and nothing of them acts in the book.

The page is made as the published book is: a notebook that papermill executes, rendered by jupyter-book with the book's own
configuration and extensions, opened in a real browser.
"""

import dataclasses
import json
import random
import re
import shutil
import unicodedata
from collections.abc import Iterator
from pathlib import Path

import browser
import nbformat
import numpy as np
import pytest
from browser import Browser
from hypothesis import given
from hypothesis import strategies as st
from texts import WORDS

from civilwar import paths
from civilwar.corpus.corpus import CorpusError, load_corpus
from civilwar.corpus.sources import read_documents
from civilwar.inspector.of_run import payload_of_run
from civilwar.pages.publish import build_book, execute, phase_notebooks
from civilwar.recipe.config import RunConfig, make_config
from civilwar.runs.reader import Run
from civilwar.training.loop import train

#: One worker makes the page.
in_browser = pytest.mark.xdist_group("hostile")

ATTACK = "window.attacked=1"
#: Each would act if a page took it for its own: as markup, in an attribute, in a script, in a comment, as a formula.
MARKUP = [
    f"<script>{ATTACK}</script>",
    f"<img src=x onerror={ATTACK}>",
    f"</script></style></textarea></title><svg/onload={ATTACK}>",
    f"'\"><body onload='{ATTACK}'><h1>",
    f"<a href=javascript:{ATTACK}>",
    f"<!-- --> ]]> </text></svg></div></figure> `;{ATTACK};//",
    f"\\(\\href{{javascript:{ATTACK}}}{{x}}\\) $$\\unicode{{x}}$$",
    "&lt;b&gt; {{ 7 * 7 }} {% raw %} <|endoftext|>",
]
CONTROLS = [
    "\x00\x00",
    "\x1b[31m",
    "\x1b]0;title\x07",
    "\x08\x7f\x9b2J",
    "\u202egnihtyna\u202c",
    "\u2066\u2067\u200f\ufeff",
]


def mixed(pieces: list[str], between: str = " ", n: int = 15_000) -> str:
    """The pieces over and over, in an order and with numbers that repeat no stretch of the text."""
    chance = random.Random(0)
    return between.join(f"{chance.choice(pieces)}{chance.randrange(1000)}" for _ in range(n))


def drawn(alphabet: str, n: int = 120_000) -> str:
    return "".join(random.Random(0).choices(alphabet, k=n))


TRAINS = {
    "control characters alone": drawn("".join(map(chr, [*range(1, 32), *range(127, 160)]))),
    "control characters in prose": mixed([*CONTROLS, *WORDS]),
    "NUL": mixed(["\0\0\0", "a\0b"]),
    "one giant line": mixed(WORDS),
    "neither spaces nor newlines": drawn("abcdefgh"),
    "carriage returns": mixed(WORDS, "\r"),
    "separators of lines that are no newlines": mixed(WORDS, "\u2028\x85\x0b\x0c\x1c"),
    "markup": mixed(MARKUP, n=4_000),
    "marks of writing direction": mixed(["\u202e", "\u2066", "\u2069", "\u200f", "\u061c", *WORDS]),
    "characters of many parts": mixed(["a" + "\u0301" * 9, "\U0001f468\u200d\U0001f469", "\U000e0041\ufffe", *WORDS]),
}
REFUSED = {
    "invalid UTF-8": (mixed(WORDS).encode() + b"\xff", r"is not UTF-8 at byte \d+ .*Convert it"),
    "UTF-16": (mixed(WORDS).encode("utf-16"), r"is not UTF-8 at byte 0 .*Convert it"),
    "half a surrogate pair": (mixed(WORDS).encode("utf-8") + b"\xed\xa0\x80", r"is not UTF-8 at byte \d+"),
    "NUL alone": (b"\0" * 200_000, r"too small: 1 different documents.*Add text"),
    "one letter": (b"a" * 200_000, r"too small: 1 different documents.*Add text"),
    "newlines alone": (b"\n" * 200_000, r"holds no text"),
    "nothing": (b"", r"holds no text"),
    "brackets in one run": (drawn("(){}[]<>;,.").encode(), r"no two probe documents of 25 tokens.*Add longer texts"),
    "few words": (" ".join(random.Random(0).choices(WORDS, k=20_000)).encode(), r"too small for a vocabulary of 512 "),
}


def shortened(corpus: str) -> RunConfig:
    config = make_config("smoke", corpus=corpus)
    return dataclasses.replace(config, train=dataclasses.replace(config.train, steps=2))


@pytest.mark.parametrize("name", TRAINS)
def test_it_trains_and_its_tokens_are_fit_to_be_shown(name: str, tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_bytes(TRAINS[name].encode())
    run = train(shortened(f"path:{tmp_path}"), f"hostile-{name.replace(' ', '-')}", device="cpu", progress=False)
    assert run.complete
    assert np.isfinite(run.table("train")["loss"]).all()
    tokens = [token for kind in ("short_texts", "texts") for text in run.probe[kind] for token in text["tokens"]]
    acting = {c for token in tokens for c in token if unicodedata.category(c).startswith("C") and c not in "\n\r\t"}
    assert not acting
    assert len(payload_of_run(run).core) > 0


@pytest.mark.parametrize("name", REFUSED)
def test_it_is_refused_before_training(name: str, tmp_path: Path, runs_dir: Path) -> None:
    content, expected = REFUSED[name]
    (tmp_path / "text.txt").write_bytes(content)
    with pytest.raises(CorpusError, match=expected) as caught:
        train(shortened(f"path:{tmp_path}"), "refused", device="cpu", progress=False)
    assert "\n" not in str(caught.value)
    assert not (runs_dir / "refused" / "manifest.json").exists()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("drawn")


PIECES = (
    st.binary(max_size=4) | st.text(max_size=4).map(str.encode) | st.sampled_from([*MARKUP, *CONTROLS]).map(str.encode)
)


@given(pieces=st.lists(PIECES, min_size=1, max_size=30), between=st.sampled_from([b"", b" ", b"\n", b"\n\n", b"\0"]))
def test_whatever_the_bytes_they_are_read_exactly_or_refused(folder: Path, pieces: list[bytes], between: bytes) -> None:
    content = between.join(random.Random(0).choices(pieces, k=4_000))
    (folder / "text.txt").write_bytes(content)
    try:
        corpus = load_corpus(f"path:{folder / 'text.txt'}", 300, folder / "cache")
    except CorpusError:
        return
    text = content.decode().removeprefix("\ufeff")
    for tokens in (corpus.train, corpus.validation, corpus.probe):
        for number in range(len(tokens.starts)):
            assert corpus.tokenizer.decode(tokens.document(number)[1:].tolist()) in text


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("~nobody-of-that-name/texts", "cannot be opened"),
        ("/" + "long/" * 2_000, "cannot be opened.*File name too long"),
        ("a\0b", "does not exist"),
    ],
)
def test_a_path_that_cannot_be_is_refused(path: str, expected: str, tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match=expected):
        read_documents(f"path:{path}", tmp_path)


def test_a_file_name_that_is_no_text_is_refused(tmp_path: Path) -> None:
    try:
        (tmp_path / "caf\udce9.txt").write_text("text")
    except (OSError, UnicodeError):
        pytest.skip("this file system takes no name that is not UTF-8")
    with pytest.raises(CorpusError, match=r"caf\\udce9\.txt.*expected a name in UTF-8"):
        read_documents(f"path:{tmp_path}", tmp_path)


# ---------------------------------------------------------------- the published page

#: What a page may do with a corpus's text: as prose, in a table's head and body, with a figure, as a number in prose.
CELLS = [
    """
run = "auto"
preset = "smoke"
corpus = "docstrings"
device = "cpu"
""",
    """
import pandas as pd
from civilwar.pages.door import open_phase
from civilwar.pages.numbers import glue, glue_run
from civilwar.pages.show import say, show, show_inspector, show_table
from civilwar.plots import style
from civilwar.inspector.widget import HeadInspector

run = open_phase(run, preset, corpus=corpus, device=device)
glue_run(run)
tokens = [token for text in run.probe["texts"] for token in text["tokens"]]
text = "".join(tokens)
""",
    'show_inspector(HeadInspector(run, text=0), "inspector_hostile")',
    "say(text)",
    'show_table(pd.DataFrame({text: tokens, "number": range(len(tokens))}), "hostile_table", text)',
    """
figure, ax = style.single()
show(figure, {text: pd.DataFrame({text: tokens})}, "hostile_figure", title=text, alt=text, caption=text, runs=[run])
""",
    "glue(hostile=text)",
    "text",
    "print(text)",
]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, runs_dir: Path) -> Run:
    """A run of the smoke preset on hostile documents, in a file whose name is hostile too."""
    chance = random.Random(0)
    texts = []
    for _ in range(120):
        # all of it where the probe looks, then more for the vocabulary
        first = [MARKUP[0], *chance.sample(MARKUP[1:], len(MARKUP) - 1)]
        more = [f"{piece} {chance.randrange(1000)}" for piece in chance.choices(MARKUP + CONTROLS, k=50)]
        texts.append(" ".join(first + more))
    file = tmp_path_factory.mktemp("corpus") / f"<img src=x onerror={ATTACK}>.jsonl"
    file.write_text("\n".join(json.dumps({"text": text}) for text in texts), encoding="utf-8")
    return train(make_config("smoke", corpus=f"path:{file}"), "hostile-run", device="cpu", progress=False)


@pytest.fixture(scope="module")
def site(run: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built book of one page."""
    root = tmp_path_factory.mktemp("hostile-site")
    book = paths.repository() / "book"
    shutil.copy2(paths.repository() / "_config.yml", root)
    for name in ("_ext", "_static"):
        shutil.copytree(book / name, root / "book" / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("references.bib", "glossary.md", "references.md"):
        shutil.copy2(book / name, root / "book" / name)
    (root / "book" / "_toc.yml").write_text("format: jb-book\nroot: phases/hostile\n", encoding="utf-8")
    cells = [nbformat.v4.new_code_cell(cell.strip()) for cell in CELLS]
    cells[0].metadata["tags"] = ["parameters"]
    prose = nbformat.v4.new_markdown_cell("# Hostile\n\nThe text is {number}`hostile`, of {number}`run_name`.")
    metadata = nbformat.read(phase_notebooks()[0], as_version=4).metadata
    notebook = nbformat.v4.new_notebook(cells=[prose, *cells], metadata=metadata)
    nbformat.write(notebook, root / "hostile.ipynb")
    parameters = {"run": run.name, "corpus": run.config.corpus}
    execute(root / "hostile.ipynb", root / "book" / "phases" / "hostile.ipynb", parameters)
    return build_book(root / "book")


@pytest.fixture(params=["http", "file"])
def base(request: pytest.FixtureRequest, site: Path) -> Iterator[str]:
    with browser.serve(site) as address:
        yield address if request.param == "http" else f"{site.as_uri()}/"


def all_text(run: Run) -> str:
    return "".join(token for text in run.probe["texts"] for token in text["tokens"])


#: What a page makes of straight quotes and hyphens in its prose.
PLAIN_QUOTES = str.maketrans(
    {"\N{LEFT SINGLE QUOTATION MARK}": "'", "\N{RIGHT SINGLE QUOTATION MARK}": "'"}
    | {"\N{LEFT DOUBLE QUOTATION MARK}": '"', "\N{RIGHT DOUBLE QUOTATION MARK}": '"'}
    | {"\N{EN DASH}": "--", "\N{EM DASH}": "---"}
)


def as_shown(text: str) -> str:
    """Without what HTML leaves to the browser, white space, and without the typography of numbers and of sentences."""
    plain = text.replace("\N{MINUS SIGN}", "-").replace("\N{HORIZONTAL ELLIPSIS}", "...")
    return re.sub(r"\s+", "", plain.translate(PLAIN_QUOTES))


#: Elements that would act on the corpus's behalf: scripts of it, and elements with a handler or an address of it.
ACTING = f"""[...document.querySelectorAll('*')].filter(element =>
    element.localName === 'script' && element.textContent.includes('{ATTACK}')
    || [...element.attributes].some(({{ name, value }}) => value.includes('{ATTACK}') && /^on|^href$|^src$/.test(name))
).length"""


@in_browser
def test_in_the_published_page_nothing_of_it_acts_and_all_of_it_is_text(chromium: Browser, base: str, run: Run) -> None:
    chromium.open(base, "phases/hostile.html")
    chromium.wait_for("document.querySelector('.cw-inspector').dataset.ready === 'true'")
    chromium.wait_for("!document.querySelector('.cwi-waiting')")
    assert chromium.ask("window.attacked") is None
    assert chromium.ask(ACTING) == 0
    assert chromium.ask("document.querySelectorAll('article h1').length") == 1
    assert chromium.faults() == []

    text = as_shown(all_text(run))
    assert [piece for piece in MARKUP if as_shown(piece) not in text] == []
    for place in (".cw-note", ".cw-title", "figcaption", "th", "svg[aria-label]"):
        found = (
            f"[...document.querySelectorAll('article {place}')].map(e => e.getAttribute('aria-label') || e.textContent)"
        )
        assert text in [as_shown(said) for said in chromium.ask(found)], place
    whole = as_shown(chromium.ask("document.querySelector('article').textContent"))
    assert f"Thetextis{text},ofhostile-run." in whole


@in_browser
def test_the_inspector_shows_it_token_by_token(chromium: Browser, base: str, run: Run) -> None:
    for number, text in enumerate(run.probe["short_texts"]):
        chromium.open(base, f"phases/hostile.html#text={number}")
        chromium.wait_for("document.querySelector('.cw-inspector').dataset.ready === 'true'")
        chromium.wait_for("!document.querySelector('.cwi-waiting')")
        shown = chromium.ask("[...document.querySelectorAll('.cwi-text button')].map(button => button.textContent)")
        tokens = [token.replace(" ", "\u2423").replace("\n", "\u21b5") for token in text["tokens"]]
        assert shown == tokens
        if number == 0:
            assert MARKUP[0] in "".join(shown)
        assert chromium.ask("window.attacked") is None
        assert chromium.faults() == []


@in_browser
def test_the_same_text_does_act_where_it_is_markup(chromium: Browser, run: Run, tmp_path: Path) -> None:
    """Or the tests above would see nothing in any page."""
    (tmp_path / "page.html").write_text(f'<!doctype html><meta charset="utf-8">{all_text(run)}', encoding="utf-8")
    chromium.open(f"{tmp_path.as_uri()}/", "page.html")
    assert chromium.ask("window.attacked") == 1
    assert chromium.ask(ACTING) > 0

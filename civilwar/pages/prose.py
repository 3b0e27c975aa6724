"""Sentences with numbers in place: one source for a live notebook, for GitHub and for the book.

A paragraph with numbers is a code cell that shows Markdown, so that it reads the same wherever a notebook is shown; its
code is folded in JupyterLab and left out of the book. A sentence whose number is undefined is not said.
"""

import math
import re
from string import Formatter

from IPython.display import Markdown, display

from civilwar.pages.numbers import glued, typographic

#: One sentence, or alternatives of which the first that can be said is.
Sentence = str | tuple[str, ...]
#: What Markdown, MyST or HTML could take for more than text.
_MARKUP = re.compile(r"[\\`*_{}\[\]<>#$|~&^@:!]|^[-+=]|(?<=^\d)[.)]|(?<=^\d\d)[.)]")


#: Whether a name without a number is one that the run lacks: see `leave_out_what_is_lacking`.
_LACKING: list[bool] = []


def leave_out_what_is_lacking() -> None:
    """From now on, a sentence whose name has no number is not said: the cell that would have glued it was left out."""
    _LACKING.append(True)


def prose(*sentences: Sentence, **numbers: float | int | str | None) -> None:
    r"""Show one or several paragraphs of Markdown with their numbers in place.

    Args:
        sentences: templates in the language of `str.format`, without attributes and positions: ``"ends at {norm:.2f}"``.
            Each is said if all of its numbers are defined. Of a tuple the first that can be said is; a last one without
            numbers says what is so otherwise. They are joined by spaces; ``"\n\n"`` begins a paragraph.
        numbers: beside those that `civilwar.pages.numbers.glue` was given above in the same notebook.

    Raises ValueError where a name has no number, or a format does not fit it.
    """
    if text := written(*sentences, **numbers):
        display(Markdown(text))


def written(*sentences: Sentence, **numbers: float | int | str | None) -> str:
    """What `prose` shows; empty where nothing can be said."""
    known = {**glued(), **numbers}
    said = []
    for sentence in sentences:
        alternatives = (sentence,) if isinstance(sentence, str) else sentence
        text = next((text for each in alternatives if (text := _filled(each, known)) is not None), None)
        if text is not None:
            said.append(text)
    return re.sub(r" *\n\n *", "\n\n", " ".join(said)).strip()


def _filled(template: str, known: dict[str, float | int | str | None]) -> str | None:
    """The template with its numbers in place; None where one of them is undefined."""
    parts = []
    for literal, name, spec, _ in Formatter().parse(template):
        parts.append(literal)
        if name is None:
            continue
        if name not in known:
            if _LACKING:
                return None
            raise ValueError(f"prose names {{{name}}}, which has no number: glue it in a cell above, or pass {name}=.")
        value = known[name]
        if value is None or (isinstance(value, float) and math.isnan(value)):
            return None
        try:
            text = format(value, spec or "")
        except ValueError as error:
            raise ValueError(f"prose cannot write {name} = {value!r} as {spec!r}: {error}.") from None
        parts.append(literally(text) if isinstance(value, str) else typographic(text))
    return "".join(parts)


def literally(text: str) -> str:
    """``text`` in one line, as Markdown that shows it as it is, whoever wrote it; with minus signs before numbers."""
    return _MARKUP.sub(r"\\\g<0>", typographic(" ".join(text.split())))

"""Tables as CSV that a spreadsheet takes for text and numbers, whatever texts are in them."""

import re

import pandas as pd

#: What a spreadsheet takes for the beginning of a formula, in either width, or skips before one.
_FORMULA = re.compile(r"[=+\-@\uff1d\uff0b\uff0d\uff20\t\r\n]")
_DIGITS = r"(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?"
#: A number; a number with its uncertainty or up to another; a lone dash.
_NUMBER = re.compile(rf"[+-]?{_DIGITS}( (±|to) [+-]?{_DIGITS})?|[+-]?(inf|nan)|-")


def csv_text(table: pd.DataFrame) -> str:
    """``table`` as CSV without its index, numbers with five digits, and an apostrophe before what would be computed.

    That goes for column names too. Numbers stay as they are, with a sign or not, alone or as "-1 to 1" and
    "+2 ± 1", and so does a lone dash.
    """
    if not len(table.columns):
        return "\n"
    columns = [column if _has_no_text(column) else column.map(_inert) for _, column in table.items()]
    safe = pd.concat(columns, axis="columns").set_axis([_inert(name) for name in table.columns], axis="columns")
    text: str = safe.to_csv(index=False, float_format="%.5g", lineterminator="\n")
    # a carriage return in a cell is quoted only where it is part of the ends of lines, and would begin a row otherwise
    return safe.to_csv(index=False, float_format="%.5g", lineterminator="\r\n") if "\r" in text else text


def _has_no_text(column: pd.Series) -> bool:
    return bool(pd.api.types.is_numeric_dtype(column))


def _inert(cell: object) -> object:
    return f"'{cell}" if isinstance(cell, str) and _FORMULA.match(cell) and not _NUMBER.fullmatch(cell) else cell

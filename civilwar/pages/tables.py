"""A table as HTML for readers: words for column names, a long one folded to its most telling rows."""

from collections.abc import Callable, Mapping

import pandas as pd

from civilwar.pages.numbers import typographic

#: A longer table is folded, to so many rows.
LONGEST, FOLDED = 8, 5
#: What columns are called where their name, without underscores, is not yet what a reader would say.
WORDS = {
    "p": "p",
    "rho": "rank correlation (ρ)",
    "beyond": "beyond 95% of gains dealt anew",
    "dip_step": "step of the minimum",
    "dip_norm": "norm there",
    "decay_only_norm": "weight decay alone",
    "start_norm": "norm at the start",
    "end_norm": "norm at the end",
    "onset_step": "parts from step",
    "end_spread": "spread at the end",
    "settle_step": "settles at step",
    "random_walk_step": "a random walk at step",
    "null_low": "dealt anew, low",
    "null_high": "dealt anew, high",
}


def in_words(table: pd.DataFrame) -> pd.DataFrame:
    """The table with words for column names and for truth values; what is named in words already stays."""
    named = table.rename(columns={column: WORDS.get(column, str(column).replace("_", " ")) for column in table.columns})
    truth = [column for column in named.columns if pd.api.types.is_bool_dtype(named[column])]
    named = named.assign(**{column: named[column].map({True: "yes", False: "no"}) for column in truth})
    return named.replace("undefined", "no value")


def telling_rows(table: pd.DataFrame, by: str | None) -> pd.DataFrame:
    """``FOLDED`` rows in the table's order: those with the largest ``by``, or evenly spaced ones where none is named."""
    if by is None:
        chosen = table.index[[round(i * (len(table) - 1) / (FOLDED - 1)) for i in range(FOLDED)]]
    else:
        chosen = table[by].abs().sort_values(ascending=False, kind="stable").index[:FOLDED]
    return table.loc[table.index.isin(chosen)]


def table_html(
    table: pd.DataFrame, name: str, decimals: Mapping[str, int] | int, words: bool = False, telling: str | None = None
) -> str:
    """The table as HTML; one of more than ``LONGEST`` rows as its most telling ones, and all a click away.

    Args:
        table: numbers and text; undefined values become a dash.
        name: the table's id is ``T_{name}``.
        decimals: of each column of numbers, or of all.
        words: its cells are text to read, so they begin on the left, wrap, and are not folded unless ``telling`` is given.
        telling: the column whose largest values are the most telling.
    """
    whole = _styled(table, name, decimals, words)
    if len(table) <= LONGEST or (words and telling is None):
        return whole
    few = _styled(telling_rows(table, telling), f"{name}_few", decimals, words)
    return f'{few}<details class="cw-rest"><summary>All {len(table)} rows</summary><div>{whole}</div></details>'


def _styled(table: pd.DataFrame, name: str, decimals: Mapping[str, int] | int, words: bool) -> str:
    shown = in_words(table)
    named = dict(zip(table.columns, shown.columns, strict=True))
    formats = {
        named[column]: _number(decimals if isinstance(decimals, int) else decimals.get(str(column), 2))
        for column in table.columns
        if pd.api.types.is_float_dtype(table[column])
    }
    text = [column for column in shown.columns if not pd.api.types.is_numeric_dtype(shown[column])]
    if words:
        # a table of words may hold a command's options, so only before decimal fractions
        formats |= dict.fromkeys(text, lambda cell: typographic(str(cell), before=r"\d+\.\d"))
    body = shown.style.format(formats, na_rep="–", escape="html").format_index(escape="html", axis="columns")
    body = body.hide(axis="index").set_uuid(name).set_td_classes(pd.DataFrame("cw-text", shown.index, text))
    body.set_table_attributes(f'class="cw-table{" cw-words" if words else ""} dataframe"')
    return f'<div class="cw-scroll" tabindex="0">{body.to_html()}</div>'


def _number(decimals: int) -> Callable[[object], str]:
    """A formatter of table cells."""
    return lambda value: typographic(f"{value:.{decimals}f}")

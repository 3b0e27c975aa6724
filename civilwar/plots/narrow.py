"""A figure laid out again for a phone: fewer columns, legends below, the same size of type.

Nothing is drawn anew, so the narrow form shows what the wide one does.
"""

import math
import textwrap

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.legend import Legend
from matplotlib.ticker import FixedLocator

#: Inches: at 390 px a page's column is 358 px wide, and type of 9.5 points is then 12.5 px high.
WIDTH = 3.75
#: Inches: narrower panels are small multiples, which stand in pairs; the others have a row to themselves, so high at most.
_SMALL, _HIGHEST = 2.4, 3.2
#: Points that a letter takes on average, as a share of the size of its type.
_LETTER = 0.53
#: The share of the width that names beside a panel may take.
_NAMES = 0.45
#: What a line may be simplified by, in points: the picture is half as large.
_SIMPLIFY = 0.8


def narrow(figure: Figure) -> None:
    """Lay ``figure`` out again, in place, ``WIDTH`` inches wide."""
    panels = [ax for ax in figure.axes if ax.get_subplotspec() is not None]
    if not panels:
        return
    places = {ax: ax.get_subplotspec().num1 for ax in panels}  # type: ignore[union-attr] # has one
    order = sorted(set(places.values()))
    grid = panels[0].get_subplotspec().get_gridspec()  # type: ignore[union-attr] # has one
    height = figure.get_figheight() / grid.nrows
    small = grid.ncols > 2 and figure.get_figwidth() / grid.ncols < _SMALL
    columns = 2 if small and len(order) > 3 else 1
    rows = math.ceil(len(order) / columns)
    legends = _take_legends(figure, panels)
    again = figure.add_gridspec(rows, columns)
    for ax in panels:
        place = order.index(places[ax])
        ax.set_subplotspec(again[place // columns, place % columns])
        _label_outer(ax, place, columns, len(order))
        _wrap_title(ax, WIDTH / columns)
        _thin_ticks(ax, WIDTH / columns)
        _wrap_names(ax, WIDTH / columns)
        for line in ax.lines:
            line.get_path().simplify_threshold = _SIMPLIFY
    n_rows_of_legends = sum(_legend_below(figure, legend) for legend in legends)
    # panels that stood side by side were as high as they were narrow
    panel = height if columns > 1 or grid.ncols == 1 else min(height, _HIGHEST)
    figure.set_size_inches(WIDTH, rows * panel + 0.2 * n_rows_of_legends)


def _label_outer(ax: Axes, place: int, columns: int, n: int) -> None:
    """Tick labels where the new grid begins and ends, as far as panels share their axes."""
    if len(ax.get_shared_x_axes().get_siblings(ax)) > 1:
        ax.tick_params(labelbottom=place + columns >= n)
    if len(ax.get_shared_y_axes().get_siblings(ax)) > 1:
        ax.tick_params(labelleft=place % columns == 0)


def _wrap_title(ax: Axes, width: float) -> None:
    for title in (ax.title, ax._left_title, ax._right_title):  # type: ignore[attr-defined] # there is no public way
        if text := title.get_text():
            letters = int(width * 72 / (_LETTER * float(title.get_fontsize())))
            title.set_text("\n".join(textwrap.wrap(text, max(letters, 12))))


def _thin_ticks(ax: Axes, width: float) -> None:
    """Labels of named ticks, as many as have room: numbers are thinned out, words turned."""
    if not isinstance(ax.xaxis.get_major_locator(), FixedLocator):
        return
    ticks, texts = ax.get_xticks(), [label.get_text() for label in ax.get_xticklabels()]
    if not any(texts):
        return
    size = float(ax.get_xticklabels()[0].get_fontsize())
    longest = max(len(line) for text in texts for line in text.split("\n"))
    room = 0.8 * width * 72 / (_LETTER * size * (longest + 1))
    if len(texts) <= room:
        return
    if all(text.isdigit() for text in texts if text):
        every = math.ceil(len(texts) / room)
        ax.set_xticks(ticks[::every], texts[::every])
    else:
        ax.tick_params(axis="x", labelrotation=90)


def _wrap_names(ax: Axes, width: float) -> None:
    """Names beside the vertical axis in lines that leave the panel more than half of the width."""
    if not isinstance(ax.yaxis.get_major_locator(), FixedLocator):
        return
    names = ax.get_yticklabels()
    # a formula has no place where it may be broken
    if not names or any("$" in name.get_text() for name in names):
        return
    letters = int(_NAMES * width * 72 / (_LETTER * float(names[0].get_fontsize())))
    wrapped = ["\n".join(textwrap.fill(line, letters) for line in name.get_text().split("\n")) for name in names]
    if wrapped != [name.get_text() for name in names]:
        ax.set_yticks(ax.get_yticks(), wrapped)


def _take_legends(figure: Figure, panels: list[Axes]) -> list[Legend]:
    """Legends that stand beside their panel, or on it in a place of the library's choice: removed, to be set below."""
    found = []
    for ax in panels:
        legend = ax.get_legend()
        if legend is not None and legend.legend_handles:
            found.append(legend)
            legend.remove()
    for legend in list(figure.legends):
        found.append(legend)
        legend.remove()
    return found


def _legend_below(figure: Figure, legend: Legend) -> int:
    """The legend again, below all panels or above them. Returns how many rows it has."""
    texts = [text.get_text() for text in legend.get_texts()]
    size = float(legend.get_texts()[0].get_fontsize())
    letters = WIDTH * 72 / (_LETTER * size)
    columns = max(1, min(len(texts), int(letters // (max(map(len, texts)) + 7))))
    figure.legend(
        [handle for handle in legend.legend_handles if handle is not None],
        texts,
        # the label of all horizontal axes has its place below
        loc="outside upper center" if figure.get_supxlabel() else "outside lower center",
        ncols=columns,
        fontsize=size,
        title=legend.get_title().get_text() or None,
        columnspacing=1.0,
        handletextpad=0.4,
    )
    return math.ceil(len(texts) / columns)

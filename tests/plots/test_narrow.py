"""`civilwar.plots.narrow`: the same figure for a phone."""

import io
import itertools

import matplotlib.pyplot as plt
import numpy as np
import pytest

from civilwar.plots import style
from civilwar.plots.narrow import WIDTH, narrow


@pytest.fixture(autouse=True)
def _style() -> None:
    style.use_style()


def test_small_multiples_stand_in_pairs_and_keep_what_they_drew() -> None:
    figure, axes = style.small_multiples(10)
    for i, ax in enumerate(axes):
        ax.plot([0, 1], [0, i])
        ax.set_title(f"layer {i}")
    style.outer_labels(figure, "step", "norm")
    narrow(figure)
    figure.savefig(io.BytesIO(), format="svg")
    assert figure.get_figwidth() == WIDTH
    boxes = [ax.get_position() for ax in axes]
    assert [round(box.x0, 3) for box in boxes[::2]] == [round(boxes[0].x0, 3)] * 5
    assert all(right.x0 > left.x1 - 0.02 for left, right in zip(boxes[::2], boxes[1::2], strict=True))
    assert [ax.lines[0].get_ydata()[1] for ax in axes] == list(range(10))
    # only the outer panels name their ticks
    shown = [any(label.get_visible() for label in ax.get_yticklabels()) for ax in axes]
    assert shown == [True, False] * 5
    plt.close(figure)


def test_a_legend_beside_the_panel_goes_below_it() -> None:
    figure, ax = style.single()
    for name in ("one", "two"):
        ax.plot([0, 1], label=name)
    style.side_legend(ax)
    narrow(figure)
    figure.canvas.draw()
    assert ax.get_legend() is None
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ["one", "two"]
    assert legend.get_window_extent().y1 <= ax.get_window_extent().y0
    assert ax.get_position().width > 0.6
    plt.close(figure)


@pytest.mark.parametrize(("names", "turned"), [([str(i) for i in range(22)], False), (["a long name"] * 7, True)])
def test_named_ticks_have_room(names: list[str], turned: bool) -> None:
    figure, ax = style.single()
    ax.plot(range(len(names)))
    ax.set_xticks(range(len(names)), names)
    narrow(figure)
    figure.canvas.draw()
    boxes = [label.get_window_extent() for label in ax.get_xticklabels()]
    assert all(left.x1 < right.x0 for left, right in itertools.pairwise(boxes))
    assert (len(boxes) == len(names)) is turned
    plt.close(figure)


def test_panels_side_by_side_stand_below_each_other_with_their_titles_wrapped() -> None:
    figure, axes = style.row(2)
    axes[0].set_title("a title of many words that no panel of a phone has room for in one line")
    axes[1].imshow(np.zeros((2, 2)))
    narrow(figure)
    figure.canvas.draw()
    first, second = (ax.get_position() for ax in axes)
    assert first.y0 > second.y1
    assert "\n" in axes[0].get_title(loc="left")
    plt.close(figure)


def test_names_beside_a_panel_leave_it_half_of_the_width() -> None:
    figure, ax = style.single()
    ax.plot([0, 1], [0, 1])
    names = ["a way of doing it that takes many words", "short"]
    ax.set_yticks([0, 1], names)
    narrow(figure)
    figure.canvas.draw()
    assert [label.get_text().replace("\n", " ") for label in ax.get_yticklabels()] == names
    assert ax.get_position().width > 0.5
    plt.close(figure)

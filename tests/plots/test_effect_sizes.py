"""Figures of phase 12: they draw what the tables say, beside a null, one colour a scale."""

from collections.abc import Iterator

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_hex

from civilwar.analysis import compression, partial
from civilwar.plots import beyond, style
from civilwar.plots import effect_sizes as draw

NULL = style.NULL


@pytest.fixture(autouse=True)
def clean_figures() -> Iterator[None]:
    with mpl.rc_context():
        style.use_style()
        yield
    plt.close("all")


def lines(ax: plt.Axes) -> dict[str, np.ndarray]:
    return {str(line.get_label()): line.get_xydata() for line in ax.lines}


def test_bars_add_up_and_chance_stands_beside() -> None:
    table = pd.DataFrame(
        {"source": ["layer", "head"], "variance": [3, 1], "share": [0.75, 0.25], "by_chance": [0.2, 0.8]}
    )
    _, ax = plt.subplots()
    draw.shares({"one": table, "two": table}, ax)
    ends = [bar.get_x() + bar.get_width() for bar in ax.patches if bar.get_width() > 0]
    assert ends == pytest.approx([0.75, 1, 0.75, 1])
    assert [text.get_text() for text in ax.texts] == ["75%", "25%", "75%", "25%"]
    chance = [line for line in ax.lines if len(line.get_xdata())]
    assert all(list(line.get_xdata()) == [0.2, 0.2] for line in chance)
    assert {text.get_text() for text in ax.get_legend().get_texts()} >= {"between layers", "between heads of a layer"}
    assert set(draw.SOURCES) == {"layer", "seed", "head", "text", "token"}


def test_heads_stand_by_layer_in_their_own_colors() -> None:
    norms = pd.DataFrame({"layer": [0, 0, 1, 1], "kv_head": [0, 1, 0, 1], "norm": [8.0, 9, 10, 12]})
    null = pd.DataFrame({"layer": [0], "null_high": [0.5]})
    _, ax = plt.subplots()
    draw.heads_by_layer(norms, null, 1, ax)
    dots = [dots for dots in ax.collections if len(dots.get_offsets()) == 2]
    assert [to_hex(of_head.get_facecolor()[0]) for of_head in dots] == [style.kv_head_color(i) for i in (0, 1)]
    assert any(text.get_text() == "the report's layer" for text in ax.texts)
    # the band: the null about the first layer's mean, nothing where there is no null
    band = ax.collections[0].get_paths()[0].vertices
    assert {8.0, 9.0, 11.0} <= set(band[:, 1])


def test_every_question_has_its_row_its_interval_and_its_null() -> None:
    assert {(x, ", ".join(given)) for x, given in partial.QUESTIONS} == set(draw.QUESTION_NAMES)
    rows = [{"x": x, "given": given, "rho": rho} for x, given in draw.QUESTION_NAMES for rho in (-0.5, -0.4)]
    null = pd.DataFrame([{"x": "key_norm", "given": "", "null_low": -0.2, "null_high": 0.2}])
    _, ax = plt.subplots()
    draw.questions({"small": pd.DataFrame(rows), "large": pd.DataFrame(rows[:1])}, null, ax)
    assert [label.get_text() for label in ax.get_yticklabels()] == list(draw.QUESTION_NAMES.values())
    means = [line for line in ax.lines if line.get_marker() == "|"]
    assert [float(line.get_xdata()[0]) for line in means] == pytest.approx([-0.45] * 5 + [-0.5])
    assert {line.get_color() for line in means} == {draw.scale_color(0), draw.scale_color(1)}
    assert any(to_hex(patch.get_facecolor()[0]) == NULL for patch in ax.collections)


def test_the_calm_shows_the_control_below_each_scale() -> None:
    table = pd.DataFrame([{"seed": 1, "measure": m, "base": -0.2, "control": 0.1} for m in compression.PREDICTED])
    _, ax = plt.subplots()
    draw.calm({"small": table}, ax)
    marks = {line.get_color(): line.get_ydata()[0] for line in ax.lines if line.get_marker() == "|"}
    # the axis points down
    assert marks[draw.scale_color(0)] < marks[NULL]
    assert set(draw.MEASURE_NAMES) == set(compression.PREDICTED)


def test_profiles_of_gains_stand_about_one() -> None:
    table = pd.DataFrame({"rank": [0, 1], "wavelength": [6.0, 600.0], "gain": [1.1, 0.7], "low": 0.5, "high": 1.2})
    _, ax = plt.subplots()
    draw.suppression({"small": table, "large": table[:0]}, 64, ax)
    assert lines(ax)["small"].tolist() == [[6, 1.1], [600, 0.7]]
    assert ax.get_xscale() == "log"
    assert any(line.get_color() == NULL and set(line.get_ydata()) == {1} for line in ax.lines)


def test_a_claim_under_ever_narrower_nulls() -> None:
    rows = [
        {"claim": "C03", "run": "a", "seed": 1, "width": width, "value": value}
        for width, value in ((np.nan, 2.0), (16, 1.5), (4, 1.2))
    ]
    _, ax = plt.subplots()
    beyond.over_widths({"small": pd.DataFrame(rows)}, "C03", ax)
    assert [label.get_text() for label in ax.get_xticklabels()] == ["free", "16", "4"]
    drawn = [line for line in ax.lines if line.get_color() == draw.scale_color(0)]
    assert drawn[0].get_ydata().tolist() == [2.0, 1.5, 1.2]
    assert any(line.get_color() == NULL for line in ax.lines)


def test_onsets_stand_beside_one_in_proportion() -> None:
    table = pd.DataFrame({"run": "a", "seed": 1, "threshold": [0.5, 1, 2], "onset": [50, 70, 90], "parted": 1.0})
    _, ax = plt.subplots()
    beyond.onset({"small": table}, 1.0, ax, "threshold")
    assert lines(ax)["small"][:, 1].tolist() == [50, 70, 90]
    # 100 and 200 would lie above all that is drawn
    assert lines(ax)["in proportion"].tolist() == [[0.5, 50]]
    _, empty = plt.subplots()
    beyond.onset({"none": table[:0]}, float("nan"), empty, "threshold")


def test_power_is_solid_for_independent_heads_and_dashed_for_alike_ones() -> None:
    rows = [
        {"share": share, "separation": s, "icc": icc, "power": s / 8}
        for share in (0.5, 0.1)
        for icc in (0.0, 0.4)
        for s in (0, 8)
    ]
    _, ax = plt.subplots()
    beyond.power(pd.DataFrame(rows), ax)
    curves = [line for line in ax.lines if len(line.get_xdata()) == 2 and line.get_color() not in (NULL, style.INK)]
    assert [line.get_linestyle() for line in curves] == ["-", "--", "-", "--"]
    assert [text.get_text() for text in ax.get_legend().get_texts()] == [
        "50% of heads",
        "10% of heads",
        "as alike as measured",
    ]

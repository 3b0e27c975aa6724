"""The robustness map: a colour and a letter a verdict, a frame where a choice decides otherwise."""

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.colors import to_hex
from matplotlib.patches import Rectangle

from civilwar.names.verdicts import PENDING, VERDICTS, color_of
from civilwar.plots.robustness import CODES, verdict_map


def test_every_verdict_has_a_letter_of_its_own() -> None:
    assert set(CODES) == {*VERDICTS, PENDING.label}
    assert len(set(CODES.values())) == len(CODES)


def test_cells_say_their_verdict_and_are_framed_where_they_part() -> None:
    rows = [
        ("C02", "as the rules say", "rules", "there", "same"),
        ("C02", "sign test", "test", "not there", "other"),
        ("C02", "KV heads", "unit", "not touched", "untouched"),
        ("C02", "prose", "text", PENDING.label, "untouched"),
    ]
    long = pd.DataFrame(rows, columns=["id", "choice", "group", "verdict", "against"])
    standings = pd.DataFrame([{"id": "C02", "same": 0, "choices": 1}])
    _, ax = plt.subplots()
    verdict_map(long, standings, ax)
    boxes = [patch for patch in ax.patches if isinstance(patch, Rectangle)]
    filled = [to_hex(box.get_facecolor()) for box in boxes if box.get_facecolor()[3] > 0]
    assert filled == [color_of("there"), color_of("not there")]
    frames = [box for box in boxes if box.get_linewidth() == 1.5]
    assert len(frames) == 1
    # the frame stands in the second column, apart from the first since its group is another
    assert frames[0].get_x() > 1
    assert [text.get_text() for text in ax.texts] == ["T", "N", "·", "0/1"]
    assert [label.get_text() for label in ax.get_xticklabels()] == [row[1] for row in rows]
    plt.close("all")

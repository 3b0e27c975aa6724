"""Two sides of a comparison in a real browser: another head, layer, step or run, under one slider, with its null."""

import re
from pathlib import Path

import numpy as np
import pytest
from browser import Browser
from inspector_pages import LAST, another, choose, open_at, written
from selenium.webdriver.common.by import By

from civilwar.inspector.payload import Payload
from civilwar.inspector.values import Values, difference

pytestmark = pytest.mark.xdist_group("inspector")

AGAINST = "document.querySelector('.cwi-against').textContent"
PANELS = "[...document.querySelectorAll('.cwi-panel')].map(panel => panel.dataset.view)"


def minus(value: float) -> str:
    """A difference as the page writes it."""
    return written(abs(value)) if value >= 0 else "\u2212" + written(abs(value))


def sides(chromium: Browser) -> tuple[str, str]:
    """Run, layer, head and step of A and of B, as the page says them."""
    said = re.match(r"A: (.*?)\. B: (.*?)\. ", str(chromium.ask(AGAINST)))
    assert said is not None
    return said[1], said[2]


def test_two_heads_layers_steps_or_runs_stand_side_by_side_under_one_slider(
    chromium: Browser, base: str, payload: Payload
) -> None:
    open_at(chromium, base)
    alone = chromium.ask(PANELS)
    choose(chromium, "compare", "beside")
    assert chromium.ask(PANELS) == [name for name in alone for _ in range(1 if name in ("find", "training") else 2)]
    assert sides(chromium) == ("synthetic, layer 1, query head 2, step 20",) * 2
    choose(chromium, "head2", 6)
    choose(chromium, "step", 8)
    assert sides(chromium) == ("synthetic, layer 1, query head 2, step 8", "synthetic, layer 1, query head 6, step 8")
    choose(chromium, "layer2", 0)
    choose(chromium, "step2", 30)
    choose(chromium, "step", 12)
    assert sides(chromium)[1] == "synthetic, layer 0, query head 6, step 30"
    chromium.wait_for("location.hash.includes('compare=beside&layer2=0&head2=6&step2=30')")
    # a head that is clicked on one side is chosen for that side
    maps = chromium.driver.find_elements(By.CSS_SELECTOR, ".cwi-map")
    maps[1].find_elements(By.CSS_SELECTOR, ".cwi-cell")[-1].click()
    assert sides(chromium) == ("synthetic, layer 1, query head 2, step 12", "synthetic, layer 2, query head 7, step 30")
    # one scale for both
    choose(chromium, "run2", "another")
    chromium.wait_for(f"{AGAINST}.includes('B: another, ')")
    full = "[...document.querySelectorAll('.cwi-map figcaption')].map(note => note.textContent)"
    assert len(set(chromium.ask(full))) == 1
    choose(chromium, "compare", "")
    assert chromium.ask(PANELS) == alone
    assert chromium.faults() == []


def test_a_difference_is_shown_with_its_null(chromium: Browser, served: str, payload: Payload) -> None:
    open_at(chromium, served, "#step=20&layer=1&head=2&metric=entropy_normalised&compare=difference&run2=another")
    chromium.wait_for("document.querySelector('.cwi-difference')")
    assert chromium.ask(PANELS)[:2] == ["difference", "difference-time"]
    one, two = (Values(run, "entropy_normalised") for run in (payload, another(payload)))
    less, null = difference(one, two, 20, 20)
    assert f"A less B: {minus(less[1, 2])}; null \u00b1{written(null[1])}." in chromium.ask(AGAINST)
    cells = "[...document.querySelectorAll('.cwi-difference .cwi-beyond')].map(dot => dot.getAttribute('visibility'))"
    beyond = np.abs(less) > null[:, None]
    assert chromium.ask(cells) == ["visible" if far else "hidden" for far in beyond.ravel()]
    assert "how far two query heads of one layer lie apart" in chromium.ask(
        "document.querySelector('.cwi-difference-time figcaption').textContent"
    )
    choose(chromium, "metric", "norm_mean")
    note = chromium.ask("document.querySelector('.cwi-difference figcaption').textContent")
    assert "how far two KV heads of one layer lie apart" in note
    assert "Measured per KV head" in note
    # with the other side held fast, heads change over training; the curve's table says by how much
    for name, value in {"run2": "", "step2": LAST}.items():
        choose(chromium, name, value)
    choose(chromium, "step", LAST)
    assert "A less B: 0.00; null" in chromium.ask(AGAINST)
    assert chromium.faults() == []


@pytest.mark.parametrize("width", [390, 1440])
def test_a_comparison_fits_and_axe_finds_nothing_serious(chromium: Browser, served: str, width: int) -> None:
    for way in ("beside", "difference"):
        open_at(chromium, served, f"#compare={way}&run2=another", width)
        chromium.wait_for("document.querySelector('.cwi-two')")
        assert chromium.overflow() <= 0
        assert chromium.violations() == []


def test_a_run_that_is_not_there_is_said(chromium: Browser, site: Path, tmp_path: Path) -> None:
    for name in ("inspector.js", "inspector.css", "page.html", "inspector/synthetic/core.js"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes((site / name).read_bytes())
    chromium.open(f"{tmp_path.as_uri()}/", "page.html#compare=beside&run2=another")
    chromium.wait_for("document.querySelector('.cwi-notice')?.textContent.startsWith('another could not be loaded: ')")
    assert chromium.ask("document.querySelectorAll('.cwi-two').length") == 0
    chromium.open(f"{tmp_path.as_uri()}/", "page.html#compare=beside&run2=elsewhere")
    chromium.wait_for(
        "document.querySelector('.cwi-notice')?.textContent.includes('run2=elsewhere, which is not offered')"
    )

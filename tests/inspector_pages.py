"""Pages with inspectors for the browser's tests: a made-up run, its site, and how a reader opens and asks it."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from browser import Browser
from synthetic import Truth, keys_like, make_synthetic_config, write_run

from civilwar.inspector import bundle, static
from civilwar.inspector.of_run import payload_of_run
from civilwar.inspector.payload import Patterns, Payload, Text

LAST, LAYERS, HEADS = 40, 3, 8
HOSTILE = [
    "<script>window.attacked = 1</script>",
    "<img src=x onerror='window.attacked = 1'>",
    "</script></text></svg></div><h1>",
    "\u202egnihtyna",
    "\x00\x1b[31m",
    "\n",
    " javascript:attacked()",
    "&lt;b&gt;",
    '"><svg onload=attacked()>',
    "\ud83d\ude00",
]
PAGE = """<!doctype html><html lang="en" data-theme="light"><head><meta charset="utf-8"><title>Inspector</title>
<meta name="viewport" content="width=device-width"><link rel="icon" href="data:,">
<link rel="stylesheet" href="inspector.css"></head><body><main><h1>Heads</h1>{element}</main>
<script defer src="inspector.js"></script></body></html>"""
READY = "document.querySelector('.cw-inspector').dataset.ready === 'true'"


def made_payload(folder: Path) -> Payload:
    """A run whose heads all differ, with weights at random and the second text one that would act if it could."""
    random = np.random.default_rng(1)
    config = make_synthetic_config(n_layers=LAYERS, steps=LAST)
    n = len(config.snapshot_steps())
    truth = Truth(
        gain=1 + np.linspace(0, 1, LAST + 1)[:, None, None] * random.uniform(-0.4, 0.6, size=(LAYERS, 16)),
        energy=keys_like(random, (LAST + 1, LAYERS, 4, 16)),
        entropy_normalised=random.uniform(0.2, 0.9, size=(n, 4, LAYERS, HEADS)),
        separator_mass=random.uniform(0, 0.9, size=(n, 4, LAYERS, HEADS)),
    )
    made = payload_of_run(write_run(folder / "synthetic", config, truth))
    first, second = made.texts
    hostile = tuple((HOSTILE * 2)[: len(first.tokens)])
    assert made.patterns is not None
    weights = random.integers(0, 256, size=made.patterns.weights.shape, dtype=np.uint8)
    return replace(
        made, texts=(first, Text(hostile, second.separator)), patterns=Patterns(made.patterns.steps, weights)
    )


def another(payload: Payload) -> Payload:
    """A second run whose heads lie in another order and closer together, some of them undefined."""
    measures = []
    for one in payload.measures:
        values = one.values[:, :, ::-1] * 0.7
        values[::2, 0] = np.nan
        measures.append(replace(one, values=values))
    return replace(payload, name="another", measures=tuple(measures))


def write_site(folder: Path, element: str, *payloads: Payload) -> None:
    """``page.html`` with an inspector's element, and what it loads."""
    for payload in payloads:
        static.write_scripts(payload, folder / "inspector")
    (folder / "inspector.js").write_text(bundle.script(), encoding="utf-8")
    (folder / "inspector.css").write_text(bundle.style(), encoding="utf-8")
    (folder / "page.html").write_text(PAGE.format(element=element), encoding="utf-8")


def written(value: float) -> str:
    """As the page writes a number of some size."""
    return f"{value:.{1 if value >= 10 else 2}f}"


def open_at(chromium: Browser, base: str, address: str = "", width: int = 1440) -> None:
    chromium.open(base, f"page.html{address}", width)
    chromium.wait_for(READY)
    chromium.wait_for("!document.querySelector('.cwi-waiting')")


def said(chromium: Browser) -> str:
    return str(chromium.ask("document.querySelector('.cwi-said').textContent"))


def choose(chromium: Browser, name: str, value: Any) -> None:
    """As a reader would, and wait until the layer's patterns are there."""
    chromium.choose(name, value)
    chromium.wait_for("!document.querySelector('.cwi-waiting')")

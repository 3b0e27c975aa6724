"""How fast the head inspector is on a run as deep as the 88M one: `python benchmarks/inspector.py`, in a real browser.

A made-up run of 22 layers and 176 query heads at 489 steps stands for it, so that nothing has to be trained. Measured: bytes
that travel, time from the page's load to the first frame, and script time of each step while the slider is dragged. Run it on
a machine that does nothing else.
"""

import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "tests"))

import browser
from synthetic import Truth, keys_like, make_synthetic_config, write_run

from civilwar.widgets import bundle, static
from civilwar.widgets.inspector import HeadInspector
from civilwar.widgets.payload import of_run

LAYERS, D_HEAD, STEPS, TOKENS = 22, 64, 489, 48
REPEATS = 5
PAGE = """<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Inspector</title><link rel="icon" href="data:,">
<link rel="stylesheet" href="inspector.css"></head><body style="max-width: 50rem">{element}
<script>window.loaded = new Promise(done => addEventListener("load", () => done(performance.now())));
new MutationObserver((_, watch) => {{
  if (!document.querySelector(".cw-inspector[data-ready]")) return;
  watch.disconnect();
  requestAnimationFrame(() => requestAnimationFrame(() => {{ window.firstFrame = performance.now(); }}));
}}).observe(document, {{subtree: true, attributes: true}});</script>
<script defer src="inspector.js"></script></body></html>"""
SCRUB = """const [last, done] = arguments, slider = document.querySelector("[name=step]"), spent = [];
let step = 0;
const next = () => {
  slider.value = step;
  const start = performance.now();
  slider.dispatchEvent(new Event("input", {bubbles: true}));
  spent.push(performance.now() - start);
  step += 1;
  if (step > last) done(spent); else requestAnimationFrame(next);
};
next();"""


def write_site(folder: Path) -> dict[str, int]:
    """The page and its data; bytes of each part."""
    random = np.random.default_rng(0)
    config = make_synthetic_config(d_head=D_HEAD, n_layers=LAYERS, steps=STEPS)
    n = len(config.snapshot_steps())
    growth = np.linspace(0, 1, STEPS + 1)[:, None, None]
    truth = Truth(
        gain=1 + growth * random.uniform(-0.4, 0.8, size=(LAYERS, D_HEAD)),
        energy=keys_like(random, (STEPS + 1, LAYERS, 4, D_HEAD)),
        entropy_normalised=random.uniform(0.2, 0.9, size=(n, 4, LAYERS, 8)),
        separator_mass=random.uniform(0, 0.9, size=(n, 4, LAYERS, 8)),
    )
    payload = of_run(write_run(folder / "runs" / "deep", config, truth))
    tokens = [f" t{i}" for i in range(TOKENS)]
    payload.meta["texts"] = [{"tokens": tokens, "separator": [i % 5 == 4 for i in range(TOKENS)]}] * 2
    # random weights compress worse than any model's
    cells = random.exponential(9, size=(n, 2, LAYERS, 8, TOKENS * (TOKENS + 1) // 2)).clip(0, 255).astype(np.uint8)
    payload = replace(payload, patterns=cells)
    files = static.write_scripts(payload, folder / "inspector")
    (folder / "inspector.js").write_text(bundle.script(), encoding="utf-8")
    (folder / "inspector.css").write_text(bundle.style(), encoding="utf-8")
    (folder / "page.html").write_text(PAGE.format(element=HeadInspector(payload, layer=11).to_html()), encoding="utf-8")
    return {
        "code": (folder / "inspector.js").stat().st_size,
        "core": files[0].stat().st_size,
        "one layer": max(file.stat().st_size for file in files[1:]),
    }


def main() -> None:
    """Print the table."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for part, size in write_site(folder).items():
            print(f"{part:<28}{size / 1e6:8.2f} MB")
        window = browser.Browser(browser.find(), folder / "profile")
        try:
            with browser.serve(folder) as address:
                frames, scripts = [], []
                for _ in range(REPEATS):
                    window.open(address, "page.html")
                    window.wait_for("window.firstFrame")
                    loaded = window.driver.execute_async_script("window.loaded.then(arguments[0])")
                    frames.append(window.ask("window.firstFrame") - loaded)
                    window.wait_for("!document.querySelector('.cwi-waiting')")
                    scripts += window.driver.execute_async_script(SCRUB, STEPS)
        finally:
            window.close()
    spread = f"median of {REPEATS}; {min(frames):.0f} to {max(frames):.0f}"
    print(f"{'first frame after load':<28}{np.median(frames):8.0f} ms  ({spread})")
    for quantile in (50, 95, 99):
        print(
            f"{f'script a step, {quantile}th %':<28}{np.percentile(scripts, quantile):8.1f} ms  (of {len(scripts)} steps)"
        )


if __name__ == "__main__":
    main()

"""How fast the published book is: `python benchmarks/book.py`, in a real browser on a machine that does nothing else.

Builds the committed book from a copy, as `make html` does, and measures: seconds of the build, bytes of every page, and on the
inspector's page the time from its load to the first frame and the script time of every step while the slider is dragged over
the whole run. Prints the table and writes ``data/benchmarks/book.json``, from which the book's own page is made.
"""

import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "tests"))

import browser

from civilwar import paths
from civilwar.files import write_json
from civilwar.pages.publish import build_book
from civilwar.runs.reader import open_run
from civilwar.training.machine import describe_device

RESULT = "benchmarks/book.json"
REPEATS = 5
PAGE = "phases/09_inspector.html"
#: Before the page's own scripts: when it has loaded, and when its inspector has been painted.
WATCH = """window.loaded = new Promise(done => addEventListener("load", () => done(performance.now())));
new MutationObserver((_, watch) => {
  if (!document.querySelector(".cw-inspector[data-ready]")) return;
  watch.disconnect();
  requestAnimationFrame(() => requestAnimationFrame(() => { window.firstFrame = performance.now(); }));
}).observe(document, {subtree: true, childList: true, attributes: true});"""
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


def build(folder: Path) -> tuple[Path, float]:
    """The book's pages, and the seconds that building them took."""
    shutil.copytree(ROOT / "book", folder / "book", ignore=shutil.ignore_patterns("_build"))
    shutil.copy2(ROOT / "_config.yml", folder)
    start = time.perf_counter()
    html = build_book(folder / "book")
    return html, time.perf_counter() - start


def weigh(html: Path) -> dict[str, dict[str, int]]:
    """Bytes of every page, and what its inspector adds: its code, its run, and the heaviest layer's patterns."""
    weights = {}
    inspector = html / "_static" / "inspector"
    for page in sorted(html.rglob("*.html")):
        if "_static" in page.parts:
            continue
        text = page.read_text(encoding="utf-8")
        added = 0
        for run in inspector.iterdir():
            if f'data-run="{run.name}"' in text:
                layers = [file.stat().st_size for file in run.glob("layer-*.js")]
                code = (html / "_static" / "civilwar-inspector.js").stat().st_size
                added += code + (run / "core.js").stat().st_size + max(layers, default=0)
        weights[page.relative_to(html).as_posix()] = {"page": page.stat().st_size, "inspector": added}
    return weights


def drive(html: Path, last_step: int, profile: Path) -> tuple[list[float], list[float]]:
    """Milliseconds from load to first frame, one a visit; and of script, one a step of the slider."""
    frames, scripts = [], []
    window = browser.Browser(browser.find(), profile)
    try:
        window.driver.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", {"source": WATCH})
        with browser.serve(html) as address:
            for _ in range(REPEATS):
                window.open(address, PAGE)
                window.wait_for("window.firstFrame")
                loaded = window.driver.execute_async_script("window.loaded.then(arguments[0])")
                frames.append(window.ask("window.firstFrame") - loaded)
                window.wait_for("!document.querySelector('.cwi-waiting')")
                scripts += window.driver.execute_async_script(SCRUB, last_step)
    finally:
        window.close()
    return frames, scripts


def measure(folder: Path) -> dict[str, Any]:
    """All of it."""
    html, seconds = build(folder)
    (run,) = (path.name for path in (html / "_static" / "inspector").iterdir())
    frames, scripts = drive(html, open_run(run).last_step, folder / "profile")
    return {
        "machine": describe_device(torch.device("cpu")),
        "run": run,
        "build_seconds": seconds,
        "pages": weigh(html),
        "first_frame_ms": frames,
        "scrub_ms": {str(q): float(np.percentile(scripts, q)) for q in (50, 95, 99)},
        "scrub_steps": len(scripts),
    }


def main() -> None:
    """Measure, print, record."""
    with tempfile.TemporaryDirectory() as name:
        result = measure(Path(name))
    print(f"{'build':<34}{result['build_seconds']:8.1f} s")
    for page, bytes_of in result["pages"].items():
        print(f"{page:<34}{bytes_of['page'] / 1e6:8.2f} MB + {bytes_of['inspector'] / 1e6:.2f} MB of inspector")
    frames = result["first_frame_ms"]
    print(f"{'first frame after load':<34}{np.median(frames):8.0f} ms  ({min(frames):.0f} to {max(frames):.0f})")
    for quantile, spent in result["scrub_ms"].items():
        print(f"{f'script a step, {quantile}th %':<34}{spent:8.1f} ms  (of {result['scrub_steps']} steps)")
    write_json(paths.recorded() / RESULT, result)


if __name__ == "__main__":
    main()

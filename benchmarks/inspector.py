"""How quickly the inspector shows its first frame, and follows the step: in a real browser, on a run of 176 heads.

``python benchmarks/inspector.py [RUN [OTHER]]``, on a quiet machine with Chromium. The first frame is counted from the page's
script having the run's data until all views are on the page; a scrub from the slider's event until all views have their new
state, and again until the browser has painted it.
"""

import json
import sys
import tempfile
from pathlib import Path

from civilwar import paths
from civilwar.inspector.of_run import payload_of_run
from civilwar.inspector.widget import HeadInspector
from civilwar.runs.reader import open_run

sys.path.insert(0, str(paths.repository() / "tests"))
from browser import Browser, find, serve
from inspector_pages import write_site

#: What is aimed at, in milliseconds.
FIRST_FRAME, SCRUB = 300, 8
WATCH = """
new MutationObserver((_, watcher) => {
  const root = document.querySelector('.cw-inspector');
  if (!root) return;
  if (!window.begun && root.querySelector('.cwi-bar')) window.begun = true;
  if (root.dataset.ready) { window.readyAt = performance.now(); watcher.disconnect(); }
}).observe(document, { subtree: true, childList: true, attributes: true });
const unzip = Response.prototype.arrayBuffer;
Response.prototype.arrayBuffer = function () { window.dataAt ??= performance.now(); return unzip.call(this); };
"""
SCRUBS = """
const done = arguments[0];
const slider = document.querySelector('.cwi-bar [name=step]');
const steps = [...Array(+slider.max + 1).keys()].sort(() => Math.random() - 0.5).slice(0, 200);
const found = [];
const frame = () => new Promise(resolve => requestAnimationFrame(() => setTimeout(resolve)));
(async () => {
  for (const step of steps) {
    await frame();
    const begun = performance.now();
    slider.value = step;
    slider.dispatchEvent(new Event('input', { bubbles: true }));
    const scripted = performance.now() - begun;
    document.body.offsetHeight;
    found.push([scripted, performance.now() - begun]);
  }
  done(found);
})();
"""


def quantile(values: list[float], share: float) -> float:
    """The smallest value that ``share`` of all do not exceed."""
    return sorted(values)[max(int(share * len(values)) - 1, 0)]


def measure(run: str, other: str) -> dict[str, object]:
    """Milliseconds of the first frame, and of 200 scrubs alone, side by side and as a difference."""
    shown, beside = (payload_of_run(open_run(name)) for name in (run, other))
    found: dict[str, object] = {"run": run, "other": other, "heads": shown.n_layers * shown.n_query_heads}
    with tempfile.TemporaryDirectory() as folder:
        site = Path(folder) / "site"
        site.mkdir()
        write_site(site, HeadInspector(shown, others=[beside]).to_html(), shown, beside)
        browser = Browser(find(), Path(folder) / "profile")
        try:
            browser.driver.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", {"source": WATCH})
            with serve(site) as address:
                frames = []
                for _ in range(5):
                    browser.open(address, "page.html")
                    browser.wait_for("window.readyAt")
                    frames.append(browser.ask("window.readyAt - window.dataAt"))
                found["first_frame_ms"] = round(sorted(frames)[2])
                for way in ("", "beside", "difference"):
                    browser.open(address, f"page.html#compare={way}&run2={other if way else ''}")
                    browser.wait_for("window.readyAt && !document.querySelector('.cwi-waiting')")
                    browser.wait_for(f"!{json.dumps(way)} || document.querySelector('.cwi-two')")
                    times = browser.driver.execute_async_script(SCRUBS)
                    name = way or "alone"
                    found[f"{name}_scrub_ms_95"] = round(quantile([t for t, _ in times], 0.95), 1)
                    found[f"{name}_scrub_and_layout_ms_95"] = round(quantile([t for _, t in times], 0.95), 1)
        finally:
            browser.close()
    return found


if __name__ == "__main__":
    names = sys.argv[1:] + ["paper-baseline-seed0", "paper-no_gain_decay-seed0"][len(sys.argv) - 1 :]
    print(json.dumps(measure(*names), indent=2))
    print(f"aimed at: first frame under {FIRST_FRAME} ms, 95% of scrubs under {SCRUB} ms", file=sys.stderr)

"""Finding heads, small pictures of all of them, lines, links, frames and single files: in a real browser."""

import base64
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from browser import Browser, serve
from inspector_pages import HEADS, LAST, LAYERS, another, choose, open_at, said
from selenium.webdriver.common.by import By

from civilwar.inspector import bundle
from civilwar.inspector.pack import pack
from civilwar.inspector.payload import Alarm, Payload
from civilwar.inspector.widget import HeadInspector

pytestmark = pytest.mark.xdist_group("inspector")

LISTED = """[...document.querySelectorAll('.cwi-find tbody tr')].filter(row => !row.hidden && row.style.visibility !== 'hidden')
    .map(row => row.querySelector('button').textContent)"""


def named(order: np.ndarray) -> list[str]:
    """Heads in the order of their places in [layer, query_head], as the list calls them."""
    return [f"L{i // HEADS} q{i % HEADS} (KV {i % HEADS // 2})" for i in order]


def press(chromium: Browser, text: str) -> None:
    button = f"[...document.querySelectorAll('.cwi button')].find(button => button.textContent === '{text}')"
    chromium.driver.execute_script(f"{button}.click()")


def test_heads_are_found_by_any_measure_kind_and_change(chromium: Browser, served: str, payload: Payload) -> None:
    open_at(chromium, served, f"#step={LAST}")
    press(chromium, f"Show all {LAYERS * HEADS}")
    press(chromium, "Sharpest")
    entropy = payload.by_key["entropy_normalised"].values.reshape(-1, LAYERS * HEADS)
    assert chromium.ask(LISTED) == named(entropy[-1].argsort())
    press(chromium, "Most changed")
    choose(chromium, "find_since", 8)
    since = payload.by_key["entropy_normalised"].steps.index(8)
    assert chromium.ask(LISTED) == named((-abs(entropy[-1] - entropy[since])).argsort())
    press(chromium, "Loudest")
    norms = np.repeat(payload.by_key["norm_mean"].values[-1], 2, axis=1).ravel()
    assert chromium.ask(LISTED) == named((-norms).argsort(kind="stable"))
    # a head that was found is one click away
    chromium.driver.find_element(By.CSS_SELECTOR, ".cwi-find tbody button").click()
    layer, head = divmod(int(norms.argmax()), HEADS)
    assert said(chromium).startswith(f"Layer {layer}, query head {head} ")
    assert payload.kinds is not None
    codes = payload.kinds.codes[-1].ravel()
    kind = int(codes[0])
    choose(chromium, "find_kind", payload.kinds.kinds[kind].name)
    assert set(chromium.ask(LISTED)) == set(named(np.flatnonzero(codes == kind)))
    assert chromium.faults() == []


def test_every_head_of_the_layer_has_its_small_picture_and_lines_join_tokens(
    chromium: Browser, base: str, payload: Payload
) -> None:
    open_at(chromium, base)
    assert payload.patterns is not None
    tick = payload.patterns.steps.index(20)
    # opacity of the last row of each head's picture
    row = """[...document.querySelectorAll('.cwi-wall canvas')].map(canvas => [...canvas.getContext('2d')
        .getImageData(0, canvas.height - 1, canvas.width, 1).data].filter((_, i) => i % 4 === 3))"""
    expected = np.sqrt(payload.patterns.weights[tick, 0, 1][:, -16:] / 255) * 255
    np.testing.assert_allclose(np.array(chromium.ask(row)), expected, atol=1)
    chromium.driver.find_elements(By.CSS_SELECTOR, ".cwi-wall button")[6].click()
    assert said(chromium).startswith("Layer 1, query head 6 ")
    press(chromium, "Lines")
    joined = """[...document.querySelectorAll('.cwi-link:not(.cwi-chosen)')].map(
        path => (path.getAttribute('d').match(/M/g) ?? []).length).reduce((a, b) => a + b)"""
    assert chromium.ask(joined) == int((payload.patterns.weights[tick, 0, 1, 6] > 5).sum())
    own = joined.replace(":not(.cwi-chosen)", ".cwi-chosen")
    assert chromium.ask(own) == int((payload.patterns.weights[tick, 0, 1, 6, -16:] > 5).sum())
    assert chromium.faults() == []


def test_a_link_is_copied_and_a_frame_holds_the_inspector_alone(chromium: Browser, served: str) -> None:
    chromium.open(served, "page.html?embed#layer=2&head=5&step=8")
    chromium.wait_for("document.querySelector('.cw-inspector').dataset.ready === 'true'")
    assert said(chromium).startswith("Layer 2, query head 5 (KV head 2) at step 8:")
    shown = "[...document.body.children].filter(part => part.getClientRects().length).map(part => part.className)"
    assert chromium.ask(shown) == ["cw-inspector cwi"]
    chromium.driver.execute_script(
        "Object.defineProperty(navigator, 'clipboard', {value: {writeText: async text => { window.copied = text; }}})"
    )
    press(chromium, "Copy link")
    chromium.wait_for("document.querySelector('.cwi-copy').textContent === 'Copied'")
    assert chromium.ask("copied") == f"{served}page.html?embed#layer=2&head=5&step=8&metric=norm_mean&text=0&query=15"
    chromium.driver.execute_script(
        "Object.defineProperty(navigator.clipboard, 'writeText', {value: () => Promise.reject(new Error('no'))})"
    )
    press(chromium, "Copied")
    chromium.wait_for("document.querySelector('.cwi-notice').textContent.startsWith('The link: http')")
    assert chromium.faults() == []


def test_one_saved_file_has_everything(chromium: Browser, payload: Payload, tmp_path: Path) -> None:
    inspector = HeadInspector(payload, layer=1, query_head=2, step=20, others=[another(payload)])
    assert inspector.save_html(tmp_path / "page.html") == tmp_path / "page.html"
    assert [file.name for file in tmp_path.iterdir()] == ["page.html"]
    open_at(chromium, f"{tmp_path.as_uri()}/")
    assert said(chromium).startswith("Layer 1, query head 2 (KV head 1) at step 20:")
    choose(chromium, "layer", 2)
    choose(chromium, "compare", "beside")
    choose(chromium, "run2", "another")
    chromium.wait_for("document.querySelector('.cwi-against').textContent.includes('B: another, layer 2, ')")
    assert chromium.faults() == []


LIVE = """<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Live</title><link rel="icon" href="data:,">
</head><body><div id="here"></div><script type="module">
import widget from "./widget.js";
const bytes = text => new DataView(Uint8Array.from(atob(text), letter => letter.charCodeAt(0)).buffer);
const [before, after, own] = BLOCKS.map(bytes);
const state = TRAITS;
state.core = before;
const listeners = {};
const emit = (name, ...given) => (listeners[name] ?? []).forEach(listener => listener(...given));
// the browser's clock, quicker
const every = window.setInterval;
window.setInterval = (work, wait) => every(work, wait >= 5000 ? 100 : wait);
const model = {
  get: name => state[name],
  set: (name, value) => { state[name] = value; emit(`change:${name}`); },
  save_changes() {}, off() {},
  on: (event, listener) => { (listeners[event] ??= []).push(listener); },
  send: message => {
    if (message.kind === "newer" && window.further) {
      window.further = false;
      state.live = false;
      model.set("core", after);
    }
    if (message.kind === "text" && message.text === "x") emit("msg:custom", {kind: "text", error: "too short."}, []);
    else if (message.kind === "text") emit("msg:custom", {kind: "text"}, [own]);
  },
};
window.model = model;
await widget.render({ model, el: document.getElementById("here") });
window.started = true;
</script></body></html>"""


def test_a_run_that_trains_is_followed_and_a_text_of_ones_own_is_shown(
    chromium: Browser, payload: Payload, tmp_path: Path
) -> None:
    running = shortened(payload, 20)
    weights = np.full((LAYERS, HEADS, 6), 51, np.uint8)
    own = pack({"tokens": ["one", " two", " three"], "separator": [False] * 3}, {"pattern": weights})
    done = replace(payload, alarms=(Alarm(30, "diverged"),))
    blocks = [base64.b64encode(block).decode() for block in (running.core, done.core, own)]
    traits = {
        **{"views": ["time", "pattern", "training"], "others": [], "live": True, "takes_text": True, "step": 20},
        **{"layer": 1, "query_head": 2, "metric": "norm_mean", "text": 0, "query": -1, "compare": ""},
        **{"other_run": "", "other_layer": -1, "other_query_head": -1, "other_step": -1},
    }
    (tmp_path / "widget.js").write_text(bundle.module(), encoding="utf-8")
    page = LIVE.replace("BLOCKS", json.dumps(blocks)).replace("TRAITS", json.dumps(traits))
    (tmp_path / "page.html").write_text(page, encoding="utf-8")
    with serve(tmp_path) as address:
        chromium.open(address, "page.html")
        chromium.wait_for("window.started")
        heading = "document.querySelector('.cwi-training .cwi-heading').textContent"
        assert chromium.ask(heading) == "Losses, norms and alarms (running, step 20)"
        assert chromium.ask("document.querySelectorAll('.cwi-alarm').length") == 0
        chromium.driver.execute_script("window.further = true")
        chromium.wait_for(f"{heading}.endsWith('(complete, step {LAST})')")
        # who looked at the last step still does, and Python knows
        assert f"at step {LAST}:" in said(chromium)
        assert chromium.ask("model.get('step')") == LAST
        assert chromium.ask("document.querySelectorAll('.cwi-alarm').length") == 1
        send = """const field = document.querySelector('[name=own]'); field.value = arguments[0];
            field.form.dispatchEvent(new Event('submit', {cancelable: true}))"""
        chromium.driver.execute_script(send, "x")
        chromium.wait_for("document.querySelector('.cwi-own [role=status]').textContent === 'too short.'")
        chromium.driver.execute_script(send, "one two three")
        chromium.wait_for("document.querySelectorAll('.cwi-text button').length === 3")
        prose = "[...document.querySelectorAll('.cwi-pattern p.cwi-note')].at(-1).textContent"
        assert "looks most at token 0, \u2018one\u2019: 0.20." in chromium.ask(prose)
        assert chromium.ask("document.querySelector('[name=text]').selectedOptions[0].textContent") == "your own"
        assert chromium.ask("model.get('text')") == 2
        assert chromium.faults() == []


def shortened(payload: Payload, last: int) -> Payload:
    """The payload as the run had it at a step before its end, while it trained."""

    def ticks(steps: tuple[int, ...]) -> int:
        return sum(step <= last for step in steps)

    def cut(part: object, steps: str, values: str) -> dict[str, object]:
        n = ticks(getattr(part, steps))
        return {steps: getattr(part, steps)[:n], values: getattr(part, values)[:n]}

    gain = replace(payload.gain, **cut(payload.gain, "steps", "gain"), **cut(payload.gain, "energy_steps", "energy"))
    measures = tuple(replace(one, null=None, **cut(one, "steps", "values")) for one in payload.measures)
    assert payload.kinds is not None
    assert payload.patterns is not None
    return replace(
        payload,
        last_step=last,
        status="running",
        measures=measures,
        gain=gain,
        kinds=replace(payload.kinds, **cut(payload.kinds, "steps", "codes")),
        patterns=replace(payload.patterns, **cut(payload.patterns, "steps", "weights")),
        curves=tuple(replace(one, **cut(one, "steps", "values")) for one in payload.curves),
    )

"""The inspector in a real browser: every control moves its view, an address restores it, and no token's text can act."""

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import browser
import pytest
from browser import Browser
from inspector_pages import HEADS, HOSTILE, LAST, LAYERS, PAGE, choose, open_at, said, write_site, written
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from civilwar.inspector import bundle
from civilwar.inspector.payload import Patterns, Payload
from civilwar.inspector.state import VIEWS
from civilwar.inspector.widget import HeadInspector

pytestmark = pytest.mark.xdist_group("inspector")


#: A view's picture, or all of it where it is a list or small pictures.
SHOWN = """(view => [...view.querySelectorAll('canvas')].map(canvas => canvas.toDataURL()).join()
    + (view.querySelector('svg') ?? view).outerHTML)"""


def views(chromium: Browser) -> dict[str, str]:
    """What each view shows, as markup: it differs where the picture differs."""
    return {name: str(chromium.ask(f"{SHOWN}(document.querySelector('.cwi-{name}'))")) for name in VIEWS}


def changed(before: dict[str, str], after: dict[str, str]) -> set[str]:
    return {name for name in before if before[name] != after[name]}


def test_it_opens_in_its_preset_state_and_replaces_the_still_picture(
    chromium: Browser, base: str, payload: Payload
) -> None:
    open_at(chromium, base)
    assert said(chromium).startswith("Layer 1, query head 2 (KV head 1) at step 20:")
    norm = payload.by_key["norm_mean"].values[20, 1, 1]
    assert f"key norm {norm:.{1 if norm >= 10 else 2}f}" in said(chromium)
    assert chromium.ask("document.getElementById('still')") is None
    assert chromium.faults() == []


def test_an_address_restores_the_state_and_follows_it(chromium: Browser, base: str) -> None:
    open_at(chromium, base, "#layer=2&head=5&step=8&metric=separator&text=1")
    assert said(chromium).startswith("Layer 2, query head 5 (KV head 2) at step 8:")
    choose(chromium, "layer", 0)
    chromium.wait_for("location.hash === '#layer=0&head=5&step=8&metric=separator&text=1&query=15'")
    chromium.driver.execute_script("location.hash = '#layer=1&head=7'")
    chromium.wait_for("document.querySelector('.cwi-said').textContent.startsWith('Layer 1, query head 7')")
    assert chromium.faults() == []


@pytest.mark.parametrize(
    ("address", "refused"),
    [
        (
            "#layer=99&head=-4&step=banana&metric=nothing&text=9&query=1e9&colour=red",
            [
                *("layer=99, where synthetic has layers 0 to 2", "head=-4", "step=banana is no whole number"),
                *("metric=nothing", "text=9", "query=1e9", "colour is nothing that can be chosen"),
            ],
        ),
        ("#layer=", ["layer= is no whole number"]),
        ("#elsewhere", []),
    ],
)
def test_what_an_address_asks_in_vain_is_said_and_nothing_else_is_shown_for_it(
    chromium: Browser, served: str, address: str, refused: list[str]
) -> None:
    open_at(chromium, served, address)
    assert said(chromium).startswith("Layer 1, query head 2 (KV head 1) at step 20:")  # as the page opens it
    notice = chromium.ask("document.querySelector('.cwi-notice').textContent")
    assert notice.startswith("This link asks for what is not there: ") if refused else notice == ""
    assert [part for part in refused if part not in notice] == []
    chromium.driver.execute_script("location.hash = '#layer=2'")
    chromium.wait_for("document.querySelector('.cwi-notice').textContent === ''")
    assert chromium.faults() == []


#: What moves each view.
MOVED_BY = {
    "map": {"step", "layer", "head", "measure", "kind"},
    "time": {"step", "layer", "head", "measure"},
    "pattern": {"step", "layer", "head", "text"},
    "plane": {"step", "layer", "head"},
    "gain": {"step", "layer", "head"},
    "find": {"step", "layer", "head"},
    "thumbs": {"step", "layer", "head", "text"},
    "training": {"step"},
}


@pytest.mark.parametrize(
    ("what", "control", "value"),
    [
        ("step", "step", 0),
        ("layer", "layer", 0),
        ("head", "head", 6),
        ("measure", "metric", "entropy_normalised"),
        ("kind", "metric", "kind"),
        ("text", "text", 1),
    ],
)
def test_every_control_moves_its_views_and_no_other(
    chromium: Browser, served: str, what: str, control: str, value: Any
) -> None:
    open_at(chromium, served)
    chromium.driver.execute_script("document.querySelector('.cwi-more').click()")
    before = views(chromium)
    choose(chromium, control, value)
    assert changed(before, views(chromium)) == {view for view in VIEWS if what in MOVED_BY[view]}
    assert chromium.faults() == []


def test_the_map_is_walked_with_arrow_keys_and_clicked(chromium: Browser, served: str) -> None:
    open_at(chromium, served)
    selected = chromium.driver.find_element(By.CSS_SELECTOR, ".cwi-cell[aria-selected=true]")
    selected.send_keys(Keys.ARROW_DOWN)
    chromium.driver.switch_to.active_element.send_keys(Keys.ARROW_RIGHT)
    assert said(chromium).startswith("Layer 2, query head 3 ")
    chromium.driver.switch_to.active_element.send_keys(Keys.ARROW_DOWN)
    assert said(chromium).startswith("Layer 2, query head 3 ")  # the last layer
    chromium.driver.find_elements(By.CSS_SELECTOR, ".cwi-cell")[0].click()
    assert said(chromium).startswith("Layer 0, query head 0 ")


def test_the_step_is_dragged_played_and_paused(chromium: Browser, served: str) -> None:
    open_at(chromium, served)
    drag = """const svg = document.querySelector('.cwi-time svg'), box = svg.getBoundingClientRect();
    const send = (kind, x) => svg.dispatchEvent(new PointerEvent(kind, {pointerId: 1, clientX: x, clientY: box.top + 50}));
    // a made-up pointer cannot be captured
    SVGElement.prototype.setPointerCapture = () => {};
    SVGElement.prototype.hasPointerCapture = () => true;
    send('pointerdown', box.left + 60);
    send('pointermove', box.right - 1);"""
    chromium.driver.execute_script(drag)
    assert f"at step {LAST}:" in said(chromium)
    play = chromium.driver.find_element(By.CSS_SELECTOR, ".cwi-play")
    play.click()
    chromium.wait_for("/at step ([5-9]|[12][0-9]):/.test(document.querySelector('.cwi-said').textContent)")
    play.click()
    assert play.text == "Play"
    at_rest = said(chromium)
    chromium.driver.execute_async_script("setTimeout(arguments[0], 300)")
    assert said(chromium) == at_rest


WHERE = "[...document.querySelectorAll('.cwi-panel, .cwi-read, .cwi-note')].map(part => part.getBoundingClientRect().y)"
#: What a finger or a pointer is to hit, and cannot: everything that acts, but for dots, which lie where their values put them.
SMALL = """[...document.querySelectorAll('.cwi :is(button, select, input, .cwi-cell)')]
    .map(part => [part.className.baseVal ?? part.className, part.getBoundingClientRect()])
    .filter(([, { width, height }]) => width && Math.min(width, height) < 24)
    .map(([name, { width, height }]) => `${name} ${width} x ${height}`)"""
#: Pixels of the smallest letters, as they are drawn.
LETTERS = """Math.min(...[...document.querySelectorAll('.cwi svg text')].filter(text => text.textContent).map(text => {
    const { a, b } = text.getScreenCTM();
    return parseFloat(getComputedStyle(text).fontSize) * Math.hypot(a, b);
}))"""


@pytest.mark.parametrize("width", [390, 1440])
def test_the_bar_stays_in_sight_and_nothing_jumps_while_it_plays(chromium: Browser, served: str, width: int) -> None:
    open_at(chromium, served, "#metric=kind", width)
    chromium.driver.execute_script("document.querySelector('.cwi-gain').scrollIntoView()")
    assert chromium.ask("document.querySelector('.cwi-bar').getBoundingClientRect().top") == pytest.approx(0, abs=1)
    for metric in ("kind", "top_logit_spread"):
        choose(chromium, "metric", metric)
        choose(chromium, "step", 0)
        before = chromium.ask(WHERE)
        for step in range(LAST + 1):
            choose(chromium, "step", step)
            assert chromium.ask(WHERE) == before, (metric, step)
    assert chromium.ask(SMALL) == []
    assert chromium.ask(LETTERS) >= 9


def test_values_are_told_where_one_points_and_where_the_focus_is(
    chromium: Browser, served: str, payload: Payload
) -> None:
    open_at(chromium, served)
    read = {view: f"document.querySelector('.cwi-{view} .cwi-read').textContent" for view in ("map", "time", "plane")}
    norms = payload.by_key["norm_mean"].values
    at_rest = chromium.ask(read["map"])
    assert at_rest.startswith(f"Layer 1, query head 2 (KV head 1): key norm {written(norms[20, 1, 1])}; null ")
    chromium.driver.execute_script(
        "document.querySelectorAll('.cwi-cell')[23].dispatchEvent(new PointerEvent('pointerenter'))"
    )
    assert f"query head 7 (KV head 3): key norm {written(norms[20, 2, 3])}; null " in chromium.ask(read["map"])
    chromium.driver.execute_script(
        "document.querySelectorAll('.cwi-cell')[23].dispatchEvent(new PointerEvent('pointerleave'))"
    )
    assert chromium.ask(read["map"]) == at_rest
    # the line that passes through a point is the one told there
    chromium.driver.execute_script(
        """const svg = document.querySelector('.cwi-time svg'), line = svg.querySelector('.cwi-line.cwi-chosen');
        const at = line.getPointAtLength(0).matrixTransform(svg.getScreenCTM());
        svg.dispatchEvent(new PointerEvent('pointermove', {clientX: at.x, clientY: at.y}));"""
    )
    assert chromium.ask(read["time"]).startswith("Step 0, ")
    chromium.driver.find_element(By.CSS_SELECTOR, ".cwi-time svg").send_keys(Keys.ARROW_RIGHT)
    assert chromium.ask(read["time"]).startswith("Step 21, query head 2: key norm ")
    assert chromium.ask("document.activeElement.getAttribute('aria-valuenow')") == "21"
    assert "attention entropy" in chromium.ask(read["plane"])


def test_the_text_answers_for_the_token_chosen(chromium: Browser, served: str, payload: Payload) -> None:
    open_at(chromium, served, "#step=19")
    buttons = chromium.driver.find_elements(By.CSS_SELECTOR, ".cwi-text button")
    buttons[3].click()
    assert payload.patterns is not None
    tick = payload.patterns.steps.index(16)  # the last snapshot before step 19
    weights = payload.patterns.weights[tick, 0, 1, 2, 6:10] / 255
    best = int(weights.argmax())
    prose = chromium.ask("[...document.querySelectorAll('.cwi-pattern p.cwi-note')].at(-1).textContent")
    assert f"looks most at token {best}," in prose
    assert f"{weights[best]:.2f}" in prose
    buttons[3].send_keys(Keys.ARROW_LEFT)
    assert chromium.ask("document.activeElement.getAttribute('aria-pressed')") == "true"
    assert chromium.ask("document.activeElement.getAttribute('aria-label')").startswith("token 2,")


def test_hovering_a_weight_says_it(chromium: Browser, served: str, payload: Payload) -> None:
    open_at(chromium, served, "#step=19")
    hover = """const svg = document.querySelector('.cwi-pattern svg');
    const at = new DOMPoint(66 + 1.5 * 10.5, 66 + 4.5 * 10.5).matrixTransform(svg.getScreenCTM());
    svg.dispatchEvent(new PointerEvent('pointermove', {clientX: at.x, clientY: at.y}));
    return [...document.querySelectorAll('.cwi-pattern p.cwi-note')].at(-1).textContent"""
    assert payload.patterns is not None
    tick = payload.patterns.steps.index(16)
    weight = payload.patterns.weights[tick, 0, 1, 2, 4 * 5 // 2 + 1] / 255
    assert f"gives {weight:.2f} " in chromium.driver.execute_script(hover)


def test_hostile_tokens_are_text(chromium: Browser, base: str) -> None:
    open_at(chromium, base, "#text=1")
    assert chromium.ask("window.attacked") is None
    assert chromium.ask("document.querySelectorAll('.cwi :is(script, img, h1)').length") == 0
    shown = chromium.ask("[...document.querySelectorAll('.cwi-text button')].map(button => button.textContent)")
    assert shown[0] == HOSTILE[0].replace(" ", "\u2423")
    assert "\u202e" not in "".join(shown)
    assert "U+202E" in shown[3]
    assert "U+0000" in shown[4]
    assert shown[5] == "\u21b5"
    assert shown[6].startswith("\u2423javascript")
    assert chromium.faults() == []


def test_every_view_can_be_taken_away(chromium: Browser, served: str) -> None:
    open_at(chromium, served, "#text=1")
    # what would be saved is caught on its way to the disk
    catch = """window.saved = [];
    URL.createObjectURL = block => { window.saved.push(block); return 'blob:none'; };
    HTMLAnchorElement.prototype.click = function () { window.saved.at(-1).file = this.download; };
    for (const button of document.querySelectorAll('.cwi-save button:not([aria-pressed])')) button.click();
    const done = arguments[0];
    Promise.all(window.saved.map(async block => [block.file, block.type, await block.text()])).then(done);"""
    saved = {name: (kind, text) for name, kind, text in chromium.driver.execute_async_script(catch)}
    assert set(saved) == {
        f"synthetic_{view}_layer1_head2_step20.{ending}"
        for view in VIEWS
        for ending in ("svg", "csv")
        # a list is a table, and small pictures are those of the large one
        if view != "thumbs" and (view, ending) != ("find", "svg")
    }
    parse = """return arguments[0].map(text => {
        const page = new DOMParser().parseFromString(text, 'image/svg+xml');
        return [page.querySelector('parsererror')?.textContent ?? '', page.querySelectorAll('script, foreignObject').length];
    })"""
    pictures = [text for name, (_, text) in saved.items() if name.endswith("svg")]
    assert chromium.driver.execute_script(parse, pictures) == [["", 0]] * len(pictures)
    table = saved["synthetic_map_layer1_head2_step20.csv"][1].split("\r\n")
    assert table[0] == "recorded_step,layer,query_head,kv_head,norm_mean"
    assert len(table) == 1 + LAYERS * HEADS + 1
    assert saved["synthetic_pattern_layer1_head2_step20.csv"][1].count("\r\n") == 1 + 16 * 17 // 2


@pytest.mark.parametrize("width", [390, 1024, 1440])
def test_it_fits_and_axe_finds_nothing_serious(chromium: Browser, served: str, width: int) -> None:
    for address in ("", "#metric=kind&text=1"):
        open_at(chromium, served, address, width)
        assert chromium.overflow() <= 0  # below 0 by a scroll bar
        assert chromium.violations() == []


def test_without_its_data_the_still_picture_stays(chromium: Browser, site: Path, tmp_path: Path) -> None:
    for name in ("inspector.js", "inspector.css", "page.html"):
        (tmp_path / name).write_bytes((site / name).read_bytes())
    chromium.open(f"{tmp_path.as_uri()}/", "page.html")
    chromium.driver.execute_async_script("setTimeout(arguments[0], 500)")
    assert chromium.ask("document.getElementById('still').textContent") == "still"


def test_two_inspectors_do_not_fight_over_the_address(
    chromium: Browser, site: Path, payload: Payload, tmp_path: Path
) -> None:
    """The first has it; the second opens as its page says and moves alone."""
    shutil.copytree(site, tmp_path, dirs_exist_ok=True)
    two = "".join(HeadInspector(payload, layer=layer, query_head=2, step=20).to_html() for layer in (0, 1))
    (tmp_path / "page.html").write_text(PAGE.format(element=two), encoding="utf-8")
    chromium.open(f"{tmp_path.as_uri()}/", "page.html#layer=2&head=5")
    chromium.wait_for("document.querySelectorAll('.cw-inspector[data-ready=true]').length === 2")
    both = "[...document.querySelectorAll('.cwi-said')].map(said => said.textContent.slice(0, 21))"
    assert chromium.ask(both) == ["Layer 2, query head 5", "Layer 1, query head 2"]
    script = """const control = document.querySelectorAll('.cwi-bar [name=layer]')[1];
    control.value = 0; control.dispatchEvent(new Event('change', {bubbles: true}));"""
    chromium.driver.execute_script(script)
    assert chromium.ask(both) == ["Layer 2, query head 5", "Layer 0, query head 2"]
    assert chromium.ask("location.hash") == "#layer=2&head=5"


def test_a_moment_without_a_run_is_shown_too(chromium: Browser, payload: Payload, tmp_path: Path) -> None:
    """As `HeadInspector.from_model` gives it: no kinds, no nulls, one step."""
    kept = [payload.by_key[key] for key in ("norm_mean", "entropy_normalised")]
    measures = tuple(replace(one, steps=(0,), values=one.values[:1], null=None) for one in kept)
    gain = replace(
        payload.gain, steps=(0,), gain=payload.gain.gain[:1], energy_steps=(0,), energy=payload.gain.energy[:1]
    )
    assert payload.patterns is not None
    patterns = Patterns((0,), payload.patterns.weights[:1])
    moment = replace(payload, name="moment", last_step=0, measures=measures, gain=gain, kinds=None, patterns=patterns)
    page = HeadInspector(moment, views=("map", "pattern", "gain")).to_html()
    write_site(tmp_path, page, moment)
    open_at(chromium, f"{tmp_path.as_uri()}/")
    assert said(chromium).startswith("Layer 0, query head 0 (KV head 0) at step 0: key norm ")
    assert chromium.ask("document.querySelectorAll('.cwi-panel').length") == 3
    assert chromium.faults() == []


KERNEL = """<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Kernel</title><link rel="icon" href="data:,">
</head><body><div id="here"></div><script type="module">
import widget from "./widget.js";
const bytes = async name => new DataView(await (await fetch(name)).arrayBuffer());
const state = {core: await bytes("core.bin"), views: ["map", "pattern"], step: 20, layer: 1, query_head: 2,
               metric: "norm_mean", text: 0, query: -1,
               compare: "", other_run: "", other_layer: -1, other_query_head: -1, other_step: -1};
const listeners = {};
window.saved = 0;
window.model = {
  get: name => state[name],
  set: (name, value) => {
    if (state[name] === value) return;
    state[name] = value;
    (listeners[`change:${name}`] ?? []).forEach(listener => listener());
  },
  save_changes: () => { window.saved += 1; },
  on: (event, listener) => { (listeners[event] ??= []).push(listener); },
  off: (event, listener) => { listeners[event] = listeners[event].filter(other => other !== listener); },
  send: async message => {
    if (message.kind === "hello") return listeners["msg:custom"].forEach(listener => listener({kind: "hello"}, []));
    const block = await bytes(`${message.block}.bin`);
    listeners["msg:custom"].forEach(listener => listener(message, [block]));
  },
};
window.fromPython = window.model.set;
window.left = () => Object.values(listeners).flat().length;
const rendered = widget.render({model: window.model, el: document.getElementById("here")});
window.model.set("layer", 0);  // Python is quicker than the unpacking
window.leave = await rendered;
window.started = true;
</script></body></html>"""


def test_with_a_kernel_python_and_reader_share_one_state(chromium: Browser, payload: Payload, tmp_path: Path) -> None:
    """The module that anywidget loads, with a model that does what a kernel's would."""
    (tmp_path / "widget.js").write_text(bundle.module(), encoding="utf-8")
    (tmp_path / "core.bin").write_bytes(payload.core)
    for layer in range(LAYERS):
        (tmp_path / f"layer-{layer}.bin").write_bytes(payload.layer(layer))
    (tmp_path / "page.html").write_text(KERNEL, encoding="utf-8")
    with browser.serve(tmp_path) as address:
        chromium.open(address, "page.html")
        chromium.wait_for("window.started && !document.querySelector('.cwi-waiting')")
        assert said(chromium).startswith("Layer 0, query head 2 ")
        assert chromium.ask("model.get('query')") == 15  # -1 is the last token, and Python may know which
        choose(chromium, "layer", 2)
        choose(chromium, "head", 5)
        assert chromium.ask("[model.get('layer'), model.get('query_head')]") == [2, 5]
        assert chromium.ask("window.saved") == 3
        chromium.driver.execute_script("fromPython('step', 4)")
        assert said(chromium).startswith("Layer 2, query head 5 (KV head 2) at step 4:")
        chromium.driver.execute_script("leave()")
        assert chromium.ask("left()") == 0
        assert chromium.faults() == []


SAVED = """<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Saved</title><link rel="icon" href="data:,">
</head><body><div id="here"></div><script type="module">
const later = window.setTimeout;
window.setTimeout = (work, wait) => later(work, wait >= 2000 ? 300 : wait);  // a reader's patience, shortened
import widget from "./widget.js";
const read = async (name) => new DataView(await (await fetch(name)).arrayBuffer());
const traits = { step: 8, layer: 0, query_head: 2, metric: "norm_mean", text: 0, query: -1, core: await read("core.bin"),
                 views: ["map", "pattern"],
                 compare: "", other_run: "", other_layer: -1, other_query_head: -1, other_step: -1 };
let answer;
const model = {
  get: (name) => traits[name], set: (name, value) => { traits[name] = value; }, save_changes() {},
  on(event, listener) { if (event === "msg:custom") answer = listener; }, off() {}, send() {},
};
window.answer = async (block) => answer({ kind: "block", run: "", block }, [await read(`${block}.bin`)]);
await widget.render({ model, el: document.getElementById("here") });
window.started = true;
</script></body></html>"""


def test_a_saved_widget_says_that_no_kernel_answers_and_shows_what_comes_late(
    chromium: Browser, payload: Payload, tmp_path: Path
) -> None:
    (tmp_path / "widget.js").write_text(bundle.module(), encoding="utf-8")
    (tmp_path / "core.bin").write_bytes(payload.core)
    (tmp_path / "layer-0.bin").write_bytes(payload.layer(0))
    (tmp_path / "page.html").write_text(SAVED, encoding="utf-8")
    notes = "[...document.querySelectorAll('.cwi-note')].map((note) => note.textContent).join()"
    with browser.serve(tmp_path) as address:
        chromium.open(address, "page.html")
        chromium.wait_for(f"window.started && {notes}.includes('needs a running kernel, and none answers')")
        notice = "document.querySelector('.cwi-notice').textContent"
        assert chromium.ask(notice).startswith("No kernel answers: ")
        assert "on its way" not in chromium.ask(notes)
        chromium.driver.execute_script("answer('layer-0')")
        chromium.wait_for("!document.querySelector('.cwi-waiting')")
        assert chromium.ask(notice) == ""
        assert "looks most at token" in chromium.ask(notes)
        assert chromium.faults() == []

"""The still picture and the page show the same numbers and colours: every measure, every step, every head, to the bit.

The page's own modules are asked in a real browser; `civilwar.inspector.values` answers for the picture.
"""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import browser
import numpy as np
import pytest
from browser import Browser
from inspector_pages import another
from matplotlib.colors import to_hex
from synthetic import Truth, keys_like, make_synthetic_config, write_run

from civilwar.inspector import bundle
from civilwar.inspector.of_run import payload_of_run
from civilwar.inspector.payload import Payload
from civilwar.inspector.picture import cells
from civilwar.inspector.values import Values, difference
from civilwar.plots import style

pytestmark = pytest.mark.xdist_group("book")

LAST, LAYERS, HEADS = 40, 3, 8
STEPS = range(LAST + 1)

#: Every number behind every cell, as the modules give them, and what the map itself then draws.
PAGE = """<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Parity</title><link rel="icon" href="data:,">
</head><body><div id="here"></div><script type="module">
import { difference, nullOf } from "./apart.js";
import { unpack } from "./codec.js";
import { RunData } from "./data.js";
import { mount } from "./mount.js";
const packed = await unpack(await (await fetch("core.bin")).arrayBuffer());
const data = new RunData(packed, () => Promise.reject(new Error("none")));
const other = new RunData(await unpack(await (await fetch("other.bin")).arrayBuffer()), null);
window.compared = (steps, key) => steps.map(step => data.heads().map(([layer, head]) => {
  const sides = [{ data, state: { step, layer, head } }, { data: other, state: { step: 20, layer, head } }];
  return [difference(key, ...sides), nullOf(key, ...sides)];
}));
window.numbers = (steps, key) => {
  const measure = data.measures.get(key);
  const heads = data.heads();
  return { extent: data.extent(key), deviation: data.deviation(measure), steps: steps.map(step => ({
    band: [...Array(data.meta.n_layers).keys()].map(layer => data.band(measure, step, layer)),
    value: heads.map(([layer, head]) => data.value(measure, step, layer, head)),
    tint: heads.map(([layer, head]) => data.tint(measure, step, layer, head)),
  }))};
};
const source = { loadLayer: () => Promise.reject(new Error("none")), others: [] };
const { store } = mount(document.getElementById("here"), packed, source, {}, ["map"]);
window.drawn = (steps, metric) => steps.map(step => {
  store.set({ step, metric });
  return [...document.querySelectorAll(".cwi-cell")].map(cell => {
    const fill = cell.querySelector(".cwi-fill");
    return [fill.getAttribute("fill"), Number(fill.getAttribute("fill-opacity"))];
  });
});
window.started = true;
</script></body></html>"""


def made(folder: Path) -> Payload:
    """Nulls of every sort, a measure without one, one that is undefined in places, and a null that a layer lacks."""
    random = np.random.default_rng(3)
    config = make_synthetic_config(n_layers=LAYERS, steps=LAST)
    n = len(config.snapshot_steps())
    truth = Truth(
        gain=1 + np.linspace(0, 1, LAST + 1)[:, None, None] * random.uniform(-0.4, 0.6, size=(LAYERS, 16)),
        energy=keys_like(random, (LAST + 1, LAYERS, 4, 16)),
        entropy_normalised=random.uniform(0.2, 0.9, size=(n, 4, LAYERS, HEADS)),
    )
    payload = payload_of_run(write_run(folder / "synthetic", config, truth))
    changed = dict(payload.by_key)
    changed["max_weight"] = replace(changed["max_weight"], null=None)
    holes = changed["entropy_normalised"].values.copy()
    holes[::3, 1, 4] = np.nan
    changed["entropy_normalised"] = replace(changed["entropy_normalised"], values=holes)
    null = changed["effective_rank"].null
    assert null is not None
    band = null.band.copy()
    band[:, 2] = np.nan
    changed["effective_rank"] = replace(changed["effective_rank"], null=replace(null, band=band))
    return replace(payload, measures=tuple(changed.values()))


@pytest.fixture(scope="module")
def payload(tmp_path_factory: pytest.TempPathFactory) -> Payload:
    return made(tmp_path_factory.mktemp("runs"))


@pytest.fixture(scope="module")
def page(payload: Payload, chromium: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """The modules as they stand in the repository, each a file of its own: they need no bundle."""
    folder = tmp_path_factory.mktemp("modules")
    for name, source in bundle.sources().items():
        (folder / f"{name}.js").write_text(source, encoding="utf-8")
    (folder / "core.bin").write_bytes(payload.core)
    (folder / "other.bin").write_bytes(another(payload).core)
    (folder / "page.html").write_text(PAGE, encoding="utf-8")
    with browser.serve(folder) as address:
        chromium.open(address, "page.html")
        chromium.wait_for("window.started")
        yield chromium
        assert chromium.faults() == []


def asked(page: Browser, function: str, metric: str) -> Any:
    """The answer of a function of the page for every step; NaN comes as null, which JSON has instead."""
    return json.loads(page.ask(f"JSON.stringify({function}({list(STEPS)}, {json.dumps(metric)}))"))


def test_it_is_a_hard_case(payload: Payload) -> None:
    """Taking the null's last moment, as the picture once did, would put heads on the other side of it."""
    assert payload.by_key["max_weight"].null is None
    norms = Values(payload, "norm_mean")
    assert norms.series.null is not None
    assert len(norms.series.null.steps) < len(STEPS)
    recorded = [max(at for at in norms.series.null.steps if at <= step) for step in STEPS]
    last = np.array(
        [norms.at(step) < norms.band(at).mean(-1)[:, None] for step, at in zip(STEPS, recorded, strict=True)]
    )
    assert (last != np.array([norms.tints(step).below for step in STEPS])).any()
    assert np.isnan(payload.by_key["entropy_normalised"].values).any()
    assert np.isnan(Values(payload, "effective_rank").band(0)).any()


def test_every_number_is_the_same_to_the_bit(page: Browser, payload: Payload) -> None:
    for key, series in payload.by_key.items():
        values = Values(payload, key)
        said = asked(page, "numbers", key)
        assert said["extent"] == list(values.extent), key
        assert said["deviation"] == values.deviation, key
        # a query head has what the KV head has that it reads
        group = payload.group_size if series.owner == "kv_head" else 1
        for step, at in zip(STEPS, said["steps"], strict=True):
            ours = [values.at(step), *values.tints(step)]
            value, below, strength = (np.repeat(part, group, axis=1).ravel() for part in ours)
            np.testing.assert_array_equal(np.array(at["value"], dtype=float), value, f"{key}, step {step}")
            band = np.array([edges or [None, None] for edges in at["band"]], dtype=float)
            np.testing.assert_array_equal(band, values.band(step), f"{key}, step {step}")
            assert [tint["strength"] for tint in at["tint"]] == strength.tolist(), (key, step)
            assert [tint["color"] == style.LESS for tint in at["tint"]] == below.tolist(), (key, step)


def test_every_difference_and_its_null_are_the_same_to_the_bit(page: Browser, payload: Payload) -> None:
    other = another(payload)
    beyond = 0
    for key, series in payload.by_key.items():
        group = payload.group_size if series.owner == "kv_head" else 1
        one, two = Values(payload, key), Values(other, key)
        for step, said in zip(STEPS, asked(page, "compared", key), strict=True):
            less, null = difference(one, two, step, 20)
            heads = np.repeat(less, group, axis=1)
            expected = np.stack([heads, np.broadcast_to(null[:, None], heads.shape)], axis=-1)
            np.testing.assert_array_equal(np.array(said, dtype=float), expected.reshape(-1, 2), f"{key}, step {step}")
            # what the null is for: of one run, hardly any pair of a layer's heads lies beyond
            own = np.abs(one.at(step)[:, :, None] - one.at(step)[:, None, :])
            beyond += int((own > one.apart(step)[:, None, None]).sum())
            assert ((own > one.apart(step)[:, None, None]).mean(axis=(1, 2)) <= 0.05).all()
    assert beyond > 0


def test_every_cell_is_drawn_in_the_same_colour(page: Browser, payload: Payload) -> None:
    for metric in payload.metrics:
        for step, drawn in zip(STEPS, asked(page, "drawn", metric), strict=True):
            still = [color for row in cells(payload, step, metric) for color in row]
            assert [color for color, _ in drawn] == [to_hex(color) for color in still], (metric, step)
            # the page writes three digits
            opacity = [color[3] for color in still]
            assert [shown for _, shown in drawn] == pytest.approx(opacity, abs=0.0005 + 1e-9), (metric, step)

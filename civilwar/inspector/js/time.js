// Time: the measure of all heads of the layer over training, the selected one on top, the null as a band, the step as a
// cursor.

import { axes, dress, path, redress, scale, svg } from "./drawing.js";
import { panel } from "./panel.js";
import { widest, withUnit, written } from "./words.js";

/** @import { Cell, Context, Measure, Range, Scale, State, Update } from "./types.d.ts" */

/** @type {(context: Context) => Update} */
export function time(context) {
  const { data, store } = context;
  const { meta } = data;
  const [width, height] = [430, 250];
  const box = { left: 46, right: width - 10, top: 12, bottom: height - 36 };
  const x = scale([0, meta.last_step], [box.left, box.right]);
  /** @type {(metric: string) => Measure} */
  const measureOf = (metric) => data.measures.get(metric) ?? data.measure(meta.default);
  const rows = () => {
    const { layer, metric } = store.state;
    const measure = measureOf(metric);
    const owners = measure.owner === "kv_head" ? meta.n_kv_heads : meta.n_query_heads;
    /** @type {Cell[][]} */
    const found = [["step", "layer", measure.owner, measure.key]];
    meta.clocks[measure.clock].forEach((step, tick) => {
      for (let owner = 0; owner < owners; owner++) {
        found.push([step, layer, owner, data.at(measure.key, tick, layer, owner)]);
      }
    });
    return found;
  };
  const parts = panel(context, { name: "time", title: "Over training", width, height, rows });
  const { picture, note, heading } = parts;
  const read = parts.readout();
  dress(picture, null, { role: "slider", tabindex: 0, "aria-valuemin": 0, "aria-valuemax": meta.last_step });
  const fixed = svg(picture, "g");
  const cursor = svg(picture, "line", { y1: box.top, y2: box.bottom, class: "cwi-cursor" });
  const dot = svg(picture, "circle", { r: 4, class: "cwi-dot" });
  const aim = svg(picture, "circle", { r: 5, class: "cwi-aim", visibility: "hidden" });
  /** @type {Scale} */
  let y;

  /** @type {(state: State) => void} */
  const draw = ({ layer, head, metric }) => {
    const measure = measureOf(metric);
    const extent = data.extent(measure.key);
    const pad = (extent[1] - extent[0]) * 0.04;
    /** @type {Range} */
    const range = [extent[0] - pad, extent[1] + pad];
    y = scale(range, [box.bottom, box.top]);
    fixed.replaceChildren();
    const title = measure.unit ? `${measure.label} (${measure.unit})` : measure.label;
    axes(fixed, x, y, box, { x: "step", y: title, xRange: [0, meta.last_step], yRange: range });
    band(fixed, measure, layer);
    const steps = meta.clocks[measure.clock];
    const owners = measure.owner === "kv_head" ? meta.n_kv_heads : meta.n_query_heads;
    const chosen = data.owner(measure, head);
    const order = [...Array(owners).keys()].sort((a, b) => Number(a === chosen) - Number(b === chosen));
    for (const owner of order) {
      const values = steps.map((_, tick) => data.at(measure.key, tick, layer, owner));
      const kvHead = measure.owner === "kv_head" ? owner : data.kvHead(owner);
      const line = { d: path(steps, values, x, y), fill: "none", stroke: meta.kv_colors[kvHead] };
      svg(fixed, "path", { ...line, class: owner === chosen ? "cwi-line cwi-chosen" : "cwi-line" });
    }
    heading.textContent = `Layer ${layer}: ${measure.label} over training`;
    const whose =
      measure.owner === "kv_head"
        ? `KV head ${chosen}, which query head ${head} reads`
        : `query head ${head} of KV head ${data.kvHead(head)}`;
    const grey = measure.null ? ` Grey: ${measure.null.says}.` : "";
    note.textContent = `Thick: ${whose}. Colours: KV heads.${grey} ${measure.says}`;
    const described = `${measure.label} of every head of layer ${layer} over ${meta.last_step} steps.`;
    picture.setAttribute("aria-label", `${described} Arrow keys move the step.`);
  };

  /** @type {(parent: Element, measure: Measure, layer: number) => void} */
  const band = (parent, measure, layer) => {
    if (!measure.null) return;
    const steps = meta.clocks[measure.null.clock];
    const low = steps.map((_, tick) => data.at(`null_${measure.key}`, tick, layer, 0));
    const high = steps.map((_, tick) => data.at(`null_${measure.key}`, tick, layer, 1));
    if (low.some(Number.isNaN)) return;
    // between its moments the null lies on a line; after the last, and where there is only one, it stays
    const at = [...steps, meta.last_step];
    /** @type {(values: number[]) => number[]} */
    const there = (values) => [...values, values[values.length - 1]];
    const edge = path([...at, ...at.toReversed()], [...there(high), ...there(low).toReversed()], x, y);
    svg(parent, "path", { d: `${edge}Z`, class: "cwi-band" });
  };

  /**
   * What a pointer is nearest to: a head's value at a recorded step.
   * @type {(event: PointerEvent) => { step: number, owner: number, value: number } | null}
   */
  const nearest = (event) => {
    const screen = picture.getScreenCTM();
    if (!screen) return null;
    const { layer, metric } = store.state;
    const measure = measureOf(metric);
    const at = new DOMPoint(event.clientX, event.clientY).matrixTransform(screen.inverse());
    const tick = data.tick(measure.clock, Math.min(Math.max(x.invert(at.x), 0), meta.last_step));
    const owners = measure.owner === "kv_head" ? meta.n_kv_heads : meta.n_query_heads;
    const off = (/** @type {number} */ value) => Math.abs(y(value) - at.y);
    let found = null;
    for (let owner = 0; owner < owners; owner++) {
      const value = data.at(measure.key, tick, layer, owner);
      if (Number.isNaN(value) || (found && off(found.value) <= off(value))) continue;
      found = { step: meta.clocks[measure.clock][tick], owner, value };
    }
    return found;
  };
  /** @type {(step: number, whose: string, value: string) => string} */
  const reading = (step, whose, value) => `Step ${step}, ${whose}: ${value}.`;
  const tell = () => {
    const { step, layer, head, metric } = store.state;
    const measure = measureOf(metric);
    read.textContent = `Step ${step}, query head ${head}: ${data.told(measure.key, step, layer, head)}`;
    read.keep(
      `Step ${widest(meta.last_step)}, query head ${widest(meta.n_query_heads)}: ${data.widestTold(measure.key)}`,
    );
    redress(picture, "aria-valuenow", step);
    redress(picture, "aria-valuetext", read.textContent);
    aim.setAttribute("visibility", "hidden");
  };
  picture.addEventListener("pointermove", (event) => {
    const found = picture.hasPointerCapture(event.pointerId) ? null : nearest(event);
    if (!found) return;
    const measure = measureOf(store.state.metric);
    const kvHead = measure.owner === "kv_head" ? found.owner : data.kvHead(found.owner);
    const whose = measure.owner === "kv_head" ? `KV head ${kvHead}` : `query head ${found.owner}`;
    read.textContent = reading(found.step, whose, withUnit(`${measure.label} ${written(found.value)}`, measure));
    dress(aim, null, { cx: x(found.step), cy: y(found.value), fill: meta.kv_colors[kvHead], visibility: "visible" });
  });
  picture.addEventListener("pointerleave", tell);
  picture.addEventListener("keydown", (event) => {
    /** @type {Record<string, number>} */
    const moves = { ArrowLeft: -1, ArrowRight: 1, ArrowDown: -1, ArrowUp: 1, PageDown: -10, PageUp: 10 };
    const ends = new Map([
      ["Home", 0],
      ["End", meta.last_step],
    ]);
    const to = ends.get(event.key) ?? (moves[event.key] ? store.state.step + moves[event.key] : null);
    if (to === null) return;
    event.preventDefault();
    store.set({ step: Math.max(to, 0) });
  });

  /** @type {(event: PointerEvent) => void} */
  const drag = (event) => {
    const screen = picture.getScreenCTM();
    if (screen)
      store.set({ step: x.invert(new DOMPoint(event.clientX, event.clientY).matrixTransform(screen.inverse()).x) });
  };
  picture.addEventListener("pointerdown", (event) => {
    picture.setPointerCapture(event.pointerId);
    drag(event);
  });
  picture.addEventListener("pointermove", (event) => {
    if (picture.hasPointerCapture(event.pointerId)) drag(event);
  });

  return (state, changed) => {
    const drawn = !changed || changed.has("layer") || changed.has("head") || changed.has("metric");
    if (drawn) draw(state);
    if (!drawn && !changed.has("step")) return;
    const measure = measureOf(state.metric);
    const value = data.value(measure, state.step, state.layer, state.head);
    dress(cursor, null, { x1: x(state.step), x2: x(state.step) });
    dress(dot, null, {
      cx: x(data.tickStep(measure.clock, state.step)),
      cy: Number.isNaN(value) ? 0 : y(value),
      fill: meta.kv_colors[data.kvHead(state.head)],
      visibility: Number.isNaN(value) ? "hidden" : "visible",
    });
    tell();
  };
}

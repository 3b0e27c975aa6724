// Map: every query head of every layer, grouped under its KV head, coloured by a measure or by kind.

import { dress, html, redress, svg } from "./drawing.js";
import { panel } from "./panel.js";
import { written } from "./words.js";

/** @import { Attributes, Context, Header, Measure, Update } from "./types.d.ts" */

/** Large enough for a finger, also where a picture shrinks to a phone. */
const CELL = { width: 40, narrow: 27, height: 27, gap: 8 };
/** Pixels below which nobody hits a cell for sure. */
const TARGET = 24;
/** Milliseconds after which a step counts as chosen. */
const REST = 120;

/** @type {(context: Context) => Update} */
export function map(context) {
  const { data, store } = context;
  const { meta } = data;
  const cell = { ...CELL, width: meta.n_query_heads > 8 ? CELL.narrow : CELL.width };
  const left = 34;
  const top = 34;
  /** @type {(head: number) => number} */
  const place = (head) => left + head * cell.width + data.kvHead(head) * cell.gap;
  const width = place(meta.n_query_heads - 1) + cell.width + 4;
  const height = top + meta.n_layers * cell.height + 4;
  const rows = () => {
    const { step, metric } = store.state;
    const clock = metric === "kind" ? (meta.kind_clock ?? 0) : data.measure(metric).clock;
    const recorded = data.tickStep(clock, step);
    const header = ["recorded_step", "layer", "query_head", "kv_head", metric];
    const every = data.heads();
    return [header, ...every.map(([layer, head]) => [recorded, layer, head, data.kvHead(head), shown(layer, head)])];
  };
  const parts = panel(context, { name: "map", title: "All heads", width, height, rows });
  const { picture, note, heading } = parts;
  parts.scrolls((width * TARGET) / Math.min(cell.width, cell.height), "Map of all heads");
  const read = parts.readout();
  const described = "All heads: one row a layer, one cell a query head. Arrow keys select.";
  dress(picture, null, { role: "grid", "aria-label": described });

  const groups = svg(picture, "g", { "aria-hidden": "true" });
  for (let kvHead = 0; kvHead < meta.n_kv_heads; kvHead++) {
    const first = place(kvHead * data.groupSize);
    const last = place((kvHead + 1) * data.groupSize - 1) + cell.width;
    svg(groups, "text", { x: (first + last) / 2, y: 12, "text-anchor": "middle" }, `KV ${kvHead}`);
    svg(groups, "rect", { x: first, y: 16, width: last - first - 2, height: 3, fill: meta.kv_colors[kvHead] });
  }
  /** @type {(parent: Element, attributes: Attributes, text: string) => void} */
  const small = (parent, attributes, text) => {
    svg(parent, "text", { class: "cwi-small", ...attributes }, text);
  };
  const names = svg(picture, "g", { role: "row" });
  small(names, { x: left - 5, y: 30, "text-anchor": "end", role: "columnheader" }, "layer");
  for (let head = 0; head < meta.n_query_heads; head++) {
    const x = place(head) + cell.width / 2 - 1;
    small(names, { x, y: 30, "text-anchor": "middle", role: "columnheader" }, `q${head}`);
  }
  /** @type {{ layer: number, head: number, group: SVGElement, fill: SVGElement, code: SVGElement }[]} */
  const cells = [];
  const size = { width: cell.width - 2, height: cell.height - 2, rx: 2 };
  for (let layer = 0; layer < meta.n_layers; layer++) {
    const row = svg(picture, "g", { role: "row" });
    const y = top + layer * cell.height;
    const base = y + cell.height / 2 + 3;
    small(row, { x: left - 5, y: base, "text-anchor": "end", role: "rowheader" }, `L${layer}`);
    for (let head = 0; head < meta.n_query_heads; head++) {
      const group = svg(row, "g", { role: "gridcell", tabindex: -1, class: "cwi-cell" });
      // the gaps between cells are hit too
      svg(group, "rect", { x: place(head) - 1, y: y - 1, width: cell.width, height: cell.height, class: "cwi-hit" });
      svg(group, "rect", { x: place(head), y, ...size, class: "cwi-ground" });
      const fill = svg(group, "rect", { x: place(head), y, ...size, class: "cwi-fill" });
      const middle = { x: place(head) + cell.width / 2 - 1, y: base, "text-anchor": "middle" };
      const code = svg(group, "text", { ...middle, class: "cwi-small cwi-code" });
      group.addEventListener("click", () => store.set({ layer, head }));
      for (const event of ["pointerenter", "focus"]) group.addEventListener(event, () => look({ layer, head }));
      for (const event of ["pointerleave", "blur"]) group.addEventListener(event, () => look(null));
      cells.push({ layer, head, group, fill, code });
    }
  }
  /**
   * The cell under the pointer or the focus; otherwise the selected one is told.
   * @type {{ layer: number, head: number } | null}
   */
  let looked = null;
  /** @type {(at: typeof looked) => void} */
  const look = (at) => {
    looked = at;
    tell();
  };
  const tell = () => {
    const { layer, head } = looked ?? store.state;
    const { step, metric } = store.state;
    read.textContent = `${data.headName(layer, head)}: ${data.told(metric, step, layer, head)}`;
  };
  const frame = svg(picture, "rect", { ...size, class: "cwi-selected", role: "presentation" });

  picture.addEventListener("keydown", (event) => {
    /** @type {Record<string, [layers: number, heads: number]>} */
    const moves = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };
    const move = moves[event.key];
    if (!move) return;
    event.preventDefault();
    const { layer, head } = store.state;
    store.set({ layer: layer + move[0], head: head + move[1] });
    cells[store.state.layer * meta.n_query_heads + store.state.head].group.focus();
  });

  /** @type {(layer: number, head: number) => string | number} */
  const shown = (layer, head) => {
    const { step, metric } = store.state;
    if (metric === "kind") return data.kind(step, layer, head).name;
    return data.value(data.measure(metric), step, layer, head);
  };

  /** @type {(cell: typeof cells[number], color: string, strength: number, text: string) => void} */
  const show = ({ fill, code }, color, strength, text) => {
    redress(fill, "fill", color);
    redress(fill, "fill-opacity", strength.toFixed(3));
    if (code.textContent !== text) code.textContent = text;
  };

  let pending = 0;
  /** Every cell says its value. */
  const name = () => {
    for (const { layer, head, group } of cells) {
      const value = shown(layer, head);
      const said = typeof value === "number" ? written(value) : value;
      redress(group, "aria-label", `${data.headName(layer, head)}: ${said}`);
    }
  };

  /** @type {(step: number) => void} */
  const paintKinds = (step) => {
    for (const one of cells) {
      const { color, code } = data.kind(step, one.layer, one.head);
      show(one, color, 1, code);
    }
    heading.textContent = "All heads by kind";
    note.replaceChildren();
    keyOfKinds(note, meta);
  };

  /** @type {(measure: Measure, step: number) => void} */
  const paintMeasure = (measure, step) => {
    for (const one of cells) {
      const value = data.value(measure, step, one.layer, one.head);
      const { color, strength } = data.tint(measure, step, one.layer, one.head);
      show(one, color, strength, Number.isNaN(value) ? "\u2013" : "");
    }
    heading.textContent = `All heads: ${measure.label}`;
    note.replaceChildren();
    if (!measure.null) {
      const [low, high] = data.extent(measure.key).map(written);
      html(note, "span", {}, `Darker is more; from ${low} to ${high}.`);
      return;
    }
    sample(note, meta.less);
    html(note, "span", {}, "below and ");
    sample(note, meta.more);
    const full = written(data.deviation(measure));
    html(note, "span", {}, `above the null (${measure.null.says}); full colour at \u00b1${full}.`);
    if (measure.owner === "kv_head") html(note, "span", {}, " Measured per KV head: its query heads share it.");
  };

  return (state, changed) => {
    if (!changed || changed.has("step") || changed.has("metric")) {
      // white letters stand on a kind's colour, a dash for an undefined value stands on the page's own ground
      picture.classList.toggle("cwi-of-kinds", state.metric === "kind");
      if (state.metric === "kind") paintKinds(state.step);
      else paintMeasure(data.measure(state.metric), state.step);
      clearTimeout(pending);
      // nobody hears what passes while the step moves: it is named once the step rests
      if (changed) pending = window.setTimeout(name, REST);
      else name();
    }
    if (!changed || changed.has("layer") || changed.has("head")) {
      dress(frame, null, { x: place(state.head), y: top + state.layer * cell.height });
      for (const { layer, head, group } of cells) {
        const selected = layer === state.layer && head === state.head;
        redress(group, "aria-selected", selected);
        redress(group, "tabindex", selected ? 0 : -1);
      }
    }
    read.keep(`${data.widestName()}: ${data.widestTold(state.metric)}`);
    tell();
  };
}

/** @type {(parent: Element, color: string) => void} */
function sample(parent, color) {
  html(parent, "span", { class: "cwi-sample", style: `background:${color}`, "aria-hidden": "true" });
}

/** @type {(note: Element, meta: Header) => void} */
function keyOfKinds(note, meta) {
  for (const kind of meta.kinds) {
    const entry = html(note, "span", { class: "cwi-key" });
    sample(entry, kind.color);
    html(entry, "span", {}, `${kind.code} ${kind.name}`);
  }
}

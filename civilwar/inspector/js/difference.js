// Difference: the first side of a comparison less the other, for every head and over training, with how far heads of
// one layer lie apart anyway.

import { apart, difference as less, farther, nullOf } from "./apart.js";
import { axes, dress, html, path, redress, scale, svg } from "./drawing.js";
import { panel } from "./panel.js";
import { widest, withUnit, written } from "./words.js";

/** @import { Cell, Context, Measure, Range, State, Update } from "./types.d.ts" */
/** @import { Side } from "./apart.js" */

/** @type {(measure: Measure) => string} */
const nullSays = ({ owner }) =>
  `how far two ${owner === "kv_head" ? "KV heads" : "query heads"} of one layer lie apart, ` +
  "95% of the pairs, on the side where that is more";

/**
 * The measure of a state that both sides have.
 * @type {(context: Context, other: Context, metric: string) => Measure}
 */
function shared(context, other, metric) {
  const found = context.data.measures.get(metric);
  return found && other.data.measures.has(metric) ? found : context.data.measure(context.data.meta.default);
}

/**
 * Both sides with a head of the map in place of the selected one: on the other side, what was chosen there stays.
 * @type {(context: Context, other: Context, layer: number, head: number) => [Side, Side]}
 */
function sides(context, other, layer, head) {
  const { state } = context.store;
  const { step } = other.store.state;
  return [
    { data: context.data, state: { ...state, layer, head } },
    {
      data: other.data,
      state: {
        ...state,
        step,
        layer: state.layer2 >= 0 ? state.layer2 : layer,
        head: state.head2 >= 0 ? state.head2 : head,
      },
    },
  ];
}

/** @type {(context: Context, other: Context) => Update} */
export function differenceMap(context, other) {
  const { data, store } = context;
  const { meta } = data;
  const [width, tall, left, top] = [meta.n_query_heads > 8 ? 27 : 40, 27, 34, 20];
  const size = { width: left + meta.n_query_heads * width + 4, height: top + meta.n_layers * tall + 4 };
  const measureNow = () => shared(context, other, store.state.metric);
  const rows = () => {
    const { key } = measureNow();
    /** @type {Cell[][]} */
    const found = data.heads().map(([layer, head]) => {
      const pair = sides(context, other, layer, head);
      return [layer, head, data.kvHead(head), less(key, ...pair), nullOf(key, ...pair)];
    });
    return [["layer", "query_head", "kv_head", `difference_of_${key}`, "null"], ...found];
  };
  const about = { name: "difference", title: "Difference of all heads", ...size, rows };
  const { picture, note, heading, scrolls, readout } = panel(context, about);
  scrolls((size.width * 24) / Math.min(width, tall), "Map of differences");
  const read = readout();
  for (let head = 0; head < meta.n_query_heads; head++) {
    svg(
      picture,
      "text",
      { class: "cwi-small", x: left + (head + 0.5) * width, y: 13, "text-anchor": "middle" },
      `q${head}`,
    );
  }
  const cells = data.heads().map(([layer, head]) => {
    const [x, y] = [left + head * width, top + layer * tall];
    const place = { x, y, width: width - 2, height: tall - 2, rx: 2 };
    if (head === 0)
      svg(picture, "text", { class: "cwi-small", x: left - 5, y: y + 17, "text-anchor": "end" }, `L${layer}`);
    const group = svg(picture, "g", { class: "cwi-cell" });
    svg(group, "rect", { x: x - 1, y: y - 1, width, height: tall, class: "cwi-hit" });
    svg(group, "rect", { ...place, class: "cwi-ground" });
    const fill = svg(group, "rect", { ...place, class: "cwi-fill" });
    const mark = svg(group, "circle", { cx: x + width / 2 - 1, cy: y + tall / 2 - 1, r: 3, class: "cwi-beyond" });
    group.addEventListener("click", () => store.set({ layer, head }));
    group.addEventListener("pointerenter", () => tell(layer, head));
    group.addEventListener("pointerleave", () => tell(store.state.layer, store.state.head));
    return { layer, head, fill, mark };
  });
  const frame = svg(picture, "rect", { width: width - 2, height: tall - 2, rx: 2, class: "cwi-selected" });
  /** @type {(layer: number, head: number) => void} */
  const tell = (layer, head) => {
    const measure = measureNow();
    const pair = sides(context, other, layer, head);
    const value = withUnit(written(less(measure.key, ...pair)), measure);
    const within = written(nullOf(measure.key, ...pair));
    read.textContent = `${data.headName(layer, head)}: ${measure.label} ${value}; null \u00b1${within}.`;
    read.keep(`${data.widestName()}: ${measure.label} ${withUnit("\u221288.88", measure)}; null \u00b188.88.`);
  };

  return (state) => {
    const measure = measureNow();
    const [low, high] = data.extent(measure.key);
    /** @type {Map<string, number>} */
    const nulls = new Map();
    for (const { layer, head, fill, mark } of cells) {
      const pair = sides(context, other, layer, head);
      const value = less(measure.key, ...pair);
      const which = `${layer} ${pair[1].state.layer}`;
      const within = nulls.get(which) ?? nullOf(measure.key, ...pair);
      nulls.set(which, within);
      redress(fill, "fill", value < 0 ? meta.less : meta.more);
      redress(fill, "fill-opacity", Number.isNaN(value) ? 0 : Math.min(Math.abs(value) / (high - low), 1).toFixed(3));
      redress(mark, "visibility", Math.abs(value) > within ? "visible" : "hidden");
    }
    dress(frame, null, { x: left + state.head * width, y: top + state.layer * tall });
    heading.textContent = `All heads: ${measure.label}, A less B`;
    const full = withUnit(written(high - low), measure);
    const shares = measure.owner === "kv_head" ? " Measured per KV head: its query heads share it." : "";
    const dots = `A dot: beyond the null, ${nullSays(measure)}.${shares}`;
    const text = `below and above 0; full colour at \u00b1${full}. ${dots}`;
    note.replaceChildren();
    for (const color of [meta.less, meta.more]) {
      html(note, "span", { class: "cwi-sample", style: `background:${color}`, "aria-hidden": "true" });
    }
    html(note, "span", {}, text);
    picture.setAttribute(
      "aria-label",
      `${measure.label} of every head of A less that of B. The table as CSV has every number.`,
    );
    tell(state.layer, state.head);
  };
}

/** @type {(context: Context, other: Context) => Update} */
export function differenceTime(context, other) {
  const { data, store } = context;
  const { meta } = data;
  const [width, height] = [430, 250];
  const box = { left: 46, right: width - 10, top: 12, bottom: height - 36 };
  const x = scale([0, meta.last_step], [box.left, box.right]);
  /** @type {(step: number) => [Side, Side]} */
  const at = (step) => {
    const { state } = store;
    const there = other.store.state;
    const follows = state.step2 < 0;
    return [
      { data, state: { ...state, step } },
      { data: other.data, state: { ...there, step: follows ? Math.min(step, other.data.meta.last_step) : there.step } },
    ];
  };
  const measureNow = () => shared(context, other, store.state.metric);
  /** @type {(measure: Measure) => { steps: number[], values: number[], nulls: number[] }} */
  const curve = (measure) => {
    const steps = meta.clocks[measure.clock];
    /** @type {Map<string, number>} */
    const known = new Map();
    /** @type {(side: Side) => number} */
    const apartOf = (side) => {
      const tick = side.data.tick(side.data.measure(measure.key).clock, side.state.step);
      const which = `${side.data === data} ${tick}`;
      const found = known.get(which) ?? apart(side.data, measure.key, side.state.step, side.state.layer);
      known.set(which, found);
      return found;
    };
    const pairs = steps.map(at);
    return {
      steps,
      values: pairs.map((pair) => less(measure.key, ...pair)),
      nulls: pairs.map(([one, two]) => farther(apartOf(one), apartOf(two))),
    };
  };
  const rows = () => {
    const measure = measureNow();
    const { steps, values, nulls } = curve(measure);
    return [["step", `difference_of_${measure.key}`, "null"], ...steps.map((step, i) => [step, values[i], nulls[i]])];
  };
  const about = { name: "difference-time", title: "Difference over training", width, height, rows };
  const { picture, note, heading, readout } = panel(context, about);
  const read = readout();
  const fixed = svg(picture, "g");
  const cursor = svg(picture, "line", { y1: box.top, y2: box.bottom, class: "cwi-cursor" });

  /** @type {(state: State) => void} */
  const draw = (state) => {
    const measure = measureNow();
    const { steps, values, nulls } = curve(measure);
    const most = [...values, ...nulls].reduce((found, value) => Math.max(found, Math.abs(value) || 0), 0) || 1;
    /** @type {Range} */
    const range = [-most * 1.05, most * 1.05];
    const y = scale(range, [box.bottom, box.top]);
    fixed.replaceChildren();
    const title = measure.unit ? `A less B (${measure.unit})` : "A less B";
    axes(fixed, x, y, box, { x: "step", y: title, xRange: [0, meta.last_step], yRange: range });
    const there = steps.map((_, i) => i).filter((i) => !Number.isNaN(nulls[i]));
    const xs = there.map((i) => steps[i]);
    const ys = there.map((i) => nulls[i]);
    const edge = path([...xs, ...xs.toReversed()], [...ys, ...ys.toReversed().map((value) => -value)], x, y);
    svg(fixed, "path", { d: `${edge}Z`, class: "cwi-band" });
    svg(fixed, "line", { x1: box.left, x2: box.right, y1: y(0), y2: y(0), class: "cwi-even" });
    const stroke = meta.kv_colors[data.kvHead(state.head)];
    svg(fixed, "path", { d: path(steps, values, x, y), fill: "none", stroke, class: "cwi-line cwi-chosen" });
    heading.textContent = `${measure.label}: A less B over training`;
    note.textContent = `Grey: ${nullSays(measure)}. ${measure.says}`;
    picture.setAttribute("aria-label", `${measure.label} of A less that of B over ${meta.last_step} steps.`);
  };
  return (state, changed) => {
    if (!changed || [...changed].some((name) => name !== "step" && name !== "query" && name !== "text")) draw(state);
    redress(cursor, "x1", x(state.step));
    redress(cursor, "x2", x(state.step));
    const measure = measureNow();
    const pair = at(state.step);
    const value = withUnit(written(less(measure.key, ...pair)), measure);
    read.textContent = `Step ${state.step}: A less B is ${value}; null \u00b1${written(nullOf(measure.key, ...pair))}.`;
    read.keep(`Step ${widest(meta.last_step)}: A less B is ${withUnit("\u221288.88", measure)}; null \u00b188.88.`);
  };
}

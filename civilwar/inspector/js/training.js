// Training: the losses, the key norms of all heads, and what went wrong, as far as the run has come.

import { axes, path, redress, scale, svg } from "./drawing.js";
import { panel } from "./panel.js";
import { widest, written } from "./words.js";

/** @import { Cell, Context, Range, Update } from "./types.d.ts" */

/** @type {(context: Context) => Update} */
export function training(context) {
  const { data } = context;
  const { meta } = data;
  const [width, height] = [430, 330];
  const upper = { left: 46, right: width - 10, top: 12, bottom: 140 };
  const lower = { left: 46, right: width - 10, top: 186, bottom: height - 36 };
  const norm = data.measures.get("norm_mean");
  const rows = () => {
    /** @type {Cell[][]} */
    const found = [["curve", "step", "value"]];
    for (const { key, clock } of meta.curves) {
      meta.clocks[clock].forEach((step, tick) => found.push([key, step, data.arrays[`curve_${key}`].data[tick]]));
    }
    for (const { step, says } of meta.alarms) found.push(["alarm", step, says]);
    return found;
  };
  const about = { name: "training", title: "Losses and norms", width, height, rows };
  const { picture, note, heading, readout } = panel(context, about);
  const read = readout();
  const state = meta.status ? ` (${meta.status}, step ${meta.last_step})` : "";
  heading.textContent = `Losses, norms and alarms${state}`;
  const x = scale([0, meta.last_step], [upper.left, upper.right]);
  const colors = ["currentColor", meta.more];

  const losses = meta.curves.flatMap(({ key }) => [...data.arrays[`curve_${key}`].data]).filter(Number.isFinite);
  /** @type {Range} */
  const lossRange = losses.length ? [Math.min(...losses), Math.max(...losses)] : [0, 1];
  const y = scale(lossRange, [upper.bottom, upper.top]);
  axes(picture, x, y, upper, { x: "", y: "loss (nats)", xRange: [0, meta.last_step], yRange: lossRange });
  meta.curves.forEach(({ key, clock }, i) => {
    const d = path(meta.clocks[clock], [...data.arrays[`curve_${key}`].data], x, y);
    svg(picture, "path", {
      d,
      fill: "none",
      stroke: colors[i],
      class: i ? "cwi-line cwi-chosen" : "cwi-line cwi-loss",
    });
  });
  if (norm) {
    const range = data.extent("norm_mean");
    const up = scale(range, [lower.bottom, lower.top]);
    axes(picture, x, up, lower, { x: "step", y: "key norm", xRange: [0, meta.last_step], yRange: range });
    const steps = meta.clocks[norm.clock];
    const [, layers, heads] = data.arrays.norm_mean.shape;
    const size = layers * heads;
    const sorted = steps.map((_, tick) =>
      [...data.arrays.norm_mean.data.subarray(tick * size, (tick + 1) * size)]
        .filter(Number.isFinite)
        .sort((a, b) => a - b),
    );
    /** @type {(share: number) => number[]} */
    const quantile = (share) => sorted.map((values) => values[Math.round(share * (values.length - 1))] ?? NaN);
    for (const [low, high] of [
      [0, 1],
      [0.25, 0.75],
    ]) {
      const there = steps.filter((_, tick) => sorted[tick].length);
      const [below, above] = [low, high].map((share) => quantile(share).filter(Number.isFinite));
      const d = path([...there, ...there.toReversed()], [...above, ...below.toReversed()], x, up);
      svg(picture, "path", { d: `${d}Z`, fill: meta.more, class: "cwi-spread" });
    }
    svg(picture, "path", {
      d: path(steps, quantile(0.5), x, up),
      fill: "none",
      stroke: meta.more,
      class: "cwi-line cwi-chosen",
    });
  }
  for (const { step, says } of meta.alarms) {
    const mark = svg(picture, "g", { class: "cwi-alarm" });
    svg(mark, "line", { x1: x(step), x2: x(step), y1: upper.top, y2: lower.bottom });
    svg(mark, "path", { d: `M${x(step)} ${upper.top}l5 -9h-10z` });
    svg(mark, "title", {}, `step ${step}: ${says}`);
  }
  const cursor = svg(picture, "line", { y1: upper.top, y2: lower.bottom, class: "cwi-cursor" });
  const names = meta.curves.map(({ label }, i) => `${i ? "thick" : "thin"}: ${label}`).join("; ");
  const told = meta.alarms.length
    ? ` Alarms: ${meta.alarms.map(({ step, says }) => `step ${step}, ${says}`).join("; ")}.`
    : "";
  const above = names || "no loss was recorded";
  note.textContent = `Above, ${above}. Below, all KV heads: median, middle half and range.${told}`;
  const described = `Losses and key norms over ${meta.last_step} steps, with ${meta.alarms.length} alarms.`;
  picture.setAttribute("aria-label", described);

  return ({ step }) => {
    redress(cursor, "x1", x(step));
    redress(cursor, "x2", x(step));
    const values = meta.curves.map(({ key, label, clock }) => {
      return `${label} ${written(data.arrays[`curve_${key}`].data[data.tick(clock, step)])}${data.since(clock, step)}`;
    });
    read.textContent = `Step ${step}: ${values.join("; ")}.`;
    const since = ` (of step ${widest(meta.last_step)})`;
    read.keep(
      `Step ${widest(meta.last_step)}: ${meta.curves.map(({ label }) => `${label} 88.88${since}`).join("; ")}.`,
    );
  };
}

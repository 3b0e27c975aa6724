// Gain: the layer's gain by RoPE frequency, golden dimensions marked, and how the head's key energy lies on it.

import { level, redress, scale, svg, ticks, upright } from "./drawing.js";
import { panel } from "./panel.js";
import { label, widest } from "./words.js";

/** @import { Cell, Context, Range, State, Update } from "./types.d.ts" */

/** @type {(context: Context) => Update} */
export function gain(context) {
  const { data, store } = context;
  const { meta } = data;
  const [width, height] = [430, 300];
  const upper = { left: 46, right: width - 10, top: 12, bottom: 138 };
  const lower = { left: 46, right: width - 10, top: 158, bottom: height - 36 };
  const hasGain = data.arrays.gain.data.some((value) => Number.isFinite(value));
  const hasEnergy = data.arrays.energy.data.some((value) => Number.isFinite(value));
  if (!hasGain && !hasEnergy) {
    const nothing = panel(context, { name: "gain", title: "Gain", width, height: 20, rows: () => [["gain"]] });
    nothing.note.textContent = "No norm on the keys of this model is known, so there is no gain to show.";
    return () => {};
  }
  const [low, high] = hasGain ? data.extent("gain") : [0.9, 1.1];
  /** @type {Range} */
  const gainRange = [Math.min(low, 0.9) - 0.05, Math.max(high, 1.1) + 0.05];
  const mostEnergy = hasEnergy ? data.extent("energy")[1] * 1.03 : 1.03;
  const x = scale([0, meta.d_head], [upper.left, upper.right]);
  const bar = (upper.right - upper.left) / meta.d_head;
  const y = scale(gainRange, [upper.bottom, upper.top]);
  // the square root, since a few dimensions carry many times the rest
  const root = scale([0, Math.sqrt(mostEnergy)], [lower.bottom, lower.top]);
  /** @type {(value: number) => number} */
  const energyAt = (value) => root(Math.sqrt(Math.max(value, 0)));
  /** @type {(layer: number, head: number, dimension: number, step: number) => number} */
  const energyOf = (layer, head, dimension, step) => {
    const [, layers, kvHeads, size] = data.arrays.energy.shape;
    const row = (data.tick(meta.energy_clock, step) * layers + layer) * kvHeads + data.kvHead(head);
    return data.arrays.energy.data[row * size + dimension];
  };
  /** @type {(layer: number, dimension: number) => number} */
  const rank = (layer, dimension) => data.arrays.rank.data[layer * meta.d_head + dimension];
  /**
   * Dimensions in the order of RoPE frequency, fastest first, the two of a pair beside each other.
   * @type {(layer: number) => number[]}
   */
  const order = (layer) => [...Array(meta.d_head).keys()].sort((a, b) => rank(layer, a) - rank(layer, b) || a - b);
  /** @type {(layer: number, dimension: number) => boolean} */
  const golden = (layer, dimension) => data.arrays.golden.data[layer * meta.d_head + dimension] === 1;
  const rows = () => {
    const { step, layer, head } = store.state;
    const recorded = data.tickStep(meta.energy_clock, step);
    const tick = data.tick(meta.gain_clock, step);
    /** @type {Cell[][]} */
    const found = order(layer).map((dimension) => [
      ...[recorded, layer, data.kvHead(head), dimension],
      rank(layer, dimension),
      data.arrays.wavelength.data[rank(layer, dimension)],
      data.at("gain", tick, layer, dimension),
      Number(golden(layer, dimension)),
      energyOf(layer, head, dimension, step),
    ]);
    const place = ["recorded_step", "layer", "kv_head", "dimension", "frequency_rank", "wavelength_tokens"];
    return [[...place, "gain", "golden", "energy"], ...found];
  };
  const { picture, note, heading } = panel(context, { name: "gain", title: "Gain", width, height, rows });
  upright(picture, (upper.top + upper.bottom) / 2, "gain");
  upright(picture, (lower.top + lower.bottom) / 2, "key energy");
  for (const tick of ticks(gainRange, 4)) level(picture, upper, y(tick), label(tick));
  for (const tick of [0, 1, 4, 9, 16, 25]) if (tick <= mostEnergy) level(picture, lower, energyAt(tick), label(tick));
  const wavelengths = data.arrays.wavelength.data;
  for (let pair = 0; pair < wavelengths.length; pair += Math.max(1, Math.round(wavelengths.length / 8))) {
    const tokens = wavelengths[pair];
    if (!Number.isFinite(tokens)) continue;
    const text = tokens >= 1000 ? `${(tokens / 1000).toFixed(0)}k` : tokens.toFixed(0);
    svg(picture, "text", { x: x(2 * pair + 1), y: lower.bottom + 13, "text-anchor": "middle" }, text);
  }
  const title = {
    x: (upper.left + upper.right) / 2,
    y: lower.bottom + 27,
    "text-anchor": "middle",
    class: "cwi-title",
  };
  svg(picture, "text", title, "RoPE wavelength (tokens a turn)");
  const longest = meta.context ?? Infinity;
  const beyond = [...wavelengths].findIndex((wavelength) => wavelength > longest);
  if (beyond >= 0) {
    const [left, top] = [x(2 * beyond), upper.top];
    svg(picture, "rect", { x: left, y: top, width: upper.right - left, height: lower.bottom - top, class: "cwi-band" });
  }
  const bars = [...Array(meta.d_head).keys()].map((place) => ({
    gain: svg(picture, "rect", { x: x(place) + bar * 0.1, width: bar * 0.8 }),
    energy: svg(picture, "rect", { x: x(place) + bar * 0.1, width: bar * 0.8 }),
    mark: svg(picture, "path", { d: `M${x(place) + bar / 2} ${upper.top - 3}l3 -6h-6z`, class: "cwi-golden" }),
  }));
  svg(picture, "line", { x1: upper.left, x2: upper.right, y1: y(1), y2: y(1), class: "cwi-even" });
  svg(picture, "line", { x1: lower.left, x2: lower.right, y1: energyAt(1), y2: energyAt(1), class: "cwi-even" });

  /** @type {(state: State) => void} */
  const draw = ({ step, layer, head }) => {
    const tick = data.tick(meta.gain_clock, step);
    const dimensions = order(layer);
    bars.forEach((entry, place) => {
      const dimension = dimensions[place];
      const value = data.at("gain", tick, layer, dimension);
      const [top, bottom] = value >= 1 ? [y(value), y(1)] : [y(1), y(value)];
      const tall = Math.max(bottom - top, 0.5).toFixed(1);
      const fill = value >= 1 ? meta.more : meta.less;
      if (Number.isNaN(value)) redress(entry.gain, "height", 0);
      else
        Object.entries({ y: top.toFixed(1), height: tall, fill }).forEach(([key, it]) => redress(entry.gain, key, it));
      const energy = energyAt(energyOf(layer, head, dimension, step));
      const filled = Math.max(lower.bottom - energy, 0).toFixed(1);
      redress(entry.energy, "y", energy.toFixed(1));
      redress(entry.energy, "height", filled);
      redress(entry.energy, "fill", meta.kv_colors[data.kvHead(head)]);
      redress(entry.mark, "visibility", golden(layer, dimension) ? "visible" : "hidden");
    });
    const count = dimensions.filter((dimension) => golden(layer, dimension)).length;
    const kvHead = data.kvHead(head);
    heading.textContent = hasGain
      ? `Layer ${layer}: its gain, and the keys of KV head ${kvHead} before it`
      : `Layer ${layer} has no gain; energy of KV head ${kvHead}`;
    const snapshot = data.tickStep(meta.energy_clock, step);
    /** @type {(step: number | string) => string} */
    const when = (at) =>
      meta.last_step > 0
        ? `Snapshot of step ${at}. Triangles: ${count} golden dimensions, by the end of training.`
        : `Triangles: ${count} golden dimensions.`;
    const grey = beyond >= 0 ? ` Grey: wavelengths above the context of ${meta.context} tokens.` : "";
    const rest = `Energy 1 is an even share.${grey}`;
    note.textContent = `${when(snapshot)} ${rest}`;
    note.keep(`${when(widest(meta.last_step))} ${rest}`);
    const described = `Gain of the ${meta.d_head} dimensions of layer ${layer} by RoPE wavelength`;
    picture.setAttribute(
      "aria-label",
      `${described}, and the key energy of KV head ${kvHead} on them, at step ${step}.`,
    );
  };
  return (state, changed) => {
    if (!changed || changed.has("step") || changed.has("layer") || changed.has("head")) draw(state);
  };
}

// Plane: attention entropy against key norm of every query head, the report's central picture, with the selected head's
// trail.

import { axes, dress, path, redress, scale, svg } from "./drawing.js";
import { panel } from "./panel.js";
import { widest } from "./words.js";

/** @import { Context, Measure, Range, State, Update } from "./types.d.ts" */

/** @type {(context: Context) => Update} */
export function plane(context) {
  const { data, store } = context;
  const { meta } = data;
  const [across, up] = [data.measure("norm_mean"), data.measure("entropy_normalised")];
  const [width, height] = [430, 300];
  const box = { left: 46, right: width - 10, top: 12, bottom: height - 36 };
  /** @type {(measure: Measure) => Range} */
  const padded = (measure) => {
    const [low, high] = data.extent(measure.key);
    return [low - (high - low) * 0.04, high + (high - low) * 0.04];
  };
  const [xRange, yRange] = [padded(across), padded(up)];
  const x = scale(xRange, [box.left, box.right]);
  const y = scale(yRange, [box.bottom, box.top]);
  const rows = () => {
    const { step } = store.state;
    const recorded = [across, up].map((measure) => data.tickStep(measure.clock, step));
    const points = data.heads().map(([layer, head]) => {
      const values = [across, up].map((measure) => data.value(measure, step, layer, head));
      return [...recorded, layer, head, data.kvHead(head), ...values];
    });
    return [["step_of_norm", "step_of_entropy", "layer", "query_head", "kv_head", across.key, up.key], ...points];
  };
  const parts = panel(context, { name: "plane", title: "Norm and focus", width, height, rows });
  const { picture, note, heading } = parts;
  const read = parts.readout();
  axes(picture, x, y, box, { x: `${across.label} (of the KV head)`, y: up.label, xRange, yRange });
  const trail = svg(picture, "path", { fill: "none", class: "cwi-trail" });
  const dots = data.heads().map(([layer, head]) => {
    const dot = svg(picture, "circle", { class: "cwi-point" });
    dot.addEventListener("click", () => store.set({ layer, head }));
    dot.addEventListener("pointerenter", () => tell({ layer, head }));
    dot.addEventListener("pointerleave", () => tell(store.state));
    return { layer, head, dot };
  });

  /** @type {(head: { layer: number, head: number }) => void} */
  const tell = ({ layer, head }) => {
    const { step } = store.state;
    const both = [across, up].map((measure) => data.told(measure.key, step, layer, head));
    read.textContent = `${data.headName(layer, head)}: ${both.join(" ")}`;
    const longest = [across, up].map((measure) => data.widestTold(measure.key));
    read.keep(`${data.widestName()}: ${longest.join(" ")}`);
  };
  /** @type {(state: State) => void} */
  const move = ({ step }) => {
    for (const { layer, head, dot } of dots) {
      const [norm, entropy] = [data.value(across, step, layer, head), data.value(up, step, layer, head)];
      const there = !Number.isNaN(norm) && !Number.isNaN(entropy);
      const [cx, cy] = there ? [x(norm).toFixed(1), y(entropy).toFixed(1)] : [0, 0];
      redress(dot, "cx", cx);
      redress(dot, "cy", cy);
      redress(dot, "visibility", there ? "visible" : "hidden");
    }
    const [normStep, snapshot] = [across, up].map((measure) => data.tickStep(measure.clock, step));
    /** @type {(first: number | string, second: number | string) => string} */
    const of = (first, second) => `Key norm at step ${first}, attention entropy at snapshot ${second}`;
    heading.textContent = of(normStep, snapshot);
    heading.keep(of(widest(meta.last_step), widest(meta.last_step)));
    tell(store.state);
  };
  /** @type {(state: State) => void} */
  const choose = ({ layer, head }) => {
    for (const dot of dots) {
      const same = dot.layer === layer;
      dress(dot.dot, null, {
        r: same && dot.head === head ? 7 : same ? 4.5 : 3,
        fill: same ? meta.kv_colors[data.kvHead(dot.head)] : meta.null_color,
        class: same && dot.head === head ? "cwi-point cwi-chosen" : same ? "cwi-point" : "cwi-point cwi-other",
      });
    }
    tell({ layer, head });
    const steps = meta.clocks[up.clock];
    const [norms, entropies] = [across, up].map((measure) =>
      steps.map((step) => data.value(measure, step, layer, head)),
    );
    trail.setAttribute("d", path(norms, entropies, x, y));
    trail.setAttribute("stroke", meta.kv_colors[data.kvHead(head)]);
    const colours = `Colour: layer ${layer}, by KV head; grey: the other layers.`;
    note.textContent = `${colours} Line: the way of query head ${head}. Query heads of one KV head share its norm.`;
    const described = "Every query head by key norm and attention entropy";
    picture.setAttribute("aria-label", `${described}, with the way of head ${head} of layer ${layer} over training.`);
  };
  return (state, changed) => {
    if (!changed || changed.has("step")) move(state);
    if (!changed || changed.has("layer") || changed.has("head")) choose(state);
  };
}

// Thumbnails: the attention of every query head of the layer on the text, small, each under its KV head's colour.

import { html, redress } from "./drawing.js";
import { panel } from "./panel.js";
import { widest } from "./words.js";

/** @import { Context, State, Update } from "./types.d.ts" */

/** @type {(context: Context) => Update} */
export function thumbs(context) {
  const { data, store } = context;
  const { meta } = data;
  const about = { name: "thumbs", title: "All heads of the layer", width: 1, height: 1, rows: () => [] };
  const { figure, picture, heading, note, save } = panel(context, about);
  picture.remove();
  save.remove();
  if (meta.pattern_clock === null) {
    heading.textContent = `All heads of a layer: no attention recorded of ${meta.name}`;
    return () => {};
  }
  const clock = meta.pattern_clock;
  const grid = html(null, "div", { class: "cwi-wall", role: "group", "aria-label": "Query heads of the layer" });
  figure.insertBefore(grid, figure.querySelector("figcaption"));
  const every = Array.from({ length: meta.n_query_heads }, (_, head) => {
    const button = html(grid, "button", {
      type: "button",
      style: `border-top-color:${meta.kv_colors[data.kvHead(head)]}`,
    });
    const canvas = html(button, "canvas", { width: 1, height: 1, "aria-hidden": "true" });
    html(button, "span", {}, `q${head}`);
    button.addEventListener("click", () => store.set({ head }));
    return { button, canvas };
  });
  note.textContent = "Rows ask, columns answer, as in the large map; the bar above a picture is its KV head's colour.";

  /** Red, green and blue of the accent, as the page has it now. @type {() => number[]} */
  const ink = () => {
    const probe = html(grid, "span", { class: "cwi-ink", hidden: "" });
    const found = getComputedStyle(probe).color.match(/[\d.]+/g) ?? ["0", "0", "0"];
    probe.remove();
    return found.slice(0, 3).map(Number);
  };
  let color = ink();

  /** @type {(state: State) => void} */
  const paint = ({ layer, step, text }) => {
    const n = data.texts[text].tokens.length;
    every.forEach(({ canvas }, head) => {
      if (canvas.width !== n) Object.assign(canvas, { width: n, height: n });
      const brush = canvas.getContext("2d");
      const weights = data.triangle(layer, step, text, head);
      if (!brush) return;
      if (!weights) return brush.clearRect(0, 0, n, n);
      const image = brush.createImageData(n, n);
      for (let query = 0, i = 0; query < n; query++) {
        for (let key = 0; key <= query; key++, i++) {
          const at = 4 * (query * n + key);
          [image.data[at], image.data[at + 1], image.data[at + 2]] = color;
          // the square root, as in the large map
          image.data[at + 3] = Math.sqrt(weights[i] / 255) * 255;
        }
      }
      brush.putImageData(image, 0, 0);
    });
  };
  data.whenThere.push(() => paint(store.state));
  return (state, changed) => {
    if (!changed) color = ink();
    if (!changed || ["step", "layer", "text"].some((name) => changed.has(/** @type {never} */ (name)))) paint(state);
    every.forEach(({ button }, head) => {
      redress(button, "aria-pressed", head === state.head);
      redress(button, "aria-label", `query head ${head}, KV head ${data.kvHead(head)}`);
    });
    /** @type {(at: number | string) => string} */
    const when = (at) => `All heads of layer ${state.layer}, ${data.ofText(state.text, at)}`;
    heading.textContent = when(data.tickStep(clock, state.step));
    heading.keep(when(widest(meta.last_step)));
  };
}

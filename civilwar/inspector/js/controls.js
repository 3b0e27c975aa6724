// The bar above the views: step with play and pause, layer, query head, measure, text. And a line that says what is
// selected.

import { html, steady } from "./drawing.js";
import { longest, widest, written } from "./words.js";

/** @import { Context, FieldName, State, Update } from "./types.d.ts" */

const PLAY_MS = 60;

/** @type {(context: Context) => Update} */
export function controls(context) {
  const { data, store, bar } = context;
  const { meta } = data;
  /** @type {(name: string) => HTMLElement} */
  const field = (name) => {
    const found = html(bar, "label", { class: "cwi-field" });
    html(found, "span", {}, name);
    return found;
  };

  const play = html(bar, "button", { type: "button", class: "cwi-play" }, "Play");
  const speed = html(bar, "select", { name: "speed", "aria-label": "speed" });
  for (const times of [0.25, 0.5, 1, 2, 4]) html(speed, "option", { value: times }, `${times}\u00d7`);
  speed.value = "1";
  const sliding = html(bar, "label", { class: "cwi-field cwi-slider" });
  const slider = html(sliding, "input", { type: "range", min: 0, max: meta.last_step, step: 1, name: "step" });
  const shownStep = html(sliding, "output", {});
  slider.setAttribute("aria-label", "step");
  slider.addEventListener("input", () => store.set({ step: slider.value }));

  /**
   * @param {FieldName} name
   * @param {string} label
   * @param {[value: string | number, text: string][]} options
   */
  const choice = (name, label, options) => {
    const select = html(field(label), "select", { name });
    for (const [value, text] of options) html(select, "option", { value }, text);
    select.addEventListener("change", () => store.set({ [name]: select.value }));
    return select;
  };
  /** @type {(count: number, text: (i: number) => string) => [number, string][]} */
  const range = (count, text) => [...Array(count).keys()].map((i) => [i, text(i)]);
  /** @type {[string, string][]} */
  const metrics = meta.measures.map(({ key, label }) => [key, label]);
  if (data.hasKinds) metrics.push(["kind", "kind of head"]);
  /** @type {Map<FieldName, HTMLSelectElement>} */
  const selects = new Map([
    ["layer", choice("layer", "layer", range(meta.n_layers, String))],
    [
      "head",
      choice(
        "head",
        "query head",
        range(meta.n_query_heads, (head) => `${head} (KV ${data.kvHead(head)})`),
      ),
    ],
    ["metric", choice("metric", "measure", metrics)],
  ]);
  if (data.hasPatterns && (meta.texts.length > 1 || context.source.ownText) && context.names.includes("pattern")) {
    selects.set(
      "text",
      choice(
        "text",
        "text",
        range(meta.texts.length, (text) => String(text + 1)),
      ),
    );
  }

  const line = html(context.root, "p", { class: "cwi-said", "aria-live": "polite" });
  bar.after(line);
  const said = steady(line);
  const [norm, entropy] = [data.measure("norm_mean"), data.measure("entropy_normalised")];
  /** @type {(state: State) => void} */
  const announce = ({ step, layer, head }) => {
    const [length, spread] = [norm, entropy].map((measure) => written(data.value(measure, step, layer, head)));
    /** @type {(at: number | string, what: string, length_: string, spread_: string, since: string) => string} */
    const sentence = (at, what, length_, spread_, since) =>
      `Layer ${layer}, query head ${head} (KV head ${data.kvHead(head)}) at step ${at}: ` +
      `${what}key norm ${length_}, attention entropy ${spread_} of 1${since}.`;
    const kind = data.hasKinds ? `${data.kind(step, layer, head).name}; ` : "";
    said.textContent = sentence(step, kind, length, spread, data.since(entropy.clock, step));
    const most = widest(meta.last_step);
    const longestKind = data.hasKinds ? `${longest(meta.kinds.map(({ name }) => name))}; ` : "";
    said.keep(sentence(most, longestKind, "88.88", "88.88", ` (of step ${most})`));
  };

  let timer = 0;
  const stop = () => {
    clearInterval(timer);
    timer = 0;
    play.textContent = "Play";
    line.setAttribute("aria-live", "polite");
    announce(store.state);
  };
  // one pass over the run in about ten seconds, whatever its length, times the speed
  const perFrame = () => (meta.last_step / 160) * Number(speed.value);
  let at = 0;
  play.disabled = meta.last_step === 0;
  play.addEventListener("click", () => {
    if (timer) return stop();
    if (store.state.step >= meta.last_step) store.set({ step: 0 });
    at = store.state.step;
    play.textContent = "Pause";
    // a screen reader would drown while the slider plays
    line.setAttribute("aria-live", "off");
    timer = window.setInterval(() => {
      // a widget that left the page plays no more
      if (store.state.step >= meta.last_step || !bar.isConnected) return stop();
      // whoever moved the slider meanwhile is followed
      if (Math.round(at) !== store.state.step) at = store.state.step;
      // a short run passes step by step
      at += perFrame();
      store.set({ step: Math.min(Math.round(at), meta.last_step) });
    }, PLAY_MS);
  });

  return (state) => {
    slider.value = String(state.step);
    slider.setAttribute("aria-valuetext", `step ${state.step} of ${meta.last_step}`);
    shownStep.textContent = `step ${state.step}`;
    const texts = selects.get("text");
    for (let text = texts?.children.length ?? Infinity; text < data.texts.length; text++) {
      html(texts ?? null, "option", { value: text }, text < meta.texts.length ? String(text + 1) : "your own");
    }
    for (const [name, select] of selects) select.value = String(state[name]);
    announce(state);
  };
}

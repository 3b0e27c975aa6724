// Pattern: the attention map of the selected head on a text, and the text itself shaded by what one of its tokens looks
// at.

import { clipped, dress, html, svg, visible, written } from "./drawing.js";
import { panel } from "./panel.js";

/** @import { Cell, Context, FieldName, NamedArray, State, Update } from "./types.d.ts" */

/** @type {FieldName[]} */
const PAINTED = ["step", "layer", "head", "text"];

/** @type {(context: Context) => Update} */
export function pattern(context) {
  const { data, store } = context;
  const { meta } = data;
  const longest = Math.max(0, ...meta.texts.map((text) => text.tokens.length));
  const [size, margin] = [10, 66];
  const width = margin + longest * size + 4;
  const rows = () => {
    const { step, layer, head, text } = store.state;
    const { tokens } = meta.texts[text];
    const weights = data.triangle(layer, step, text, head);
    /** @type {Cell[][]} */
    const found = [["query", "query_token", "key", "key_token", "weight"]];
    for (let query = 0, i = 0; weights && query < tokens.length; query++) {
      for (let key = 0; key <= query; key++, i++) {
        found.push([query, visible(tokens[query]), key, visible(tokens[key]), weights[i] / 255]);
      }
    }
    return found;
  };
  const about = { name: "pattern", title: "Attention", width, height: width, rows };
  const { figure, picture, note, heading, save } = panel(context, about);
  const clock = meta.pattern_clock;
  if (clock === null) {
    picture.remove();
    save.remove();
    note.textContent =
      "This run was recorded slim: its attention patterns were left out. The book's main run has them.";
    return () => {};
  }
  const scroll = html(null, "div", { class: "cwi-scroll", role: "group", tabindex: 0, "aria-label": "Attention map" });
  picture.replaceWith(scroll);
  scroll.append(picture);
  const names = svg(picture, "g", { class: "cwi-tokens" });
  const cells = svg(picture, "g");
  const marker = svg(picture, "rect", { class: "cwi-row", height: size, x: 0 });
  const hover = svg(picture, "rect", { class: "cwi-hover", width: size, height: size, visibility: "hidden" });
  const described = "The text. Choose the token that asks with the arrow keys.";
  const strip = html(figure, "div", { class: "cwi-text", role: "group", "aria-label": described });
  const prose = html(figure, "p", { class: "cwi-note", "aria-live": "polite" });
  /** @type {SVGRectElement[]} */
  let rects = [];
  /** @type {HTMLButtonElement[]} */
  let buttons = [];

  /** @type {(text: number) => void} */
  const layOut = (text) => {
    const { tokens, separator } = meta.texts[text];
    const shown = tokens.map(visible);
    for (const part of [names, cells, strip]) part.replaceChildren();
    [rects, buttons] = [[], []];
    shown.forEach((token, query) => {
      const at = margin + query * size;
      const style = separator[query] ? "cwi-token cwi-separator" : "cwi-token";
      const [base, edge] = [at + size - 2.5, margin - 3];
      svg(names, "text", { x: edge, y: base, "text-anchor": "end", class: style }, clipped(token));
      const turn = `rotate(-90 ${base} ${edge})`;
      svg(names, "text", { x: base, y: edge, class: style, transform: turn }, clipped(token));
      for (let key = 0; key <= query; key++) {
        const place = { x: margin + key * size, y: at, width: size, height: size };
        rects.push(svg(cells, "rect", { ...place, class: "cwi-weight" }));
      }
      const button = html(strip, "button", { type: "button", tabindex: -1 });
      html(button, "bdi", {}, token);
      button.addEventListener("click", () => store.set({ query }));
      buttons.push(button);
      // the line goes on after the sign for its end
      if (tokens[query].includes("\n")) html(strip, "br");
    });
    dress(marker, null, { width: margin + tokens.length * size });
  };

  strip.addEventListener("keydown", (event) => {
    /** @type {Record<string, number>} */
    const moves = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -8, ArrowDown: 8 };
    const move = moves[event.key];
    if (!move) return;
    event.preventDefault();
    store.set({ query: Math.max(store.state.query + move, 0) });
    buttons[store.state.query].focus();
  });

  /** @type {(event: MouseEvent) => { key: number, query: number } | null} */
  const under = (event) => {
    const screen = picture.getScreenCTM();
    if (!screen) return null;
    const point = new DOMPoint(event.clientX, event.clientY).matrixTransform(screen.inverse());
    const [key, query] = [point.x, point.y].map((at) => Math.floor((at - margin) / size));
    const inside = query >= 0 && query < buttons.length && key <= query;
    return inside ? { key, query } : null;
  };
  picture.addEventListener("pointermove", (event) => {
    const cell = under(event);
    if (!cell || cell.key < 0) return void hover.setAttribute("visibility", "hidden");
    const { layer, step, text, head } = store.state;
    const weights = data.triangle(layer, step, text, head);
    if (!weights) return;
    dress(hover, null, { x: margin + cell.key * size, y: margin + cell.query * size, visibility: "visible" });
    const { tokens } = meta.texts[text];
    const weight = weights[(cell.query * (cell.query + 1)) / 2 + cell.key] / 255;
    say(`${quoted(tokens[cell.query])} gives ${written(weight)} of its attention to ${quoted(tokens[cell.key])}.`);
  });
  picture.addEventListener("pointerleave", () => {
    hover.setAttribute("visibility", "hidden");
    describe(store.state);
  });
  picture.addEventListener("click", (event) => {
    const cell = under(event);
    if (cell) store.set({ query: cell.query });
  });

  /** @type {(token: string) => string} */
  const quoted = (token) => `\u2018${visible(token)}\u2019`;
  /** @type {(text: string) => void} */
  const say = (text) => {
    prose.textContent = text;
  };

  /** @type {(state: State) => void} */
  const describe = ({ layer, step, text, head, query }) => {
    const weights = data.triangle(layer, step, text, head);
    if (!weights) return;
    const { tokens } = meta.texts[text];
    const first = (query * (query + 1)) / 2;
    let best = 0;
    for (let key = 0; key <= query; key++) if (weights[first + key] > weights[first + best]) best = key;
    const weight = written(weights[first + best] / 255);
    say(`Token ${query}, ${quoted(tokens[query])}, looks most at token ${best}, ${quoted(tokens[best])}: ${weight}.`);
  };

  /** @type {(state: State) => void} */
  const paint = (state) => {
    const { layer, step, text, head } = state;
    const weights = data.triangle(layer, step, text, head);
    figure.classList.toggle("cwi-waiting", !weights);
    if (!weights) {
      blank(state);
      const late = "has not come yet; in a notebook, a kernel has to run to send it";
      const missing = data.failed.has(layer) ? "could not be loaded" : data.late.has(layer) ? late : "is on its way";
      return say(`The attention of this layer ${missing}.`);
    }
    // the square root, so that weights of a few hundredths can be seen at all
    for (let i = 0; i < rects.length; i++) rects[i].style.fillOpacity = String(Math.sqrt(weights[i] / 255));
    shade(state, weights);
  };

  /**
   * No head's weights under another head's name.
   * @type {(state: State) => void}
   */
  const blank = ({ query }) => {
    buttons.forEach((button, key) => {
      button.style.removeProperty("--cwi-weight");
      button.removeAttribute("aria-label");
      dress(button, null, { tabindex: key === query ? 0 : -1, "aria-pressed": key === query });
    });
  };

  /** @type {(state: State, weights: NamedArray["data"]) => void} */
  const shade = ({ query, text }, weights) => {
    const first = (query * (query + 1)) / 2;
    buttons.forEach((button, key) => {
      const weight = key <= query ? weights[first + key] / 255 : 0;
      // at most 45%, so that the token stays legible on its shade, in the light and in the dark
      button.style.setProperty("--cwi-weight", `${(Math.sqrt(weight) * 45).toFixed(0)}%`);
      const receives = key <= query ? `receives ${written(weight)}` : "still to come";
      dress(button, null, {
        tabindex: key === query ? 0 : -1,
        "aria-pressed": key === query,
        "aria-label": `token ${key}, ${visible(meta.texts[text].tokens[key])}, ${receives}`,
      });
      button.classList.toggle("cwi-later", key > query);
    });
    dress(marker, null, { y: margin + query * size });
    describe(store.state);
  };

  data.whenThere = () => paint(store.state);
  return (state, changed) => {
    if (!changed || changed.has("text")) layOut(state.text);
    if (!changed || PAINTED.some((name) => changed.has(name))) paint(state);
    else if (changed?.has("query")) {
      const weights = data.triangle(state.layer, state.step, state.text, state.head);
      if (weights) shade(state, weights);
    }
    const at = data.tickStep(clock, state.step);
    heading.textContent = `Attention of query head ${state.head} in layer ${state.layer}, snapshot of step ${at}`;
    const shown = `${heading.textContent}: which earlier token each token looks at.`;
    picture.setAttribute("aria-label", `${shown} The text below says it token by token.`);
    note.textContent =
      "Rows ask, columns answer; colour grows with the square root of the weight. Underlined: separators.";
  };
}

// Pattern: the attention of the selected head on a text, as a map or as lines, and the text itself shaded by what one
// of its tokens looks at.

import { dress, html, redress, steady, visible } from "./drawing.js";
import { ownText } from "./own_text.js";
import { panel } from "./panel.js";
import { asLines, asMap } from "./weights.js";
import { longest, widest, written } from "./words.js";

/** @import { Cell, Context, FieldName, NamedArray, State, Update } from "./types.d.ts" */
/** @import { Drawing } from "./weights.js" */

/** @type {FieldName[]} */
const PAINTED = ["step", "layer", "head", "text"];

/** @type {(token: string) => string} */
const quoted = (token) => `\u2018${visible(token)}\u2019`;

/** @type {(context: Context) => Update} */
export function pattern(context) {
  const { data, store } = context;
  const { meta } = data;
  const rows = () => {
    const { step, layer, head, text } = store.state;
    const { tokens } = data.texts[text];
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
  const parts = panel(context, { name: "pattern", title: "Attention", width: 500, height: 500, rows });
  const { figure, picture, note, heading, save } = parts;
  const clock = meta.pattern_clock;
  if (clock === null) {
    picture.remove();
    save.remove();
    heading.textContent = `Attention: none recorded of ${meta.name}`;
    note.textContent =
      "This run was recorded slim: its attention patterns were left out. The book's main run has them.";
    return () => {};
  }
  parts.scrolls(0, "Attention map");
  if (context.source.ownText) ownText(context, figure, context.source.ownText);
  const described = "The text. Choose the token that asks with the arrow keys.";
  const strip = html(figure, "div", { class: "cwi-text", role: "group", "aria-label": described });
  const prose = steady(html(figure, "p", { class: "cwi-note", "aria-live": "polite" }));
  /** @type {HTMLButtonElement[]} */
  let buttons = [];
  let lines = false;
  /** @type {Drawing} */
  let drawing;

  const toggle = html(null, "button", { type: "button", "aria-pressed": false }, "Lines");
  save.prepend(toggle);
  toggle.addEventListener("click", () => {
    lines = !lines;
    toggle.setAttribute("aria-pressed", String(lines));
    draw(store.state.text);
    paint(store.state);
  });

  /** @type {(text: number) => void} */
  const draw = (text) => {
    picture.replaceChildren();
    drawing = (lines ? asLines : asMap)(picture, data.texts[text]);
    const { width, height } = drawing;
    picture.setAttribute("viewBox", `0 0 ${width} ${height}`);
    Object.assign(picture.style, { width: `${width}px`, minWidth: `${width}px` });
    note.textContent = lines
      ? "Left asks, right answers; thick: the chosen token's. Weights below 0.02 have no line. Underlined: separators."
      : "Rows ask, columns answer; colour grows with the square root of the weight. Underlined: separators.";
  };

  /** @type {(text: number) => void} */
  const layOut = (text) => {
    draw(text);
    strip.replaceChildren();
    const { tokens } = data.texts[text];
    buttons = tokens.map((token, query) => {
      const button = html(strip, "button", { type: "button", tabindex: -1 });
      html(button, "bdi", {}, visible(token));
      button.addEventListener("click", () => store.set({ query }));
      // the line goes on after the sign for its end
      if (token.includes("\n")) html(strip, "br");
      return button;
    });
    const name = quoted(longest(tokens.map(visible)));
    prose.keep(`Token ${widest(tokens.length)}, ${name}, looks most at token ${widest(tokens.length)}, ${name}: 0.88.`);
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

  /** @type {(event: MouseEvent) => ReturnType<Drawing["under"]>} */
  const under = (event) => {
    const screen = picture.getScreenCTM();
    return screen && drawing.under(new DOMPoint(event.clientX, event.clientY).matrixTransform(screen.inverse()));
  };
  picture.addEventListener("pointermove", (event) => {
    const cell = under(event);
    drawing.point(cell);
    if (!cell || cell.key < 0) return;
    const { layer, step, text, head } = store.state;
    const weights = data.triangle(layer, step, text, head);
    if (!weights) return;
    const { tokens } = data.texts[text];
    const weight = weights[(cell.query * (cell.query + 1)) / 2 + cell.key] / 255;
    say(`${quoted(tokens[cell.query])} gives ${written(weight)} of its attention to ${quoted(tokens[cell.key])}.`);
  });
  picture.addEventListener("pointerleave", () => {
    drawing.point(null);
    describe(store.state);
  });
  picture.addEventListener("click", (event) => {
    const cell = under(event);
    if (cell) store.set({ query: cell.query });
  });

  /** @type {(text: string) => void} */
  const say = (text) => {
    prose.textContent = text;
  };

  /** @type {(state: State) => void} */
  const describe = ({ layer, step, text, head, query }) => {
    const weights = data.triangle(layer, step, text, head);
    if (!weights) return;
    const { tokens } = data.texts[text];
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
      return say(`The attention of this layer ${data.whyNot(layer)}.`);
    }
    drawing.paint(weights, state.query);
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
      redress(button, "tabindex", key === query ? 0 : -1);
      redress(button, "aria-pressed", key === query);
      redress(button, "aria-label", `token ${key}, ${visible(data.texts[text].tokens[key])}, ${receives}`);
      button.classList.toggle("cwi-later", key > query);
    });
    describe(store.state);
  };

  data.whenThere.push(() => paint(store.state));
  return (state, changed) => {
    if (!changed || changed.has("text")) layOut(state.text);
    if (!changed || PAINTED.some((name) => changed.has(name))) paint(state);
    else if (changed.has("query")) {
      const weights = data.triangle(state.layer, state.step, state.text, state.head);
      if (weights) {
        drawing.choose(state.query);
        shade(state, weights);
      }
    }
    /** @type {(at: number | string) => string} */
    const when = (at) =>
      `Attention of query head ${state.head} in layer ${state.layer}, ${data.ofText(state.text, at)}`;
    heading.textContent = when(data.tickStep(clock, state.step));
    heading.keep(when(widest(meta.last_step)));
    redress(
      picture,
      "aria-label",
      `${heading.textContent}: which earlier token each token looks at. The text below says it token by token.`,
    );
  };
}

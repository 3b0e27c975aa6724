// Two pictures of one head's attention on one text: a map with a row a token that asks, and lines from token to token.

import { clipped, dress, redress, svg, visible } from "./drawing.js";

/** @import { NamedArray, Text } from "./types.d.ts" */

/**
 * What a picture of attention can do. `under` is the cell below a point of the picture.
 * @typedef {object} Drawing
 * @property {number} width
 * @property {number} height
 * @property {(weights: NamedArray["data"], query: number) => void} paint
 * @property {(query: number) => void} choose
 * @property {(at: { x: number, y: number }) => { key: number, query: number } | null} under
 * @property {(cell: { key: number, query: number } | null) => void} point
 */

/** @typedef {(parent: SVGElement, text: Text) => Drawing} Draw */

/** Edge of a cell and room for the names, in pixels: names stay legible. */
const [CELL, MARGIN] = [10.5, 66];

/** @type {Draw} */
export function asMap(parent, { tokens, separator }) {
  const size = MARGIN + tokens.length * CELL + 4;
  const names = svg(parent, "g", { class: "cwi-tokens" });
  const cells = svg(parent, "g");
  /** @type {SVGRectElement[]} */
  const rects = [];
  /** Opacity of each cell, in 255ths of a weight: what is there need not be set again. @type {Int16Array} */
  const shown = new Int16Array((tokens.length * (tokens.length + 1)) / 2).fill(-1);
  tokens.map(visible).forEach((token, query) => {
    const at = MARGIN + query * CELL;
    const style = separator[query] ? "cwi-token cwi-separator" : "cwi-token";
    const [base, edge] = [at + CELL - 2.2, MARGIN - 3];
    svg(names, "text", { x: edge, y: base, "text-anchor": "end", class: style }, clipped(token, 11));
    const turn = `rotate(-90 ${base} ${edge})`;
    svg(names, "text", { x: base, y: edge, class: style, transform: turn }, clipped(token, 11));
    for (let key = 0; key <= query; key++) {
      const place = { x: MARGIN + key * CELL, y: at, width: CELL, height: CELL };
      rects.push(svg(cells, "rect", { ...place, class: "cwi-weight" }));
    }
  });
  const row = { class: "cwi-row", width: MARGIN + tokens.length * CELL, height: CELL, x: 0 };
  const marker = svg(parent, "rect", row);
  const hover = svg(parent, "rect", { class: "cwi-hover", width: CELL, height: CELL, visibility: "hidden" });
  /** @type {(query: number) => void} */
  const choose = (query) => redress(marker, "y", MARGIN + query * CELL);
  return {
    width: size,
    height: size,
    paint(weights, query) {
      // the square root, so that weights of a few hundredths can be seen at all
      for (let i = 0; i < rects.length; i++) {
        if (shown[i] === weights[i]) continue;
        shown[i] = weights[i];
        rects[i].style.fillOpacity = String(Math.sqrt(weights[i] / 255));
      }
      choose(query);
    },
    choose,
    under({ x, y }) {
      const [key, query] = [x, y].map((at) => Math.floor((at - MARGIN) / CELL));
      return query >= 0 && query < tokens.length && key <= query ? { key, query } : null;
    },
    point(cell) {
      if (!cell || cell.key < 0) return hover.setAttribute("visibility", "hidden");
      dress(hover, null, { x: MARGIN + cell.key * CELL, y: MARGIN + cell.query * CELL, visibility: "visible" });
    },
  };
}

/** Height of a token, x of the two columns' inner edges, and the whole width. */
const [ROW, LEFT, RIGHT, WIDTH] = [15, 105, 335, 440];
/** Lines of about the same weight are one path: a picture of a thousand paths would stutter. */
const SHADES = 12;
/** Weights below do not become a line: in 255ths. */
const FAINT = 5;

/** @type {Draw} */
export function asLines(parent, { tokens, separator }) {
  const top = 20;
  const heads = { class: "cwi-small", y: 12 };
  svg(parent, "text", { ...heads, x: LEFT, "text-anchor": "end" }, "asks");
  svg(parent, "text", { ...heads, x: RIGHT }, "answers");
  /** @type {(token: number) => number} */
  const y = (token) => top + (token + 0.5) * ROW;
  const paths = Array.from({ length: SHADES }, (_, shade) =>
    svg(parent, "path", { class: "cwi-link", "stroke-opacity": (((shade + 1) / SHADES) * 0.5).toFixed(3) }),
  );
  const own = Array.from({ length: SHADES }, (_, shade) =>
    svg(parent, "path", { class: "cwi-link cwi-chosen", "stroke-opacity": ((shade + 1) / SHADES).toFixed(3) }),
  );
  const marker = svg(parent, "rect", { class: "cwi-row", x: 0, width: LEFT + 2, height: ROW });
  const hover = svg(parent, "path", { class: "cwi-hover", visibility: "hidden" });
  tokens.map(visible).forEach((token, place) => {
    const style = separator[place] ? "cwi-token cwi-separator cwi-large" : "cwi-token cwi-large";
    svg(parent, "text", { x: LEFT - 2, y: y(place) + 3.5, "text-anchor": "end", class: style }, clipped(token, 15));
    svg(parent, "text", { x: RIGHT + 2, y: y(place) + 3.5, class: style }, clipped(token, 15));
  });
  /** @type {(query: number, key: number) => string} */
  const line = (query, key) => `M${LEFT} ${y(query)}L${RIGHT} ${y(key)}`;
  /** @type {(weight: number) => number} */
  const shadeOf = (weight) => Math.min(Math.floor((Math.sqrt(weight / 255) * SHADES * 255) / 256), SHADES - 1);
  /** @type {NamedArray["data"]} */
  let painted = new Uint8Array();
  /** @type {(query: number) => void} */
  const choose = (query) => {
    redress(marker, "y", y(query) - ROW / 2);
    const d = own.map(() => "");
    const first = (query * (query + 1)) / 2;
    for (let key = 0; key <= query; key++) {
      const weight = painted[first + key] ?? 0;
      if (weight > FAINT) d[shadeOf(weight)] += line(query, key);
    }
    own.forEach((path, shade) => redress(path, "d", d[shade]));
  };
  return {
    width: WIDTH,
    height: top + tokens.length * ROW + 4,
    paint(weights, query) {
      painted = weights;
      const d = paths.map(() => "");
      for (let asks = 0, i = 0; asks < tokens.length; asks++) {
        for (let key = 0; key <= asks; key++, i++) {
          if (weights[i] > FAINT) d[shadeOf(weights[i])] += line(asks, key);
        }
      }
      paths.forEach((path, shade) => redress(path, "d", d[shade]));
      choose(query);
    },
    choose,
    under({ x, y: at }) {
      const token = Math.floor((at - top) / ROW);
      return x < LEFT && token >= 0 && token < tokens.length ? { key: -1, query: token } : null;
    },
    point(cell) {
      hover.setAttribute("visibility", cell && cell.key >= 0 ? "visible" : "hidden");
    },
  };
}

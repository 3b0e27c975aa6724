// A view's frame: title, SVG with a spoken description, a note below, and the two ways to take it away.

import { SVG_NAMESPACE, dress, html, steady, svg } from "./drawing.js";

/** @import { Cell, Context } from "./types.d.ts" */

// what a saved picture needs of the style sheet
const INLINED = [
  ...["fill", "fill-opacity", "stroke", "stroke-width", "stroke-dasharray", "stroke-opacity", "opacity"],
  ...["font-size", "font-family", "font-weight", "text-anchor", "text-decoration-line", "visibility"],
];

/**
 * @param {Context} context
 * @param {{ name: string, title: string, width: number, height: number, rows: () => Cell[][] }} about
 *   `rows` are those of the table that a reader can save, its header first
 */
export function panel(context, { name, title, width, height, rows }) {
  const figure = html(context.views, "figure", { class: `cwi-panel cwi-${name}`, "data-view": name });
  const head = html(figure, "div", { class: "cwi-head" });
  if (context.side) html(head, "span", { class: "cwi-side", "aria-label": `side ${context.side}` }, context.side);
  const heading = steady(html(head, "p", { class: "cwi-heading" }));
  heading.textContent = title;
  const picture = svg(figure, "svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": title });
  const note = steady(html(figure, "figcaption", { class: "cwi-note" }));
  const save = html(head, "span", { class: "cwi-save" });
  /** @type {(text: string, what: string, act: () => void) => void} */
  const button = (text, what, act) => {
    const node = html(save, "button", { type: "button", "aria-label": `Save ${what} as ${text}` }, text);
    node.addEventListener("click", act);
  };
  /** @type {(ending: string) => string} */
  const file = (ending) => {
    const { layer, head: queryHead, step } = context.store.state;
    return `${context.data.meta.name}_${name}_layer${layer}_head${queryHead}_step${step}.${ending}`;
  };
  button("SVG", title.toLowerCase(), () => download(file("svg"), "image/svg+xml", standalone(picture, figure)));
  button("CSV", `the data of ${title.toLowerCase()}`, () => download(file("csv"), "text/csv", csv(rows())));
  /**
   * A picture that would be too small to read or to hit below `least` pixels: it then scrolls, and the hint says so.
   * @type {(least: number, label: string) => HTMLElement}
   */
  const scrolls = (least, label) => {
    const scroll = html(null, "div", { class: "cwi-scroll", role: "group", tabindex: 0, "aria-label": label });
    picture.replaceWith(scroll);
    scroll.append(picture);
    picture.style.minWidth = `${Math.ceil(least)}px`;
    return scroll;
  };
  /**
   * A line below the picture for the value under the pointer.
   * @type {() => ReturnType<typeof steady>}
   */
  const readout = () => {
    const line = html(null, "p", { class: "cwi-read" });
    figure.insertBefore(line, figure.querySelector("figcaption"));
    return steady(line);
  };
  return { figure, heading, picture, note, save, scrolls, readout };
}

/** @type {(picture: SVGSVGElement, figure: HTMLElement) => string} */
function standalone(picture, figure) {
  const copy = /** @type {SVGSVGElement} */ (picture.cloneNode(true));
  const originals = [picture, ...picture.querySelectorAll("*")];
  const copies = [copy, ...copy.querySelectorAll("*")];
  originals.forEach((original, i) => {
    const style = getComputedStyle(original);
    const inlined = INLINED.map((property) => `${property}:${style.getPropertyValue(property)}`);
    copies[i].setAttribute("style", inlined.join(";"));
  });
  const { width, height } = picture.viewBox.baseVal;
  dress(copy, null, { xmlns: SVG_NAMESPACE, width, height });
  const paper = svg(null, "rect", { width, height, fill: paperOf(figure) });
  copy.prepend(paper);
  return new XMLSerializer().serializeToString(copy);
}

/**
 * The first ground that is not transparent, so that a figure saved in the dark stays legible.
 * @type {(node: Element) => string}
 */
function paperOf(node) {
  for (let at = /** @type {Element | null} */ (node); at; at = at.parentElement) {
    const ground = getComputedStyle(at).backgroundColor;
    if (ground && ground !== "transparent" && !/,\s*0\)$/.test(ground)) return ground;
  }
  return "white";
}

/** @type {(rows: Cell[][]) => string} */
function csv(rows) {
  /** @type {(value: number) => string} */
  const digits = (value) => (Number.isNaN(value) ? "" : String(Number(value.toPrecision(6))));
  /** @type {(value: Cell) => string} */
  const cell = (value) => {
    const text = typeof value === "number" ? digits(value) : value;
    return /[",\n\r]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
  };
  return `${rows.map((row) => row.map(cell).join(",")).join("\r\n")}\r\n`;
}

/** @type {(name: string, type: string, content: string) => void} */
function download(name, type, content) {
  const address = URL.createObjectURL(new Blob([content], { type }));
  const link = html(document.body, "a", { href: address, download: name, hidden: "" });
  link.click();
  link.remove();
  // the browser reads the block after the click
  setTimeout(() => URL.revokeObjectURL(address), 1000);
}

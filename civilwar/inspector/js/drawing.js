// Small tools for SVG and HTML. Text always goes in as text, never as markup.

import { label } from "./words.js";

/** @import { Attributes, Box, Range, Scale } from "./types.d.ts" */

export const SVG_NAMESPACE = "http://www.w3.org/2000/svg";

/**
 * A new node at the end of `parent`.
 * @template {keyof SVGElementTagNameMap} Tag
 * @param {Element | null} parent
 * @param {Tag} tag
 * @param {Attributes} attributes
 * @param {string} [text]
 * @returns {SVGElementTagNameMap[Tag]}
 */
export function svg(parent, tag, attributes = {}, text = undefined) {
  return dress(document.createElementNS(SVG_NAMESPACE, tag), parent, attributes, text);
}

/**
 * A new node at the end of `parent`.
 * @template {keyof HTMLElementTagNameMap} Tag
 * @param {Element | null} parent
 * @param {Tag} tag
 * @param {Attributes} attributes
 * @param {string} [text]
 * @returns {HTMLElementTagNameMap[Tag]}
 */
export function html(parent, tag, attributes = {}, text = undefined) {
  return dress(document.createElement(tag), parent, attributes, text);
}

/**
 * Give a node attributes and text, and put it at the end of `parent` where there is one.
 * @template {Element} Node
 * @param {Node} node
 * @param {Element | null} parent
 * @param {Attributes} attributes
 * @param {string} [text]
 * @returns {Node}
 */
export function dress(node, parent, attributes, text = undefined) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value !== undefined && value !== null) node.setAttribute(name, String(value));
  }
  if (text !== undefined) node.textContent = text;
  parent?.append(node);
  return node;
}

/**
 * Set an attribute where it differs: a browser takes a setting for a change.
 * @type {(node: Element, name: string, value: string | number | boolean) => void}
 */
export function redress(node, name, value) {
  const text = String(value);
  if (node.getAttribute(name) !== text) node.setAttribute(name, text);
}

/**
 * Room for the longest text that a node will ever hold, so that nothing below it moves while its text changes.
 * Its texts go into the node that is returned.
 * @type {(node: HTMLElement) => HTMLElement & { keep: (longest: string) => void }}
 */
export function steady(node) {
  node.classList.add("cwi-steady");
  const text = html(node, "span");
  /** @type {(longest: string) => void} */
  const keep = (longest) => {
    if (node.dataset.room !== longest) node.dataset.room = longest;
  };
  return Object.assign(text, { keep });
}

/**
 * From a range of values to a range of pixels, and back.
 * @type {(values: Range, pixels: Range) => Scale}
 */
export function scale([from, to], [low, high]) {
  const slope = (high - low) / (to - from || 1);
  /** @type {(value: number) => number} */
  const place = (value) => low + (value - from) * slope;
  /** @type {(at: number) => number} */
  const invert = (at) => from + (at - low) / slope;
  return Object.assign(place, { invert });
}

/**
 * Round values in a range.
 * @type {(range: Range, about?: number) => number[]}
 */
export function ticks([low, high], about = 6) {
  const rough = (high - low) / about;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((n) => n * power).find((size) => size >= rough) ?? 10 * power;
  const found = [];
  for (let value = Math.ceil(low / step) * step; value <= high + step * 1e-6; value += step) {
    found.push(Math.round(value / step) * step);
  }
  return found;
}

/**
 * A title along the left edge.
 * @type {(parent: Element, middle: number, text: string) => void}
 */
export function upright(parent, middle, text) {
  const turn = `rotate(-90 11 ${middle})`;
  svg(parent, "text", { x: 11, y: middle, "text-anchor": "middle", class: "cwi-title", transform: turn }, text);
}

/**
 * A tick on the left axis, with its line across.
 * @type {(parent: Element, box: Pick<Box, "left" | "right">, at: number, text: string) => void}
 */
export function level(parent, box, at, text) {
  svg(parent, "line", { x1: box.left, x2: box.right, y1: at, y2: at, class: "cwi-grid" });
  svg(parent, "text", { x: box.left - 5, y: at + 3.5, "text-anchor": "end" }, text);
}

/**
 * Left and bottom axes with their titles; nothing that moves.
 * @param {Element} parent
 * @param {Scale} x
 * @param {Scale} y
 * @param {Box} box
 * @param {{ x: string, y: string, xRange: Range, yRange: Range }} titles
 */
export function axes(parent, x, y, box, titles) {
  const group = svg(parent, "g", { class: "cwi-axes" });
  for (const tick of ticks(titles.xRange)) {
    const at = x(tick);
    svg(group, "line", { x1: at, x2: at, y1: box.top, y2: box.bottom, class: "cwi-grid" });
    svg(group, "text", { x: at, y: box.bottom + 13, "text-anchor": "middle" }, label(tick));
  }
  for (const tick of ticks(titles.yRange)) level(group, box, y(tick), label(tick));
  const [middle, below] = [(box.left + box.right) / 2, box.bottom + 27];
  svg(group, "text", { x: middle, y: below, "text-anchor": "middle", class: "cwi-title" }, titles.x);
  upright(group, (box.top + box.bottom) / 2, titles.y);
}

/**
 * A line through points; it breaks where one is undefined.
 * @type {(xs: number[], ys: number[], x: Scale, y: Scale) => string}
 */
export function path(xs, ys, x, y) {
  let d = "";
  let pen = "M";
  for (let i = 0; i < xs.length; i++) {
    if (Number.isNaN(ys[i])) {
      pen = "M";
      continue;
    }
    d += `${pen}${x(xs[i]).toFixed(1)} ${y(ys[i]).toFixed(1)}`;
    pen = "L";
  }
  return d;
}

// spaces, newlines and control characters have a shape of their own
/** @type {Record<string, string>} */
const SHAPES = { " ": "\u2423", "\n": "\u21b5", "\r": "\u240d", "\t": "\u21e5" };
const HIDDEN =
  // eslint-disable-next-line no-control-regex -- control characters are what it looks for
  /[\u0000-\u001f\u007f-\u009f\u00ad\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\ud800-\udfff]/gu;

/**
 * What a token looks like when nothing in it may act.
 * @type {(token: string) => string}
 */
export function visible(token) {
  // a special token that decodes to nothing still takes its place
  if (token === "") return "\u2205";
  return token
    .replace(/[ \n\r\t]/g, (character) => SHAPES[character])
    .replace(HIDDEN, (character) => {
      const code = Number(character.codePointAt(0)).toString(16).toUpperCase();
      return `\u27e8U+${code.padStart(4, "0")}\u27e9`;
    });
}

/** @type {(text: string, length?: number) => string} */
export function clipped(text, length = 12) {
  const characters = [...text];
  return characters.length > length ? `${characters.slice(0, length - 1).join("")}\u2026` : text;
}

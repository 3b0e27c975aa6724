// Small tools for SVG and HTML. Text always goes in as text, never as markup.

const SVG_NAMESPACE = "http://www.w3.org/2000/svg";

function svg(parent, tag, attributes = {}, text) {
  const node = document.createElementNS(SVG_NAMESPACE, tag);
  return dress(node, parent, attributes, text);
}

function html(parent, tag, attributes = {}, text) {
  return dress(document.createElement(tag), parent, attributes, text);
}

function dress(node, parent, attributes, text) {
  for (const [name, value] of Object.entries(attributes)) if (value !== undefined && value !== null) node.setAttribute(name, value);
  if (text !== undefined) node.textContent = text;
  parent?.append(node);
  return node;
}

function scale([from, to], [low, high]) {
  const slope = (high - low) / (to - from || 1);
  const place = (value) => low + (value - from) * slope;
  place.invert = (at) => from + (at - low) / slope;
  return place;
}

function ticks([low, high], about = 6) {
  const rough = (high - low) / about;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((n) => n * power).find((size) => size >= rough) ?? 10 * power;
  const found = [];
  for (let value = Math.ceil(low / step) * step; value <= high + step * 1e-6; value += step) found.push(Math.round(value / step) * step);
  return found;
}

function written(value) {
  if (value === undefined || value === null || Number.isNaN(value)) return "undefined";
  const size = Math.abs(value);
  const text = size >= 100 ? value.toFixed(0) : size >= 10 ? value.toFixed(1) : size >= 0.01 || value === 0 ? value.toFixed(2) : value.toPrecision(2);
  return text.replace("-", "\u2212");
}

function label(value) {
  return String(Number(value.toPrecision(6))).replace("-", "\u2212");
}

// left and bottom axes with their titles; returns nothing that moves
function axes(parent, x, y, box, titles, marks = {}) {
  const group = svg(parent, "g", { class: "cwi-axes" });
  for (const tick of marks.x ?? ticks(titles.xRange)) {
    const at = x(tick);
    svg(group, "line", { x1: at, x2: at, y1: box.top, y2: box.bottom, class: "cwi-grid" });
    svg(group, "text", { x: at, y: box.bottom + 13, "text-anchor": "middle" }, label(tick));
  }
  for (const tick of marks.y ?? ticks(titles.yRange)) {
    const at = y(tick);
    svg(group, "line", { x1: box.left, x2: box.right, y1: at, y2: at, class: "cwi-grid" });
    svg(group, "text", { x: box.left - 5, y: at + 3.5, "text-anchor": "end" }, label(tick));
  }
  svg(group, "text", { x: (box.left + box.right) / 2, y: box.bottom + 27, "text-anchor": "middle", class: "cwi-title" }, titles.x);
  const middle = (box.top + box.bottom) / 2;
  svg(group, "text", { x: 11, y: middle, "text-anchor": "middle", class: "cwi-title", transform: `rotate(-90 11 ${middle})` }, titles.y);
  return group;
}

function path(xs, ys, x, y) {
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

// what a token looks like when nothing in it may act: spaces, newlines and control characters have a shape of their own
const SHAPES = { " ": "\u2423", "\n": "\u21b5", "\r": "\u240d", "\t": "\u21e5" };
const HIDDEN = /[\u0000-\u001f\u007f-\u009f\u00ad\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\ud800-\udfff]/gu;

function visible(token) {
  // a special token that decodes to nothing still takes its place
  if (token === "") return "\u2205";
  return token
    .replace(/[ \n\r\t]/g, (character) => SHAPES[character])
    .replace(HIDDEN, (character) => `\u27e8U+${character.codePointAt(0).toString(16).toUpperCase().padStart(4, "0")}\u27e9`);
}

function clipped(text, length = 12) {
  const characters = [...text];
  return characters.length > length ? `${characters.slice(0, length - 1).join("")}\u2026` : text;
}

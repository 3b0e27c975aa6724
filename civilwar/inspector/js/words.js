// Numbers as a reader sees them.

/** @import { Measure } from "./types.d.ts" */

/**
 * A value for a reader, with about two digits.
 * @type {(value: number | null | undefined) => string}
 */
export function written(value) {
  if (value === undefined || value === null || Number.isNaN(value)) return "undefined";
  const size = Math.abs(value);
  const small = size < 0.01 && value !== 0;
  const text = small ? value.toPrecision(2) : value.toFixed(size >= 100 ? 0 : size >= 10 ? 1 : 2);
  return text.replace("-", "\u2212");
}

/**
 * A value at a tick.
 * @type {(value: number) => string}
 */
export function label(value) {
  return String(Number(value.toPrecision(6))).replace("-", "\u2212");
}

/**
 * A number as wide as any up to it: every digit is as wide as every other.
 * @type {(most: number) => string}
 */
export function widest(most) {
  return String(Math.round(most)).replace(/\d/g, "8");
}

/**
 * A value with its unit, where it has one.
 * @type {(value: string, measure: Pick<Measure, "unit">) => string}
 */
export function withUnit(value, { unit }) {
  return unit && value !== "undefined" ? `${value} ${unit}` : value;
}

/**
 * The longest of some texts.
 * @type {(texts: string[]) => string}
 */
export function longest(texts) {
  return texts.reduce((found, text) => (text.length > found.length ? text : found), "");
}

// How far two sides of a comparison lie apart, and its null: how far two heads of one layer lie apart anyway.
// civilwar/inspector/values.py has the same numbers, to the bit.

/** @import { RunData } from "./data.js" */
/** @import { State } from "./types.d.ts" */

/** Share of the pairs of heads of one layer that lie within the null. */
export const SHARE = 0.95;

/**
 * Distance that 95% of the pairs of different heads of a layer do not exceed, at the step; NaN where fewer than two
 * are defined. Heads are those that the measure belongs to.
 * @type {(data: RunData, key: string, step: number, layer: number) => number}
 */
export function apart(data, key, step, layer) {
  const measure = data.measure(key);
  const [, layers, heads] = data.arrays[key].shape;
  if (layer >= layers) return NaN;
  const tick = data.tick(measure.clock, step);
  const distances = [];
  for (let one = 0; one < heads; one++) {
    for (let two = one + 1; two < heads; two++) {
      const distance = Math.abs(data.at(key, tick, layer, one) - data.at(key, tick, layer, two));
      if (!Number.isNaN(distance)) distances.push(distance);
    }
  }
  if (!distances.length) return NaN;
  distances.sort((a, b) => a - b);
  return distances[Math.ceil(SHARE * distances.length) - 1];
}

/**
 * The null of a difference: the farther of the two sides' own heads.
 * @type {(one: number, two: number) => number}
 */
export function farther(one, two) {
  return Number.isNaN(one) || one < two ? two : one;
}

/** @typedef {{ data: RunData, state: State }} Side */

/**
 * The first side less the other by a measure; NaN where either is undefined or is not there.
 * @type {(key: string, one: Side, two: Side) => number}
 */
export function difference(key, one, two) {
  const [a, b] = [one, two].map(({ data, state: { step, layer, head } }) => {
    const { n_layers: layers, n_query_heads: heads } = data.meta;
    return layer < layers && head < heads ? data.value(data.measure(key), step, layer, head) : NaN;
  });
  return a - b;
}

/** @type {(key: string, one: Side, two: Side) => number} */
export function nullOf(key, one, two) {
  const [a, b] = [one, two].map(({ data, state }) => apart(data, key, state.step, state.layer));
  return farther(a, b);
}

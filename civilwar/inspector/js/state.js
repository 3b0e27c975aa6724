// The one state behind all views: step, layer, query head, metric, text, and the query token of that text.

import { FIELDS } from "./fields.js";

/**
 * @import { RunData } from "./data.js"
 * @import { FieldName, State, Update, Wanted } from "./types.d.ts"
 */

export const NAMES = /** @type {FieldName[]} */ (Object.keys(FIELDS));

export class Store {
  /**
   * @param {RunData} data
   * @param {Wanted} initial
   */
  constructor(data, initial) {
    this.data = data;
    /** @type {Update[]} */
    this.listeners = [];
    const starts = NAMES.map((name) => {
      const { start } = FIELDS[name];
      return [name, typeof start === "string" ? data.meta[start] : start];
    });
    this.state = this.clamp({ ...Object.fromEntries(starts), ...initial });
  }

  /**
   * Nothing that a reader, an address or Python asks for can lead outside the run.
   * @type {(wanted: Wanted) => State}
   */
  clamp(wanted) {
    const { meta } = this.data;
    /** @type {(value: unknown, most: number, otherwise: number) => number} */
    const within = (value, most, otherwise) => {
      const number = Math.round(Number(value));
      return Number.isFinite(number) ? Math.min(Math.max(number, 0), most) : otherwise;
    };
    const text = within(wanted.text, Math.max(meta.texts.length - 1, 0), 0);
    const last = Math.max((meta.texts[text]?.tokens.length ?? 1) - 1, 0);
    const metric = String(wanted.metric);
    const known = this.data.measures.has(metric) || (metric === "kind" && this.data.hasKinds);
    return {
      step: within(wanted.step, meta.last_step, meta.last_step),
      layer: within(wanted.layer, meta.n_layers - 1, 0),
      head: within(wanted.head, meta.n_query_heads - 1, 0),
      metric: known ? metric : meta.default,
      text,
      query: Number(wanted.query) < 0 ? last : within(wanted.query, last, last),
    };
  }

  /** @type {(changes: Wanted) => void} */
  set(changes) {
    const next = this.clamp({ ...this.state, ...changes });
    const changed = new Set(NAMES.filter((name) => next[name] !== this.state[name]));
    if (!changed.size) return;
    this.state = next;
    for (const listener of this.listeners) listener(next, changed);
  }

  /** @type {(listener: Update) => void} */
  listen(listener) {
    this.listeners.push(listener);
  }
}

/**
 * What an address like `#layer=3&head=5&step=128` asks for.
 * @type {(hash: string) => Wanted}
 */
export function readAddress(hash) {
  const asked = new URLSearchParams(hash.replace(/^#/, ""));
  return Object.fromEntries([...asked].filter(([name]) => Object.hasOwn(FIELDS, name)));
}

/** @type {(state: State) => string} */
export function writeAddress(state) {
  return `#${new URLSearchParams(NAMES.map((name) => [name, String(state[name])]))}`;
}

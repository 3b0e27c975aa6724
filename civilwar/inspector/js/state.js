// The one state behind all views: step, layer, query head, metric, text, and the query token of that text.

import { COMPARE, FIELDS } from "./fields.js";

/**
 * @import { RunData } from "./data.js"
 * @import { FieldName, State, Update, Wanted } from "./types.d.ts"
 */

export const NAMES = /** @type {FieldName[]} */ (Object.keys(FIELDS));

export class Store {
  /**
   * @param {RunData} data
   * @param {Wanted} initial
   * @param {string[]} others names of the runs that it can be compared with
   */
  constructor(data, initial, others = []) {
    this.data = data;
    this.others = others;
    /** @type {Update[]} */
    this.listeners = [];
    const starts = NAMES.map((name) => {
      const { start } = FIELDS[name];
      return [name, typeof start === "string" && start ? data.meta[start] : start];
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
    /** Below 0: as on the first side. @type {(value: unknown, most: number) => number} */
    const open = (value, most) => (Number(value ?? -1) < 0 ? -1 : within(value, most, -1));
    const { texts } = this.data;
    const text = within(wanted.text, Math.max(texts.length - 1, 0), 0);
    const last = Math.max((texts[text]?.tokens.length ?? 1) - 1, 0);
    const metric = String(wanted.metric);
    return {
      step: within(wanted.step, meta.last_step, meta.last_step),
      layer: within(wanted.layer, meta.n_layers - 1, 0),
      head: within(wanted.head, meta.n_query_heads - 1, 0),
      metric: this.knows(metric) ? metric : meta.default,
      text,
      query: Number(wanted.query) < 0 ? last : within(wanted.query, last, last),
      compare: COMPARE.includes(String(wanted.compare)) ? String(wanted.compare) : "",
      run2: this.others.includes(String(wanted.run2)) ? String(wanted.run2) : "",
      layer2: open(wanted.layer2, meta.n_layers - 1),
      head2: open(wanted.head2, meta.n_query_heads - 1),
      step2: open(wanted.step2, meta.last_step),
    };
  }

  /**
   * What of an address can be followed, and of the rest why it cannot.
   * @type {(asked: Wanted) => { wanted: Wanted, refused: string[] }}
   */
  heed(asked) {
    const { meta, texts } = this.data;
    /** @type {Partial<Record<FieldName, [low: number, high: number, what: string]>>} */
    const whole = {
      layer: [0, meta.n_layers - 1, "layers"],
      head: [0, meta.n_query_heads - 1, "query heads"],
      step: [0, meta.last_step, "steps"],
      text: [0, texts.length - 1, "texts"],
      layer2: [-1, meta.n_layers - 1, "layers"],
      head2: [-1, meta.n_query_heads - 1, "query heads"],
      step2: [-1, meta.last_step, "steps"],
      query: [-1, Math.max(...texts.map(({ tokens }) => tokens.length), 1) - 1, "tokens"],
    };
    /** @type {Wanted} */
    const wanted = {};
    /** @type {string[]} */
    const refused = [];
    for (const name of /** @type {FieldName[]} */ (Object.keys(asked))) {
      const value = String(asked[name]);
      const limits = whole[name];
      if (!Object.hasOwn(FIELDS, name)) refused.push(`${name} is nothing that can be chosen`);
      else if (limits && !/^-?\d+$/.test(value)) refused.push(`${name}=${value} is no whole number`);
      else if (limits && (Number(value) < limits[0] || Number(value) > limits[1])) {
        refused.push(`${name}=${value}, where ${meta.name} has ${limits[2]} ${limits[0]} to ${limits[1]}`);
      } else if (name === "metric" && !this.knows(value))
        refused.push(`metric=${value}, which is no measure of this run`);
      else if (name === "compare" && !COMPARE.includes(value)) refused.push(`compare=${value}, which is no comparison`);
      else if (name === "run2" && value && !this.others.includes(value)) {
        refused.push(`run2=${value}, which is not offered here`);
      } else wanted[name] = asked[name];
    }
    return { wanted, refused };
  }

  /** @type {(metric: string) => boolean} */
  knows(metric) {
    return this.data.measures.has(metric) || (metric === "kind" && this.data.hasKinds);
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
 * What an address like `#layer=3&head=5&step=128` asks for; nothing where it names a place on the page.
 * @type {(hash: string) => Wanted}
 */
export function readAddress(hash) {
  const asked = [...new URLSearchParams(hash.replace(/^#/, ""))];
  return asked.some(([name]) => Object.hasOwn(FIELDS, name)) ? Object.fromEntries(asked) : {};
}

/** @type {(state: State) => string} */
export function writeAddress(state) {
  const said = NAMES.filter((name) => !FIELDS[name].aside || state[name] !== FIELDS[name].start);
  return `#${new URLSearchParams(said.map((name) => [name, String(state[name])]))}`;
}

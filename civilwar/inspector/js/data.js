// A run's numbers by step, layer and head. Query heads and KV heads are asked for apart; kvHead() leads from one to the
// other. civilwar/inspector/values.py has the same numbers, to the bit: a test holds the two together.

import { unpack } from "./codec.js";
import { longest, widest, withUnit, written } from "./words.js";

/** @import { Clock, Kind, LoadLayer, Measure, NamedArray, Packed, Range, Text, Tint } from "./types.d.ts" */

/** Milliseconds after which a layer that was asked for counts as late. */
const PATIENCE = 10_000;

export class RunData {
  /**
   * @param {Packed} packed
   * @param {LoadLayer} loadLayer
   */
  constructor({ meta, arrays }, loadLayer) {
    this.meta = meta;
    this.arrays = arrays;
    this.measures = new Map(meta.measures.map((measure) => [measure.key, measure]));
    this.groupSize = meta.n_query_heads / meta.n_kv_heads;
    /** @type {Map<number, NamedArray | null>} */
    this.layers = new Map();
    /** @type {Set<number>} */
    this.failed = new Set();
    /** @type {Set<number>} */
    this.late = new Set();
    /** Who is told when a layer's patterns have come. @type {(() => void)[]} */
    this.whenThere = [];
    /** The run's short texts, and then the reader's own. @type {Text[]} */
    this.texts = [...meta.texts];
    /** Attention on the reader's own texts, [layer, query head, triangle]. @type {NamedArray[]} */
    this.own = [];
    this.loadLayer = loadLayer;
    /** The run beside which this one is shown, on the same scales. @type {RunData | null} */
    this.paired = null;
    /** Whether a kernel was asked for anything, and none has answered so far. */
    this.alone = false;
    /** @type {Map<string, Range>} */
    this.extents = new Map();
    /** @type {Map<string, number>} */
    this.deviations = new Map();
  }

  /**
   * Raises TypeError for a measure that is not there.
   * @type {(key: string) => Measure}
   */
  measure(key) {
    const found = this.measures.get(key);
    if (!found) throw new TypeError(`no measure ${key}`);
    return found;
  }

  /** @type {(queryHead: number) => number} */
  kvHead(queryHead) {
    return Math.floor(queryHead / this.groupSize);
  }

  /**
   * Every query head as [layer, query head].
   * @type {() => [layer: number, queryHead: number][]}
   */
  heads() {
    const { n_layers: layers, n_query_heads: heads } = this.meta;
    return Array.from({ length: layers * heads }, (_, i) => [Math.floor(i / heads), i % heads]);
  }

  /**
   * The last tick at or before a step; the first where there is none before.
   * @type {(clock: Clock, step: number) => number}
   */
  tick(clock, step) {
    const steps = this.meta.clocks[clock];
    let low = 0;
    let high = steps.length - 1;
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      if (steps[middle] <= step) low = middle;
      else high = middle - 1;
    }
    return low;
  }

  /** @type {(clock: Clock, step: number) => number} */
  tickStep(clock, step) {
    return this.meta.clocks[clock][this.tick(clock, step)];
  }

  /** @type {(name: string, first: number, second: number, third: number) => number} */
  at(name, first, second, third) {
    const { shape, data } = this.arrays[name];
    return data[(first * shape[1] + second) * shape[2] + third];
  }

  /** @type {(measure: Measure, queryHead: number) => number} */
  owner(measure, queryHead) {
    return measure.owner === "kv_head" ? this.kvHead(queryHead) : queryHead;
  }

  /** @type {(measure: Measure, step: number, layer: number, queryHead: number) => number} */
  value(measure, step, layer, queryHead) {
    return this.at(measure.key, this.tick(measure.clock, step), layer, this.owner(measure, queryHead));
  }

  get hasKinds() {
    return this.meta.kind_clock !== null;
  }

  /**
   * Only where there are kinds.
   * @type {(step: number, layer: number, queryHead: number) => Kind}
   */
  kind(step, layer, queryHead) {
    return this.meta.kinds[this.at("kind", this.tick(this.meta.kind_clock ?? 0, step), layer, queryHead)];
  }

  /**
   * The null at a step, on the line between the moments that it was computed at, and as it was last after the last.
   * @type {(measure: Measure, step: number, layer: number) => Range | null}
   */
  band(measure, step, layer) {
    if (!measure.null) return null;
    const steps = this.meta.clocks[measure.null.clock];
    const here = this.tick(measure.null.clock, step);
    const following = Math.min(here + 1, steps.length - 1);
    const share = following > here ? Math.max(0, step - steps[here]) / (steps[following] - steps[here]) : 0;
    const [low, high] = [0, 1].map((side) => {
      const [from, to] = [here, following].map((tick) => this.at(`null_${measure.key}`, tick, layer, side));
      return from + (to - from) * share;
    });
    return Number.isNaN(low + high) ? null : [low, high];
  }

  /**
   * From now on scales and colours fit this run and another; null for this one alone.
   * @type {(other: RunData | null) => void}
   */
  pair(other) {
    this.paired = other === this ? null : other;
    this.extents.clear();
    this.deviations.clear();
  }

  /**
   * Smallest and largest value over the whole run, its null included, so that no scale moves while the step does.
   * @type {(key: string) => Range}
   */
  extent(key) {
    const known = this.extents.get(key);
    if (known) return known;
    let [low, high] = [Infinity, -Infinity];
    for (const side of [this, this.paired]) {
      for (const name of [key, `null_${key}`]) {
        for (const value of side?.arrays[name]?.data ?? []) {
          if (value < low) low = value;
          if (value > high) high = value;
        }
      }
    }
    /** @type {Range} */
    const found = low < high ? [low, high] : [low - 0.5, low + 0.5];
    this.extents.set(key, found);
    return found;
  }

  /**
   * How far any head of the run gets from the middle of its null: full colour.
   * @type {(measure: Measure) => number}
   */
  deviation(measure) {
    const known = this.deviations.get(measure.key);
    if (known) return known;
    const alone = this.ownDeviation(measure);
    const there = this.paired?.measures.get(measure.key);
    const most = Math.max(alone, there ? (this.paired?.ownDeviation(there) ?? 0) : 0) || 1;
    this.deviations.set(measure.key, most);
    return most;
  }

  /** @type {(measure: Measure) => number} */
  ownDeviation(measure) {
    let most = 0;
    const [, layers, heads] = this.arrays[measure.key].shape;
    this.meta.clocks[measure.clock].forEach((step, tick) => {
      for (let layer = 0; layer < layers; layer++) {
        const band = this.band(measure, step, layer);
        if (!band) continue;
        for (let head = 0; head < heads; head++) {
          const off = Math.abs(this.at(measure.key, tick, layer, head) - (band[0] + band[1]) / 2);
          if (off > most) most = off;
        }
      }
    });
    return most;
  }

  /**
   * A head's colour: below or above the middle of the null; from the smallest to the largest value where there is none.
   * @type {(measure: Measure, step: number, layer: number, queryHead: number) => Tint}
   */
  tint(measure, step, layer, queryHead) {
    const value = this.value(measure, step, layer, queryHead);
    if (Number.isNaN(value)) return { color: this.meta.more, strength: 0 };
    const band = this.band(measure, step, layer);
    if (!band) {
      const [low, high] = this.extent(measure.key);
      return { color: this.meta.more, strength: (value - low) / (high - low) };
    }
    const off = (value - (band[0] + band[1]) / 2) / this.deviation(measure);
    return { color: off < 0 ? this.meta.less : this.meta.more, strength: Math.min(Math.abs(off), 1) };
  }

  /** @type {(layer: number | string, queryHead: number) => string} */
  headName(layer, queryHead) {
    return `Layer ${layer}, query head ${queryHead} (KV head ${this.kvHead(queryHead)})`;
  }

  /** @type {() => string} */
  widestName() {
    return this.headName(widest(this.meta.n_layers), this.meta.n_query_heads - 1);
  }

  /**
   * What a head has by a measure or as its kind, for a reader: with its unit, the null beside it and the step it is of.
   * @type {(metric: string, step: number, layer: number, queryHead: number) => string}
   */
  told(metric, step, layer, queryHead) {
    if (metric === "kind") {
      return `${this.kind(step, layer, queryHead).name}${this.since(this.meta.kind_clock ?? 0, step)}.`;
    }
    const measure = this.measure(metric);
    const value = withUnit(written(this.value(measure, step, layer, queryHead)), measure);
    const band = this.band(measure, step, layer);
    const null_ = band ? `; null ${[...new Set(band.map(written))].join(" to ")}` : "";
    return `${measure.label} ${value}${null_}${this.since(measure.clock, step)}.`;
  }

  /**
   * No text of told() is longer than this one.
   * @type {(metric: string) => string}
   */
  widestTold(metric) {
    const at = ` (of step ${widest(this.meta.last_step)})`;
    if (metric === "kind") return `${longest(this.meta.kinds.map((kind) => kind.name))}${at}.`;
    const measure = this.measure(metric);
    const null_ = measure.null ? "; null 88.88 to 88.88" : "";
    return `${measure.label} ${withUnit("88.88", measure)}${null_}${at}.`;
  }

  /**
   * The recorded step that stands for another, where it is another.
   * @type {(clock: Clock, step: number) => string}
   */
  since(clock, step) {
    const recorded = this.tickStep(clock, step);
    return recorded === step ? "" : ` (of step ${recorded})`;
  }

  get hasPatterns() {
    return this.meta.pattern_clock !== null;
  }

  /**
   * One layer's patterns: there, or asked for and there later, when whenThere() is called. A layer that failed is not
   * asked for again; one that is late is shown when it comes after all.
   * @type {(layer: number) => NamedArray | null}
   */
  patterns(layer) {
    if (!this.layers.has(layer)) {
      this.layers.set(layer, null);
      const patience = setTimeout(() => {
        this.late.add(layer);
        for (const tell of this.whenThere) tell();
      }, PATIENCE);
      this.loadLayer(layer)
        .then(unpack)
        .then(({ arrays }) => this.layers.set(layer, arrays.pattern))
        .catch((error) => {
          this.failed.add(layer);
          console.warn(`The attention patterns of layer ${layer} could not be read: ${error.message}`);
        })
        .then(() => {
          clearTimeout(patience);
          for (const tell of this.whenThere) tell();
        });
    }
    return this.layers.get(layer) ?? null;
  }

  /**
   * Why patterns() has nothing.
   * @type {(layer: number) => string}
   */
  whyNot(layer) {
    if (this.failed.has(layer)) return "could not be loaded";
    if (this.alone) return "is not in this page: it needs a running kernel, and none answers";
    if (this.late.has(layer)) return "has not come yet";
    return "is on its way";
  }

  /**
   * A text that the reader wrote, with the trained model's attention on it: the last of the texts.
   * @type {(text: Text, weights: NamedArray) => number}
   */
  addText(text, weights) {
    this.own.push(weights);
    return this.texts.push(text) - 1;
  }

  /**
   * Which attention on a text is shown: a run's snapshot; of a reader's own text only the present model's.
   * @type {(text: number, at: number | string) => string}
   */
  ofText(text, at) {
    return text < this.meta.texts.length ? `snapshot of step ${at}` : "the present weights on your text";
  }

  /**
   * Attention of one head on one text at one snapshot: rows of the lower triangle, weight 1 as 255.
   * @type {(layer: number, step: number, text: number, queryHead: number) => NamedArray["data"] | null}
   */
  triangle(layer, step, text, queryHead) {
    if (text >= this.meta.texts.length) {
      const { shape, data } = this.own[text - this.meta.texts.length];
      const at = (layer * shape[1] + queryHead) * shape[2];
      return data.subarray(at, at + shape[2]);
    }
    const array = this.patterns(layer);
    if (!array) return null;
    const [, texts, heads, size] = array.shape;
    const start = ((this.tick(this.meta.pattern_clock ?? 0, step) * texts + text) * heads + queryHead) * size;
    return array.data.subarray(start, start + size);
  }
}

// A run's numbers by step, layer and head. Query heads and KV heads are asked for apart; group() leads from one to the other.

class RunData {
  constructor({ meta, arrays }, loadLayer) {
    this.meta = meta;
    this.arrays = arrays;
    this.measures = new Map(meta.measures.map((measure) => [measure.key, measure]));
    this.groupSize = meta.n_query_heads / meta.n_kv_heads;
    this.layers = new Map();
    this.failed = new Set();
    this.whenThere = () => {};
    this.loadLayer = loadLayer;
    this.extents = new Map();
  }

  kvHead(queryHead) {
    return Math.floor(queryHead / this.groupSize);
  }

  // the last tick at or before a step; the first where there is none before
  tick(clock, step) {
    const ticks = this.meta.clocks[clock];
    let low = 0;
    let high = ticks.length - 1;
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      if (ticks[middle] <= step) low = middle;
      else high = middle - 1;
    }
    return low;
  }

  tickStep(clock, step) {
    return this.meta.clocks[clock][this.tick(clock, step)];
  }

  at(name, first, second, third) {
    const { shape, data } = this.arrays[name];
    return data[(first * shape[1] + second) * shape[2] + third];
  }

  owner(measure, queryHead) {
    return measure.owner === "kv_head" ? this.kvHead(queryHead) : queryHead;
  }

  value(measure, step, layer, queryHead) {
    return this.at(measure.key, this.tick(measure.clock, step), layer, this.owner(measure, queryHead));
  }

  get hasKinds() {
    return this.meta.kinds.length > 0;
  }

  kind(step, layer, queryHead) {
    return this.meta.kinds[this.at("kind", this.tick(this.meta.kind_clock, step), layer, queryHead)];
  }

  // [low, high] of the null at a step, on the line between the moments that it was computed at; or null
  band(measure, step, layer) {
    if (!measure.null) return null;
    const ticks = this.meta.clocks[measure.null.clock];
    const tick = this.tick(measure.null.clock, step);
    const next = Math.min(tick + 1, ticks.length - 1);
    const share = next > tick ? Math.max(0, step - ticks[tick]) / (ticks[next] - ticks[tick]) : 0;
    const edge = (side) => {
      const [from, to] = [tick, next].map((at) => this.at(`null_${measure.key}`, at, layer, side));
      return from + (to - from) * share;
    };
    const [low, high] = [edge(0), edge(1)];
    return Number.isNaN(low) ? null : [low, high];
  }

  // smallest and largest value over the whole run, its null included, so that no scale moves while the step does
  extent(measure) {
    if (!this.extents.has(measure.key)) {
      let [low, high] = [Infinity, -Infinity];
      for (const name of [measure.key, `null_${measure.key}`]) {
        for (const value of this.arrays[name]?.data ?? []) {
          if (value < low) low = value;
          if (value > high) high = value;
        }
      }
      this.extents.set(measure.key, low < high ? [low, high] : [low - 0.5, low + 0.5]);
    }
    return this.extents.get(measure.key);
  }

  // how far any head gets from the middle of its null, for the map's colours
  deviation(measure) {
    const key = `deviation of ${measure.key}`;
    if (!this.extents.has(key)) {
      let most = 0;
      const [ticks, layers, heads] = this.arrays[measure.key].shape;
      const steps = this.meta.clocks[measure.clock];
      for (let tick = 0; tick < ticks; tick++) {
        for (let layer = 0; layer < layers; layer++) {
          const band = this.band(measure, steps[tick], layer);
          if (!band) continue;
          for (let head = 0; head < heads; head++) {
            const off = Math.abs(this.at(measure.key, tick, layer, head) - (band[0] + band[1]) / 2);
            if (off > most) most = off;
          }
        }
      }
      this.extents.set(key, most || 1);
    }
    return this.extents.get(key);
  }

  get hasPatterns() {
    return "pattern_clock" in this.meta;
  }

  // one layer's patterns: there, or asked for and there later, when whenThere() is called; a layer that failed is not asked for again
  patterns(layer) {
    if (!this.layers.has(layer)) {
      this.layers.set(layer, null);
      this.loadLayer(layer)
        .then(unpack)
        .then(({ arrays }) => this.layers.set(layer, arrays.pattern))
        .catch((error) => {
          this.failed.add(layer);
          console.warn(`The attention patterns of layer ${layer} could not be read: ${error.message}`);
        })
        .then(() => this.whenThere());
    }
    return this.layers.get(layer);
  }

  // attention of one head on one text at one snapshot: rows of the lower triangle, weight 1 as 255
  triangle(layer, step, text, queryHead) {
    const array = this.patterns(layer);
    if (!array) return null;
    const [, texts, heads, size] = array.shape;
    const start = ((this.tick(this.meta.pattern_clock, step) * texts + text) * heads + queryHead) * size;
    return array.data.subarray(start, start + size);
  }
}

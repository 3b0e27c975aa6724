// The one state behind all views: step, layer, query head, metric, text, and the query token of that text.

const FIELDS = ["step", "layer", "head", "metric", "text", "query"];

class Store {
  constructor(data, initial) {
    this.data = data;
    this.listeners = [];
    this.state = this.clamp({ step: data.meta.last_step, layer: 0, head: 0, metric: data.meta.default, text: 0, query: -1, ...initial });
  }

  // nothing a reader, an address or Python asks for can lead outside the run
  clamp(wanted) {
    const { meta } = this.data;
    const within = (value, most, otherwise) => {
      const number = Math.round(Number(value));
      return Number.isFinite(number) ? Math.min(Math.max(number, 0), most) : otherwise;
    };
    const text = within(wanted.text, Math.max(meta.texts.length - 1, 0), 0);
    const last = Math.max((meta.texts[text]?.tokens.length ?? 1) - 1, 0);
    return {
      step: within(wanted.step, meta.last_step, meta.last_step),
      layer: within(wanted.layer, meta.n_layers - 1, 0),
      head: within(wanted.head, meta.n_query_heads - 1, 0),
      metric: this.data.measures.has(wanted.metric) || (wanted.metric === "kind" && this.data.hasKinds) ? wanted.metric : meta.default,
      text,
      query: Number(wanted.query) < 0 ? last : within(wanted.query, last, last),
    };
  }

  set(changes) {
    const next = this.clamp({ ...this.state, ...changes });
    const changed = new Set(FIELDS.filter((field) => next[field] !== this.state[field]));
    if (!changed.size) return;
    this.state = next;
    for (const listener of this.listeners) listener(next, changed);
  }

  listen(listener) {
    this.listeners.push(listener);
  }
}

// #layer=3&head=5&step=128
function readAddress(hash) {
  const wanted = {};
  for (const [name, value] of new URLSearchParams(hash.replace(/^#/, ""))) if (FIELDS.includes(name)) wanted[name] = value;
  return wanted;
}

function writeAddress(state) {
  const fields = ["layer", "head", "step", "metric", "text", "query"];
  return `#${new URLSearchParams(fields.map((name) => [name, state[name]]))}`;
}

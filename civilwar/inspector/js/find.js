// Find: the run's heads in the order of a measure or of its change, those of one kind if wanted; a click selects one.

import { html, redress, steady } from "./drawing.js";
import { panel } from "./panel.js";
import { widest, withUnit, written } from "./words.js";

/** @import { Cell, Context, Measure, State, Update } from "./types.d.ts" */

/** Heads that are shown before a reader asks for all. */
const FEW = 8;

/** @typedef {{ layer: number, head: number, value: number, change: number }} Found */

/** @type {(context: Context) => Update} */
export function find(context) {
  const { data, store } = context;
  const { meta } = data;
  const wanted = { by: meta.default, order: "largest", kind: "", since: 0, all: false };

  /** @type {() => Measure} */
  const measureNow = () => data.measure(wanted.by);
  /**
   * Heads of the wanted kind in the wanted order; those whose measure is undefined come last.
   * @type {(state: State) => Found[]}
   */
  const found = ({ step }) => {
    const measure = measureNow();
    const sign = wanted.order === "smallest" ? 1 : -1;
    /** @type {(found: Found) => number} */
    const key = ({ value, change }) => (wanted.order === "changed" ? Math.abs(change) : value);
    return data
      .heads()
      .filter(([layer, head]) => !wanted.kind || data.kind(step, layer, head).name === wanted.kind)
      .map(([layer, head]) => {
        const value = data.value(measure, step, layer, head);
        return { layer, head, value, change: value - data.value(measure, wanted.since, layer, head) };
      })
      .sort((a, b) => {
        const [one, two] = [key(a), key(b)];
        if (Number.isNaN(one) || Number.isNaN(two)) return Number(Number.isNaN(one)) - Number(Number.isNaN(two));
        return sign * (one - two);
      });
  };
  const rows = () => {
    const header = ["layer", "query_head", "kv_head", wanted.by, `change_since_step_${wanted.since}`];
    /** @type {Cell[][]} */
    const table = found(store.state).map(({ layer, head, value, change }) => [
      ...[layer, head, data.kvHead(head)],
      ...[value, change],
    ]);
    return [header, ...table];
  };
  const { figure, picture, heading, note, save } = panel(context, {
    name: "find",
    title: "Find",
    width: 1,
    height: 1,
    rows,
  });
  picture.remove();
  save.firstElementChild?.remove();
  heading.textContent = "Find heads";

  const form = html(null, "div", { class: "cwi-form" });
  figure.insertBefore(form, figure.querySelector("figcaption"));
  /** @type {(name: string, label: string, options: [string, string][], change: (value: string) => void) => void} */
  const choice = (name, label, options, change) => {
    const field = html(form, "label", { class: "cwi-field" });
    html(field, "span", {}, label);
    const select = html(field, "select", { name });
    for (const [value, text] of options) html(select, "option", { value }, text);
    select.addEventListener("change", () => {
      change(select.value);
      list(store.state);
    });
    selects.set(name, select);
  };
  /** @type {Map<string, HTMLSelectElement>} */
  const selects = new Map();
  choice(
    "find_by",
    "by",
    meta.measures.map(({ key, label }) => [key, label]),
    (value) => (wanted.by = value),
  );
  /** @type {[string, string][]} */
  const orders = [
    ["largest", "largest first"],
    ["smallest", "smallest first"],
    ["changed", "most changed first"],
  ];
  choice("find_order", "order", orders, (value) => (wanted.order = value));
  if (data.hasKinds) {
    const kinds = meta.kinds.map(({ name }) => /** @type {[string, string]} */ ([name, name]));
    choice("find_kind", "kind", [["", "all"], ...kinds], (value) => (wanted.kind = value));
  }
  const field = html(form, "label", { class: "cwi-field" });
  html(field, "span", {}, "since step");
  const since = html(field, "input", { type: "number", name: "find_since", min: 0, max: meta.last_step, value: 0 });
  since.addEventListener("change", () => {
    wanted.since = Math.min(Math.max(Math.round(Number(since.value)) || 0, 0), meta.last_step);
    since.value = String(wanted.since);
    list(store.state);
  });
  /** @type {[string, Partial<typeof wanted>][]} */
  const shortcuts = [
    ["Loudest", { by: "norm_mean", order: "largest" }],
    ["Sharpest", { by: "entropy_normalised", order: "smallest" }],
    ["Most changed", { order: "changed" }],
  ];
  for (const [text, what] of shortcuts) {
    const button = html(form, "button", { type: "button" }, text);
    button.addEventListener("click", () => {
      Object.assign(wanted, what);
      list(store.state);
    });
  }

  const scroll = html(null, "div", {
    class: "cwi-table",
    role: "group",
    tabindex: 0,
    "aria-label": "Heads that were found",
  });
  figure.insertBefore(scroll, figure.querySelector("figcaption"));
  const table = html(scroll, "table");
  const head = html(html(table, "thead"), "tr");
  const titles = ["head", "kind", "", ""].map((text) => html(head, "th", { scope: "col" }, text));
  const body = html(table, "tbody");
  /** @type {{ row: HTMLElement, button: HTMLElement, cells: HTMLElement[], at: Found | null }[]} */
  const lines = [];
  const more = html(figure, "button", { type: "button", class: "cwi-more" });
  more.addEventListener("click", () => {
    wanted.all = !wanted.all;
    list(store.state);
  });
  const count = steady(html(figure, "p", { class: "cwi-note" }));

  /** @type {(state: State) => void} */
  const list = (state) => {
    const measure = measureNow();
    const every = found(state);
    const shown = wanted.all ? every : every.slice(0, FEW);
    // as many lines as ever: nothing below moves while the step does
    const room = wanted.all ? every.length : Math.min(FEW, data.heads().length);
    while (lines.length < room) {
      const row = html(body, "tr");
      const button = html(html(row, "td"), "button", { type: "button" });
      const line = { row, button, cells: [0, 1, 2].map(() => html(row, "td")), at: /** @type {Found | null} */ (null) };
      button.addEventListener("click", () => line.at && store.set({ layer: line.at.layer, head: line.at.head }));
      lines.push(line);
    }
    lines.forEach((line, i) => {
      const at = (line.at = shown[i] ?? null);
      line.row.hidden = i >= room;
      line.row.style.visibility = at ? "visible" : "hidden";
      if (!at) return;
      const { layer, head: queryHead, value, change } = at;
      line.button.textContent = `L${layer} q${queryHead} (KV ${data.kvHead(queryHead)})`;
      const kind = data.hasKinds ? data.kind(state.step, layer, queryHead).name : "";
      const texts = [kind, withUnit(written(value), measure), written(change)];
      line.cells.forEach((cell, place) => {
        if (cell.textContent !== texts[place]) cell.textContent = texts[place];
      });
      redress(line.row, "aria-current", layer === state.layer && queryHead === state.head);
    });
    titles[2].textContent = measure.label;
    titles[3].textContent = `since step ${wanted.since}`;
    for (const [name, value] of [
      ["find_by", wanted.by],
      ["find_order", wanted.order],
      ["find_kind", wanted.kind],
    ]) {
      const select = selects.get(name);
      if (select) select.value = value;
    }
    more.textContent = wanted.all ? `Show ${FEW}` : `Show all ${every.length}`;
    more.hidden = every.length <= FEW && !wanted.all;
    const of = wanted.kind ? `of kind ${wanted.kind}` : "of this run";
    const shares = measure.owner === "kv_head" ? " Measured per KV head: its query heads share it." : "";
    /** @type {(heads: number | string, step: number | string) => string} */
    const sentence = (heads, step) => `${heads} query heads ${of}${step}.${shares}`;
    count.textContent = sentence(every.length, data.since(measure.clock, state.step));
    count.keep(sentence(widest(data.heads().length), ` (of step ${widest(meta.last_step)})`));
    note.textContent = "";
  };
  return (state, changed) => {
    if (!changed || changed.has("step") || changed.has("layer") || changed.has("head")) list(state);
  };
}

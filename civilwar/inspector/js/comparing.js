// The row below the bar that chooses what is compared with what.

import { html, steady } from "./drawing.js";
import { difference, nullOf } from "./apart.js";
import { widest, withUnit, written } from "./words.js";

/** @import { Context, FieldName, Update } from "./types.d.ts" */

/** @type {[string, string][]} */
const WAYS = [
  ["", "nothing"],
  ["beside", "side by side"],
  ["difference", "as a difference"],
];

/**
 * @param {Context} context
 * @param {string[]} others names of the runs that can be compared with this one
 * @param {() => Context | null} other the other side, once it is there
 * @returns {{ row: HTMLElement, update: Update }}
 */
export function comparing(context, others, other) {
  const { data, store } = context;
  const { meta } = data;
  const row = html(null, "div", { class: "cwi-compare", role: "group", "aria-label": "Comparison" });
  context.bar.after(row);
  /** @type {(label: string) => HTMLElement} */
  const field = (label) => {
    const found = html(row, "label", { class: "cwi-field" });
    html(found, "span", {}, label);
    return found;
  };
  /** @type {(name: FieldName, label: string, options: [string | number, string][]) => HTMLSelectElement} */
  const choice = (name, label, options) => {
    const select = html(field(label), "select", { name });
    for (const [value, text] of options) html(select, "option", { value }, text);
    select.addEventListener("change", () => store.set({ [name]: select.value }));
    return select;
  };
  /** @type {(same: string, count: number, text: (i: number) => string) => [string | number, string][]} */
  const or = (same, count, text) => [
    [-1, same],
    ...Array.from({ length: count }, (_, i) => /** @type {[number, string]} */ ([i, text(i)])),
  ];
  /** @type {Map<FieldName, HTMLSelectElement>} */
  const selects = new Map([["compare", choice("compare", "compare with", WAYS)]]);
  if (others.length) {
    selects.set(
      "run2",
      choice("run2", "run", [
        ["", "this run"],
        ...others.map((name) => /** @type {[string, string]} */ ([name, name])),
      ]),
    );
  }
  selects.set("layer2", choice("layer2", "layer", or("same", meta.n_layers, String)));
  selects.set(
    "head2",
    choice(
      "head2",
      "query head",
      or("same", meta.n_query_heads, (head) => `${head} (KV ${data.kvHead(head)})`),
    ),
  );
  const step = html(field("step"), "input", {
    type: "number",
    name: "step2",
    min: 0,
    max: meta.last_step,
    placeholder: "same",
  });
  step.addEventListener("change", () => store.set({ step2: step.value === "" ? -1 : step.value }));
  const line = html(null, "p", { class: "cwi-against" });
  row.after(line);
  const said = steady(line);

  /** @type {Update} */
  const update = (state) => {
    for (const [name, select] of selects) select.value = String(state[name]);
    step.value = state.step2 < 0 ? "" : String(state.step2);
    row.classList.toggle("cwi-off", !state.compare);
    line.hidden = !state.compare;
    const there = other();
    if (!state.compare || !there) return;
    const two = there.store.state;
    const key = data.measures.has(state.metric) && there.data.measures.has(state.metric) ? state.metric : meta.default;
    const measure = data.measure(key);
    /** @type {(first: number | string, second: number | string, value: string, null_: string) => string} */
    const sentence = (first, second, value, null_) =>
      `A: ${meta.name}, layer ${state.layer}, query head ${state.head}, step ${first}. ` +
      `B: ${there.data.meta.name}, layer ${two.layer}, query head ${two.head}, step ${second}. ` +
      `${measure.label}, A less B: ${value}; null \u00b1${null_}.`;
    const sides = /** @type {const} */ ([
      { data, state },
      { data: there.data, state: two },
    ]);
    const value = withUnit(written(difference(key, ...sides)), measure);
    said.textContent = sentence(state.step, two.step, value, written(nullOf(key, ...sides)));
    const most = widest(meta.last_step);
    said.keep(sentence(most, widest(there.data.meta.last_step), withUnit("\u221288.88", measure), "88.88"));
  };
  return { row, update };
}

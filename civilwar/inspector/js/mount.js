// One inspector in one element: data, state, controls and the views asked for.

import { controls } from "./controls.js";
import { RunData } from "./data.js";
import { dress, html } from "./drawing.js";
import { Store } from "./state.js";
import { VIEWS } from "./views.js";

/** @import { Context, LoadLayer, Packed, Update, Wanted } from "./types.d.ts" */

/** @type {(root: HTMLElement, packed: Packed, loadLayer: LoadLayer, initial: Wanted, views: string[]) => Store} */
export function mount(root, packed, loadLayer, initial, views) {
  const data = new RunData(packed, loadLayer);
  const store = new Store(data, initial);
  root.replaceChildren();
  root.classList.add("cwi");
  dress(root, null, { role: "group", "aria-label": `Head inspector of run ${data.meta.name}` });
  const names = views.filter((name) => Object.hasOwn(VIEWS, name));
  const [bar, shown] = ["cwi-bar", "cwi-views"].map((name) => html(root, "div", { class: name }));
  /** @type {Context} */
  const context = { data, store, root, names, bar, views: shown };
  shown.dataset.count = String(names.length);
  const parts = [controls(context), ...names.map((name) => VIEWS[name](context))];
  /** @type {Update} */
  const update = (state, changed) => parts.forEach((part) => part(state, changed));
  store.listen(update);
  update(store.state);
  return store;
}

// One inspector in one element: data, state, controls and the views asked for.

import { controls } from "./controls.js";
import { RunData } from "./data.js";
import { dress, html } from "./drawing.js";
import { Store } from "./state.js";
import { VIEWS } from "./views.js";

/** @import { Context, LoadLayer, Mounted, Packed, Update, Wanted } from "./types.d.ts" */

/** @type {(root: HTMLElement, packed: Packed, loadLayer: LoadLayer, initial: Wanted, views: string[]) => Mounted} */
export function mount(root, packed, loadLayer, initial, views) {
  const data = new RunData(packed, loadLayer);
  const store = new Store(data, initial);
  root.replaceChildren();
  root.classList.add("cwi");
  dress(root, null, { role: "group", "aria-label": `Head inspector of run ${data.meta.name}` });
  const names = views.filter((name) => Object.hasOwn(VIEWS, name));
  const notice = html(root, "p", { class: "cwi-notice", role: "status" });
  const [bar, shown] = ["cwi-bar", "cwi-views"].map((name) => html(root, "div", { class: name }));
  /** @type {Context} */
  const context = { data, store, root, names, bar, views: shown };
  shown.dataset.count = String(names.length);
  const parts = [controls(context), ...names.map((name) => VIEWS[name](context))];
  /** @type {Update} */
  const update = (state, changed) => parts.forEach((part) => part(state, changed));
  store.listen(update);
  update(store.state);
  /** @type {Mounted["say"]} */
  const say = (text) => {
    notice.textContent = text;
  };
  /** @type {Mounted["follow"]} */
  const follow = (asked) => {
    const { wanted, refused } = store.heed(asked);
    say(refused.length ? `This link asks for what is not there: ${refused.join("; ")}.` : "");
    store.set(wanted);
  };
  return { store, data, follow, say };
}

// One inspector in one element: data, state, controls, and the views asked for, of one side or of two.

import { comparing } from "./comparing.js";
import { controls } from "./controls.js";
import { RunData } from "./data.js";
import { differenceMap, differenceTime } from "./difference.js";
import { dress, html } from "./drawing.js";
import { Other } from "./other.js";
import { NAMES, Store } from "./state.js";
import { tools } from "./tools.js";
import { VIEWS } from "./views.js";

/** @import { Context, Mounted, Packed, Source, State, Update, Wanted } from "./types.d.ts" */

/** A difference stands in the place of these. */
const LESSENED = new Set(["map", "time"]);
/** Views of a whole run, which a second side would only repeat. */
const ONCE = new Set(["find", "training"]);

/** @type {(root: HTMLElement, packed: Packed, source: Source, initial: Wanted, views: string[]) => Mounted} */
export function mount(root, packed, source, initial, views) {
  const data = new RunData(packed, source.loadLayer);
  const store = new Store(data, initial, source.others);
  root.replaceChildren();
  root.classList.add("cwi");
  dress(root, null, { role: "group", "aria-label": `Head inspector of run ${data.meta.name}` });
  const names = views.filter((name) => Object.hasOwn(VIEWS, name));
  const notice = html(root, "p", { class: "cwi-notice", role: "status" });
  const [bar, shown] = ["cwi-bar", "cwi-views"].map((name) => html(root, "div", { class: name }));
  /** @type {Context} */
  const context = { data, store, root, names, bar, views: shown, source };
  shown.dataset.count = String(names.length);
  /** @type {Mounted["say"]} */
  const say = (text) => {
    notice.textContent = text;
  };

  /** The other side, where there is a comparison and its run is there. @type {Context | null} */
  let other = null;
  const compared = comparing(context, source.others, () => other);
  const steer = [controls(context), compared.update];
  tools(context, compared.row, source.addressed ?? false, say);
  /** Views of the first side, and those of the other, which follow its own state. @type {[Update[], Update[]]} */
  let updates = [[], []];
  /** @type {State | null} */
  let before = null;

  const build = () => {
    for (const side of [data, other?.data]) side?.whenThere.splice(0);
    shown.replaceChildren();
    shown.classList.toggle("cwi-two", other !== null);
    updates = [[], []];
    before = null;
    const { compare } = store.state;
    const one = other ? { ...context, side: "A" } : context;
    for (const name of names) {
      if (other && compare === "difference" && LESSENED.has(name)) {
        updates[0].push((name === "map" ? differenceMap : differenceTime)(context, other));
        continue;
      }
      updates[0].push(VIEWS[name](one));
      if (other && !ONCE.has(name)) updates[1].push(VIEWS[name]({ ...other, side: "B" }));
    }
    if (other && compare === "difference" && !names.some((name) => LESSENED.has(name))) {
      updates[0].unshift(differenceMap(context, other), differenceTime(context, other));
    }
  };

  /** Runs that have been asked for. @type {Map<string, RunData>} */
  const runs = new Map([["", data]]);
  /** @type {(name: string) => Promise<void>} */
  const fetchRun = async (name) => {
    say(`${name} is on its way.`);
    try {
      const { packed: there, loadLayer } = await source.loadRun(name);
      runs.set(name, new RunData(there, loadLayer));
      say("");
    } catch (error) {
      return say(`${name} could not be loaded: ${error instanceof Error ? error.message : error}.`);
    }
    if (store.state.run2 === name) arrange();
  };
  /** Makes what stands on the page fit the comparison that is chosen. */
  const arrange = () => {
    const { compare, run2 } = store.state;
    const found = runs.get(run2);
    if (compare && !found) void fetchRun(run2);
    other = compare && found ? { ...context, data: found, store: new Other(store, found) } : null;
    // one scale for both
    for (const side of [data, found]) side?.pair(side === found ? data : (found ?? null));
    build();
    show(store.state);
  };
  /** @type {Update} */
  const show = (state, changed) => {
    for (const update of [...steer, ...updates[0]]) update(state, changed);
    if (!other) return;
    const there = other.store.state;
    const differs = before && new Set(NAMES.filter((name) => there[name] !== before?.[name]));
    before = there;
    for (const update of updates[1]) update(there, changed && differs ? differs : undefined);
  };
  store.listen((state, changed) => {
    if (changed?.has("compare") || (state.compare && changed?.has("run2"))) arrange();
    else show(state, changed);
  });
  arrange();
  /** @type {Mounted["follow"]} */
  const follow = (asked) => {
    const { wanted, refused } = store.heed(asked);
    say(refused.length ? `This link asks for what is not there: ${refused.join("; ")}.` : "");
    store.set(wanted);
  };
  return { store, data, follow, say };
}

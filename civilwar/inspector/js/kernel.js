// In JupyterLab: the state is the widget's synced traits, so Python reads and sets what the reader sees.

import { unpack } from "./codec.js";
import { html } from "./drawing.js";
import { FIELDS } from "./fields.js";
import { mount } from "./mount.js";
import { NAMES } from "./state.js";

/** @import { LoadLayer, State, Wanted } from "./types.d.ts" */

/**
 * What anywidget gives a widget of its model.
 * @typedef {object} Model
 * @property {(trait: string) => any} get
 * @property {(trait: string, value: unknown) => void} set
 * @property {() => void} save_changes
 * @property {(event: string, listener: (...given: any[]) => void) => void} on
 * @property {(event: string, listener: (...given: any[]) => void) => void} off
 * @property {(content: unknown) => void} send
 */

/** Milliseconds in which a kernel that runs answers; a busy one answers later, and what it sends is then shown. */
const PATIENCE = 2000;
const ALONE =
  "No kernel answers: the numbers were saved with this notebook, attention patterns were not. Run this cell again.";

/** @type {(widget: { model: Model, el: HTMLElement }) => Promise<() => void>} */
export async function render({ model, el }) {
  const root = html(el, "div", { class: "cw-inspector" });
  /** @type {Map<number, (block: BlobPart) => void>} */
  const waiting = new Map();
  /** @type {(message: { kind: string, layer: number }, buffers: BlobPart[]) => void} */
  const onMessage = (message, buffers) => {
    answered();
    if (message.kind === "layer") waiting.get(message.layer)?.(buffers[0]);
  };
  let answered = () => {};
  model.on("msg:custom", onMessage);
  /** @type {LoadLayer} */
  const loadLayer = (layer) =>
    new Promise((resolve) => {
      waiting.set(layer, resolve);
      model.send({ kind: "layer", layer });
    });
  const packed = await unpack(model.get("core"));
  // from here on nothing waits, so that what Python sets meanwhile is not overwritten with what was there before
  /** @type {() => Wanted} */
  const wanted = () => Object.fromEntries(NAMES.map((name) => [name, model.get(FIELDS[name].trait)]));
  const { data, store, say } = mount(root, packed, loadLayer, wanted(), model.get("views"));
  answered = () => {
    clearTimeout(patience);
    if (!data.alone) return;
    data.alone = false;
    say("");
    for (const tell of data.whenThere) tell();
  };
  const patience = setTimeout(() => {
    data.alone = true;
    say(ALONE);
    for (const tell of data.whenThere) tell();
  }, PATIENCE);
  model.send({ kind: "hello" });
  let sharing = false;
  /** @type {(state: State) => void} */
  const share = (state) => {
    const differs = NAMES.filter((name) => model.get(FIELDS[name].trait) !== state[name]);
    if (!differs.length) return;
    // every set() tells the listeners below, before the next trait is set
    sharing = true;
    for (const name of differs) model.set(FIELDS[name].trait, state[name]);
    sharing = false;
    model.save_changes();
  };
  share(store.state);
  store.listen(share);
  // all of the state at once: a query beyond one text's end may be right for the next
  const follow = () => {
    if (sharing) return;
    store.set(wanted());
    share(store.state);
  };
  const events = NAMES.map((name) => `change:${FIELDS[name].trait}`);
  for (const event of events) model.on(event, follow);
  return () => {
    clearTimeout(patience);
    model.off("msg:custom", onMessage);
    for (const event of events) model.off(event, follow);
  };
}

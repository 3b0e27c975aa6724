// In JupyterLab: the state is the widget's synced traits, so Python reads and sets what the reader sees.

import { unpack } from "./codec.js";
import { html } from "./drawing.js";
import { FIELDS } from "./fields.js";
import { mount } from "./mount.js";
import { NAMES } from "./state.js";

/** @import { LoadLayer, Mounted, Source, State, Text, Wanted } from "./types.d.ts" */

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
/** Milliseconds between two looks at a run that trains. */
const NEWS = 5000;
const ALONE =
  "No kernel answers: the numbers were saved with this notebook, attention patterns were not. Run this cell again.";

/** @type {(widget: { model: Model, el: HTMLElement }) => Promise<() => void>} */
export async function render({ model, el }) {
  const root = html(el, "div", { class: "cw-inspector" });
  /** What was asked for, by run and block. @type {Map<string, (block: BlobPart) => void>} */
  const waiting = new Map();
  /** Readers' texts that were sent, in order. @type {((answer: { error?: string, block?: BlobPart }) => void)[]} */
  const asked = [];
  /** @type {(message: Record<string, string>, buffers: BlobPart[]) => void} */
  const onMessage = (message, buffers) => {
    answered();
    if (message.kind === "text") asked.shift()?.({ error: message.error, block: buffers[0] });
    if (message.kind === "block") waiting.get(`${message.run}/${message.block}`)?.(buffers[0]);
  };
  let answered = () => {};
  model.on("msg:custom", onMessage);
  /** @type {NonNullable<Source["ownText"]>} */
  const ownText = async (text) => {
    /** @type {Promise<{ error?: string, block?: BlobPart }>} */
    const answer = new Promise((resolve) => asked.push(resolve));
    model.send({ kind: "text", text });
    const { error, block } = await answer;
    if (error || !block) throw new Error(error);
    // the same packing, with what a text has in place of a run's header
    const { meta, arrays } = await unpack(block);
    return { text: /** @type {Text} */ (/** @type {unknown} */ (meta)), weights: arrays.pattern };
  };
  /** @type {(run: string, block: string) => Promise<BlobPart>} */
  const ask = (run, block) =>
    new Promise((resolve) => {
      waiting.set(`${run}/${block}`, resolve);
      model.send({ kind: "block", run, block });
    });
  /** @type {(run: string) => LoadLayer} */
  const layersOf = (run) => (layer) => ask(run, `layer-${layer}`);
  /** @type {Source} */
  const source = {
    loadLayer: layersOf(""),
    others: model.get("others") ?? [],
    ownText: model.get("takes_text") ? ownText : undefined,
    loadRun: async (run) => ({ packed: await unpack(await ask(run, "core")), loadLayer: layersOf(run) }),
  };
  let packed = await unpack(model.get("core"));
  // from here on nothing waits, so that what Python sets meanwhile is not overwritten with what was there before
  /** @type {() => Wanted} */
  const wanted = () => Object.fromEntries(NAMES.map((name) => [name, model.get(FIELDS[name].trait)]));
  /** @type {Mounted} */
  let mounted;
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
  /** @type {(state: Wanted) => void} */
  const begin = (state) => {
    mounted = mount(root, packed, source, state, model.get("views"));
    share(mounted.store.state);
    mounted.store.listen(share);
  };
  begin(wanted());
  /** @type {(alone: boolean) => void} */
  const tellAlone = (alone) => {
    const { data, say } = mounted;
    if (data.alone === alone) return;
    data.alone = alone;
    say(alone ? ALONE : "");
    for (const tell of data.whenThere) tell();
  };
  answered = () => {
    clearTimeout(patience);
    tellAlone(false);
  };
  const patience = setTimeout(() => tellAlone(true), PATIENCE);
  model.send({ kind: "hello" });
  // a run that trains is read again now and then; who looks at its last step goes on with it
  const renew = async () => {
    const before = mounted.store.state;
    const atEnd = before.step === mounted.data.meta.last_step;
    packed = await unpack(model.get("core"));
    begin({ ...mounted.store.state, ...(atEnd ? { step: packed.meta.last_step } : {}) });
  };
  const asking = window.setInterval(() => {
    if (model.get("live")) model.send({ kind: "newer" });
  }, NEWS);
  // all of the state at once: a query beyond one text's end may be right for the next
  const follow = () => {
    if (sharing) return;
    mounted.store.set(wanted());
    share(mounted.store.state);
  };
  const events = NAMES.map((name) => `change:${FIELDS[name].trait}`);
  for (const event of events) model.on(event, follow);
  model.on("change:core", renew);
  return () => {
    clearTimeout(patience);
    clearInterval(asking);
    model.off("msg:custom", onMessage);
    model.off("change:core", renew);
    for (const event of events) model.off(event, follow);
  };
}

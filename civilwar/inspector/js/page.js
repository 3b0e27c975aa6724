// In a published page, without a kernel: the run's data are scripts beside the page, fetched once for all pages that
// show it. Scripts, since a page opened from a file may load those and nothing else.

import { fromBase64, unpack } from "./codec.js";
import { html } from "./drawing.js";
import { mount } from "./mount.js";
import { readAddress, writeAddress } from "./state.js";

/** @import { Source } from "./types.d.ts" */

const BASE = /** @type {HTMLScriptElement} */ (document.currentScript).src.replace(/[^/]*$/, "");

/**
 * A promise and the two ways to settle it: Promise.withResolvers, which some readers' browsers do not have.
 * @template T
 */
class Deferred {
  constructor() {
    /** @type {(value: T) => void} */
    this.resolve = () => {};
    /** @type {(error: Error) => void} */
    this.reject = () => {};
    /** @type {Promise<T>} */
    this.promise = new Promise((resolve, reject) => Object.assign(this, { resolve, reject }));
  }
}

/** @type {Map<string, Deferred<BlobPart>>} */
const deliveries = new Map();

/** @type {(name: string) => Deferred<BlobPart>} */
function awaited(name) {
  const delivery = deliveries.get(name) ?? new Deferred();
  deliveries.set(name, delivery);
  return delivery;
}

// what a data script calls: its name, and its block as base64; in a page that is one file, before anybody asks
Object.assign(window, {
  /** @type {(name: string, block: string) => void} */
  civilwarInspector: (name, block) => awaited(name).resolve(fromBase64(block)),
});

/** @type {(name: string) => Promise<BlobPart>} */
function deliver(name) {
  if (!deliveries.has(name)) {
    const asked = awaited(name);
    const address = name.split("/").map(encodeURIComponent).join("/");
    const script = html(null, "script", { src: `${BASE}inspector/${address}.js` });
    script.onerror = () => {
      deliveries.delete(name);
      asked.reject(new Error(`${script.src} is missing`));
    };
    document.head.append(script);
  }
  return awaited(name).promise;
}

/** @type {Source["loadRun"]} */
async function load(run) {
  const packed = await unpack(await deliver(`${run}/core`));
  return { packed, loadLayer: (layer) => deliver(`${run}/layer-${String(layer).padStart(2, "0")}`) };
}

/**
 * A page has one address: it is the state of its first inspector.
 * @type {(root: HTMLElement, addressed: boolean) => Promise<void>}
 */
async function start(root, addressed) {
  const { run = "", views = "", others = "", ...preset } = root.dataset;
  const { packed, loadLayer } = await load(run);
  const source = { loadLayer, others: others.split(" ").filter(Boolean), loadRun: load, addressed };
  const { store, follow } = mount(root, packed, source, preset, views.split(" "));
  const heed = () => {
    const asked = readAddress(window.location.hash);
    if (!Object.keys(asked).length) return;
    follow(asked);
    root.scrollIntoView({ block: "start" });
  };
  if (addressed) heed();
  root.dataset.ready = "true";
  if (!addressed) return;
  let pending = 0;
  store.listen((state) => {
    // browsers allow a few changes of the address a second
    clearTimeout(pending);
    pending = window.setTimeout(() => window.history.replaceState(null, "", writeAddress(state)), 200);
  });
  window.addEventListener("hashchange", heed);
}

function startAll() {
  /** @type {NodeListOf<HTMLElement>} */
  const roots = document.querySelectorAll(".cw-inspector[data-run]");
  // `?embed`: the first inspector and nothing else, for a frame in somebody's page
  if (new URLSearchParams(window.location.search).has("embed") && roots.length) {
    document.documentElement.classList.add("cwi-embed");
    document.body.append(roots[0]);
  }
  roots.forEach((root, place) => {
    start(root, place === 0).catch((error) => console.warn(`The inspector stays a picture: ${error.message}`));
  });
}

if (document.readyState === "loading") document.addEventListener("DOMContentLoaded", startAll);
else startAll();

// In a published page, without a kernel: the run's data are scripts beside the page, fetched once for all pages that show it.
// Scripts, since a page opened from a file may load those and nothing else.

const BASE = document.currentScript.src.replace(/[^/]*$/, "");
const deliveries = new Map();

// what a data script calls: its name, and its block as base64
window.civilwarInspector = (name, block) => deliveries.get(name)?.resolve(fromBase64(block));

function deliver(name) {
  if (!deliveries.has(name)) {
    const delivery = Promise.withResolvers?.() ?? deferred();
    deliveries.set(name, delivery);
    const script = html(null, "script", { src: `${BASE}inspector/${name}.js` });
    script.onerror = () => {
      deliveries.delete(name);
      delivery.reject(new Error(`${script.src} is missing`));
    };
    document.head.append(script);
  }
  return deliveries.get(name).promise;
}

function deferred() {
  const parts = {};
  parts.promise = new Promise((resolve, reject) => Object.assign(parts, { resolve, reject }));
  return parts;
}

// a page has one address: it is the state of its first inspector
async function start(root, addressed) {
  const { run, views, ...preset } = root.dataset;
  const packed = await unpack(await deliver(`${run}/core`));
  const wanted = addressed ? readAddress(window.location.hash) : {};
  const loadLayer = (layer) => deliver(`${run}/layer-${String(layer).padStart(2, "0")}`);
  const store = mount(root, packed, loadLayer, { ...preset, ...wanted }, views.split(" "));
  if (Object.keys(wanted).length) root.scrollIntoView({ block: "start" });
  root.dataset.ready = "true";
  if (!addressed) return;
  let pending;
  store.listen((state) => {
    // browsers allow a few changes of the address a second
    clearTimeout(pending);
    pending = setTimeout(() => window.history.replaceState(null, "", writeAddress(state)), 200);
  });
  window.addEventListener("hashchange", () => {
    const asked = readAddress(window.location.hash);
    if (!Object.keys(asked).length) return;
    store.set(asked);
    root.scrollIntoView({ block: "start" });
  });
}

function startAll() {
  document.querySelectorAll(".cw-inspector[data-run]").forEach((root, place) => {
    start(root, place === 0).catch((error) => console.warn(`The inspector stays a picture: ${error.message}`));
  });
}

if (document.readyState === "loading") document.addEventListener("DOMContentLoaded", startAll);
else startAll();

// In JupyterLab: the state is the widget's synced traits, so Python reads and sets what the reader sees.

const TRAITS = { step: "step", layer: "layer", query_head: "head", metric: "metric", text: "text", query: "query" };

async function render({ model, el }) {
  const root = html(el, "div", { class: "cw-inspector" });
  const waiting = new Map();
  const onMessage = (message, buffers) => {
    if (message.kind === "layer") waiting.get(message.layer)?.(buffers[0]);
  };
  model.on("msg:custom", onMessage);
  const loadLayer = (layer) =>
    new Promise((resolve) => {
      waiting.set(layer, resolve);
      model.send({ kind: "layer", layer });
    });
  const initial = Object.fromEntries(Object.entries(TRAITS).map(([trait, field]) => [field, model.get(trait)]));
  const store = mount(root, await unpack(model.get("core")), loadLayer, initial, model.get("views"));
  const share = (state, changed) => {
    for (const [trait, field] of Object.entries(TRAITS)) if (!changed || changed.has(field)) model.set(trait, state[field]);
    model.save_changes();
  };
  share(store.state);
  store.listen(share);
  const listeners = Object.entries(TRAITS).map(([trait, field]) => [`change:${trait}`, () => store.set({ [field]: model.get(trait) })]);
  for (const [event, listener] of listeners) model.on(event, listener);
  return () => {
    model.off("msg:custom", onMessage);
    for (const [event, listener] of listeners) model.off(event, listener);
  };
}

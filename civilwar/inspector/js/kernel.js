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
  const packed = await unpack(model.get("core"));
  // from here on nothing waits, so that what Python sets meanwhile is not overwritten with what was there before
  const wanted = () => Object.fromEntries(Object.entries(TRAITS).map(([trait, field]) => [field, model.get(trait)]));
  const store = mount(root, packed, loadLayer, wanted(), model.get("views"));
  let sharing = false;
  const share = (state) => {
    const differs = Object.entries(TRAITS).filter(([trait, field]) => model.get(trait) !== state[field]);
    if (!differs.length) return;
    // every set() tells the listeners below, before the next trait is set
    sharing = true;
    for (const [trait, field] of differs) model.set(trait, state[field]);
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
  const listeners = Object.keys(TRAITS).map((trait) => [`change:${trait}`, follow]);
  for (const [event, listener] of listeners) model.on(event, listener);
  return () => {
    model.off("msg:custom", onMessage);
    for (const [event, listener] of listeners) model.off(event, listener);
  };
}

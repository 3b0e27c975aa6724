// The bar above the views: step with play and pause, layer, query head, measure, text. And a line that says what is selected.

const PLAY_MS = 60;

function controls(context) {
  const { data, store, bar } = context;
  const { meta } = data;
  const field = (name) => html(html(bar, "label", { class: "cwi-field" }), "span", {}, name).parentElement;

  const play = html(bar, "button", { type: "button", class: "cwi-play" }, "Play");
  const slider = html(html(bar, "label", { class: "cwi-field cwi-slider" }), "input", { type: "range", min: 0, max: meta.last_step, step: 1, name: "step" });
  const shownStep = html(slider.parentElement, "output", {});
  slider.setAttribute("aria-label", "step");
  slider.addEventListener("input", () => store.set({ step: slider.value }));

  const choice = (name, label, options) => {
    const select = html(field(label), "select", { name });
    for (const [value, text] of options) html(select, "option", { value }, text);
    select.addEventListener("change", () => store.set({ [name]: select.value }));
    return select;
  };
  const range = (count, text) => [...Array(count).keys()].map((i) => [i, text(i)]);
  const selects = {
    layer: choice("layer", "layer", range(meta.n_layers, String)),
    head: choice("head", "query head", range(meta.n_query_heads, (head) => `${head} (KV ${data.kvHead(head)})`)),
    metric: choice("metric", "measure", [...data.measures.values()].map((measure) => [measure.key, measure.label]).concat(data.hasKinds ? [["kind", "kind of head"]] : [])),
  };
  if (data.hasPatterns && meta.texts.length > 1 && context.names.includes("pattern")) selects.text = choice("text", "text", range(meta.texts.length, (text) => String(text + 1)));

  const said = html(context.root, "p", { class: "cwi-said", "aria-live": "polite" });
  bar.after(said);
  const announce = (state) => {
    const at = (key) => written(data.value(data.measures.get(key), state.step, state.layer, state.head));
    const kind = data.hasKinds ? `${data.kind(state.step, state.layer, state.head).name}; ` : "";
    const snapshot = data.tickStep(data.measures.get("entropy_normalised").clock, state.step);
    const from = snapshot === state.step ? "" : ` (snapshot of step ${snapshot})`;
    said.textContent = `Layer ${state.layer}, query head ${state.head} (KV head ${data.kvHead(state.head)}) at step ${state.step}: ${kind}key norm ${at("norm_mean")}, attention entropy ${at("entropy_normalised")} of 1${from}.`;
  };

  let timer = null;
  const stop = () => {
    clearInterval(timer);
    timer = null;
    play.textContent = "Play";
    said.setAttribute("aria-live", "polite");
    announce(store.state);
  };
  // one pass over the run in about ten seconds, whatever its length
  const stride = Math.max(1, Math.round(meta.last_step / 160));
  play.disabled = meta.last_step === 0;
  play.addEventListener("click", () => {
    if (timer) return stop();
    if (store.state.step >= meta.last_step) store.set({ step: 0 });
    play.textContent = "Pause";
    // a screen reader would drown while the slider plays
    said.setAttribute("aria-live", "off");
    timer = setInterval(() => {
      // a widget that left the page plays no more
      if (store.state.step >= meta.last_step || !bar.isConnected) return stop();
      store.set({ step: store.state.step + stride });
    }, PLAY_MS);
  });

  return (state) => {
    slider.value = state.step;
    slider.setAttribute("aria-valuetext", `step ${state.step} of ${meta.last_step}`);
    shownStep.textContent = `step ${state.step}`;
    for (const [name, select] of Object.entries(selects)) select.value = state[name];
    announce(state);
  };
}

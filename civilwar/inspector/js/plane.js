// Plane: attention entropy against key norm of every query head, the report's central picture, with the selected head's trail.

function planeView(context) {
  const { data, store } = context;
  const { meta } = data;
  const [across, up] = [data.measures.get("norm_mean"), data.measures.get("entropy_normalised")];
  const [width, height] = [430, 300];
  const box = { left: 46, right: width - 10, top: 12, bottom: height - 36 };
  const padded = (measure) => {
    const [low, high] = data.extent(measure);
    return [low - (high - low) * 0.04, high + (high - low) * 0.04];
  };
  const [xRange, yRange] = [padded(across), padded(up)];
  const x = scale(xRange, [box.left, box.right]);
  const y = scale(yRange, [box.bottom, box.top]);
  const rows = () => {
    const { step } = store.state;
    const recorded = [across, up].map((measure) => data.tickStep(measure.clock, step));
    const points = heads(meta).map(([layer, head]) => [...recorded, layer, head, data.kvHead(head), data.value(across, step, layer, head), data.value(up, step, layer, head)]);
    return [["step_of_norm", "step_of_entropy", "layer", "query_head", "kv_head", across.key, up.key], ...points];
  };
  const { picture, note, heading } = panel(context, { name: "plane", title: "Norm and focus", width, height, rows });
  axes(picture, x, y, box, { x: `${across.label} (of the KV head)`, y: up.label, xRange, yRange });
  const trail = svg(picture, "path", { fill: "none", class: "cwi-trail" });
  const dots = heads(meta).map(([layer, head]) => {
    const dot = svg(picture, "circle", { class: "cwi-point" });
    dot.addEventListener("click", () => store.set({ layer, head }));
    svg(dot, "title", {}, `layer ${layer}, query head ${head}`);
    return { layer, head, dot };
  });

  const move = ({ step }) => {
    for (const { layer, head, dot } of dots) {
      const [norm, entropy] = [data.value(across, step, layer, head), data.value(up, step, layer, head)];
      const there = !Number.isNaN(norm) && !Number.isNaN(entropy);
      dress(dot, null, { cx: there ? x(norm).toFixed(1) : 0, cy: there ? y(entropy).toFixed(1) : 0, visibility: there ? "visible" : "hidden" });
    }
    heading.textContent = `Key norm at step ${data.tickStep(across.clock, step)}, attention entropy at snapshot ${data.tickStep(up.clock, step)}`;
  };
  const choose = ({ layer, head }) => {
    for (const dot of dots) {
      const same = dot.layer === layer;
      dress(dot.dot, null, {
        r: same && dot.head === head ? 7 : same ? 4.5 : 3,
        fill: same ? meta.kv_colors[data.kvHead(dot.head)] : meta.null_color,
        class: same && dot.head === head ? "cwi-point cwi-chosen" : same ? "cwi-point" : "cwi-point cwi-other",
      });
    }
    const steps = meta.clocks[up.clock];
    trail.setAttribute("d", path(steps.map((step) => data.value(across, step, layer, head)), steps.map((step) => data.value(up, step, layer, head)), x, y));
    trail.setAttribute("stroke", meta.kv_colors[data.kvHead(head)]);
    note.textContent = `Colour: layer ${layer}, by KV head; grey: the other layers. Line: the way of query head ${head}. Query heads of one KV head share its norm.`;
    picture.setAttribute("aria-label", `Every query head by key norm and attention entropy, with the way of head ${head} of layer ${layer} over training.`);
  };
  return (state, changed) => {
    if (!changed || changed.has("step")) move(state);
    if (!changed || changed.has("layer") || changed.has("head")) choose(state);
  };
}

// Gain: the layer's gain by RoPE frequency, golden dimensions marked, and how the head's key energy lies on it.

function gainView(context) {
  const { data, store } = context;
  const { meta } = data;
  const [width, height] = [430, 300];
  const upper = { left: 46, right: width - 10, top: 12, bottom: 138 };
  const lower = { left: 46, right: width - 10, top: 158, bottom: height - 36 };
  const gains = { key: "gain" };
  const hasGain = data.arrays.gain.data.some(Number.isFinite);
  const [low, high] = hasGain ? data.extent(gains) : [0.9, 1.1];
  const gainRange = [Math.min(low, 0.9) - 0.05, Math.max(high, 1.1) + 0.05];
  const energyRange = [0, data.extent({ key: "energy" })[1] * 1.03];
  const x = scale([0, meta.d_head], [upper.left, upper.right]);
  const bar = (upper.right - upper.left) / meta.d_head;
  const y = scale(gainRange, [upper.bottom, upper.top]);
  // the square root, since a few dimensions carry many times the rest
  const root = scale([0, Math.sqrt(energyRange[1])], [lower.bottom, lower.top]);
  const energyAt = (value) => root(Math.sqrt(Math.max(value, 0)));
  const energyOf = (layer, head, dimension, step) => {
    const [, layers, kvHeads, size] = data.arrays.energy.shape;
    return data.arrays.energy.data[((data.tick(meta.energy_clock, step) * layers + layer) * kvHeads + data.kvHead(head)) * size + dimension];
  };
  // dimensions in the order of RoPE frequency, fastest first, the two of a pair beside each other
  const order = (layer) => [...Array(meta.d_head).keys()].sort((a, b) => rank(layer, a) - rank(layer, b) || a - b);
  const rank = (layer, dimension) => data.arrays.rank.data[layer * meta.d_head + dimension];
  const golden = (layer, dimension) => data.arrays.golden.data[layer * meta.d_head + dimension] === 1;
  const rows = () => {
    const { step, layer, head } = store.state;
    const recorded = data.tickStep(meta.energy_clock, step);
    const header = ["recorded_step", "layer", "kv_head", "dimension", "frequency_rank", "wavelength_tokens", "gain", "golden", "energy"];
    return [header, ...order(layer).map((dimension) => [
      recorded, layer, data.kvHead(head), dimension, rank(layer, dimension), data.arrays.wavelength.data[rank(layer, dimension)],
      data.at("gain", data.tick(meta.gain_clock, step), layer, dimension), Number(golden(layer, dimension)), energyOf(layer, head, dimension, step),
    ])];
  };
  const { picture, note, heading } = panel(context, { name: "gain", title: "Gain", width, height, rows });
  svg(picture, "text", { x: 11, y: (upper.top + upper.bottom) / 2, "text-anchor": "middle", class: "cwi-title", transform: `rotate(-90 11 ${(upper.top + upper.bottom) / 2})` }, "gain");
  svg(picture, "text", { x: 11, y: (lower.top + lower.bottom) / 2, "text-anchor": "middle", class: "cwi-title", transform: `rotate(-90 11 ${(lower.top + lower.bottom) / 2})` }, "key energy");
  for (const tick of ticks(gainRange, 4)) level(picture, upper, y(tick), label(tick));
  for (const tick of [0, 1, 4, 9, 16, 25].filter((value) => value <= energyRange[1])) level(picture, lower, energyAt(tick), label(tick));
  const wavelengths = data.arrays.wavelength.data;
  for (let pair = 0; pair < wavelengths.length; pair += Math.max(1, Math.round(wavelengths.length / 8))) {
    if (Number.isNaN(wavelengths[pair])) continue;
    svg(picture, "text", { x: x(2 * pair + 1), y: lower.bottom + 13, "text-anchor": "middle" }, wavelengths[pair] >= 1000 ? `${(wavelengths[pair] / 1000).toFixed(0)}k` : wavelengths[pair].toFixed(0));
  }
  svg(picture, "text", { x: (upper.left + upper.right) / 2, y: lower.bottom + 27, "text-anchor": "middle", class: "cwi-title" }, "RoPE wavelength (tokens a turn)");
  const beyond = meta.context ? [...wavelengths].findIndex((wavelength) => wavelength > meta.context) : -1;
  if (beyond >= 0) svg(picture, "rect", { x: x(2 * beyond), y: upper.top, width: upper.right - x(2 * beyond), height: lower.bottom - upper.top, class: "cwi-band" });
  const bars = [...Array(meta.d_head).keys()].map((place) => ({
    gain: svg(picture, "rect", { x: x(place) + bar * 0.1, width: bar * 0.8 }),
    energy: svg(picture, "rect", { x: x(place) + bar * 0.1, width: bar * 0.8 }),
    mark: svg(picture, "path", { d: `M${x(place) + bar / 2} ${upper.top - 3}l3 -6h-6z`, class: "cwi-golden" }),
  }));
  svg(picture, "line", { x1: upper.left, x2: upper.right, y1: y(1), y2: y(1), class: "cwi-even" });
  svg(picture, "line", { x1: lower.left, x2: lower.right, y1: energyAt(1), y2: energyAt(1), class: "cwi-even" });

  const draw = ({ step, layer, head }) => {
    const tick = data.tick(meta.gain_clock, step);
    const dimensions = order(layer);
    bars.forEach((entry, place) => {
      const dimension = dimensions[place];
      const value = data.at("gain", tick, layer, dimension);
      const [top, bottom] = value >= 1 ? [y(value), y(1)] : [y(1), y(value)];
      dress(entry.gain, null, hasGain && !Number.isNaN(value) ? { y: top.toFixed(1), height: Math.max(bottom - top, 0.5).toFixed(1), fill: value >= 1 ? meta.more : meta.less } : { height: 0 });
      const energy = energyAt(energyOf(layer, head, dimension, step));
      dress(entry.energy, null, { y: energy.toFixed(1), height: Math.max(lower.bottom - energy, 0).toFixed(1), fill: meta.kv_colors[data.kvHead(head)] });
      entry.mark.setAttribute("visibility", golden(layer, dimension) ? "visible" : "hidden");
    });
    const count = dimensions.filter((dimension) => golden(layer, dimension)).length;
    heading.textContent = hasGain ? `Layer ${layer}: its gain, and the keys of KV head ${data.kvHead(head)} before it` : `Layer ${layer} has no gain; energy of KV head ${data.kvHead(head)}`;
    const when = meta.last_step > 0 ? `Snapshot of step ${data.tickStep(meta.energy_clock, step)}. Triangles: ${count} golden dimensions, by the end of training.` : `Triangles: ${count} golden dimensions.`;
    note.textContent = `${when} Energy 1 is an even share.${beyond >= 0 ? ` Grey: wavelengths above the context of ${meta.context} tokens.` : ""}`;
    picture.setAttribute("aria-label", `Gain of the ${meta.d_head} dimensions of layer ${layer} by RoPE wavelength, and the key energy of KV head ${data.kvHead(head)} on them, at step ${step}.`);
  };
  return (state, changed) => {
    if (!changed || ["step", "layer", "head"].some((field) => changed.has(field))) draw(state);
  };
}

function level(parent, box, at, text) {
  svg(parent, "line", { x1: box.left, x2: box.right, y1: at, y2: at, class: "cwi-grid" });
  svg(parent, "text", { x: box.left - 5, y: at + 3.5, "text-anchor": "end" }, text);
}

// Map: every query head of every layer, grouped under its KV head, coloured by a measure or by kind.

const CELL = { width: 40, height: 26, gap: 8 };

function mapView(context) {
  const { data, store } = context;
  const { meta } = data;
  const cell = { ...CELL, height: meta.n_layers > 10 ? 15 : CELL.height };
  const left = 34;
  const top = 34;
  const place = (head) => left + head * cell.width + data.kvHead(head) * cell.gap;
  const width = place(meta.n_query_heads - 1) + cell.width + 4;
  const height = top + meta.n_layers * cell.height + 4;
  const rows = () => {
    const { step, metric } = store.state;
    const recorded = data.tickStep(metric === "kind" ? meta.kind_clock : data.measures.get(metric).clock, step);
    const header = ["recorded_step", "layer", "query_head", "kv_head", metric];
    return [header, ...heads(meta).map(([layer, head]) => [recorded, layer, head, data.kvHead(head), shown(layer, head)])];
  };
  const { picture, note, heading } = panel(context, { name: "map", title: "All heads", width, height, rows });
  dress(picture, null, { role: "grid", "aria-label": "All heads: one row a layer, one cell a query head. Arrow keys select." });

  const groups = svg(picture, "g", { "aria-hidden": "true" });
  for (let kvHead = 0; kvHead < meta.n_kv_heads; kvHead++) {
    const first = place(kvHead * data.groupSize);
    const last = place((kvHead + 1) * data.groupSize - 1) + cell.width;
    svg(groups, "text", { x: (first + last) / 2, y: 12, "text-anchor": "middle" }, `KV ${kvHead}`);
    svg(groups, "rect", { x: first, y: 16, width: last - first - 2, height: 3, fill: meta.kv_colors[kvHead] });
  }
  const names = svg(picture, "g", { role: "row" });
  svg(names, "text", { x: left - 5, y: 30, "text-anchor": "end", class: "cwi-small", role: "columnheader" }, "layer");
  for (let head = 0; head < meta.n_query_heads; head++) {
    svg(names, "text", { x: place(head) + cell.width / 2 - 1, y: 30, "text-anchor": "middle", class: "cwi-small", role: "columnheader" }, `q${head}`);
  }
  const cells = [];
  for (let layer = 0; layer < meta.n_layers; layer++) {
    const row = svg(picture, "g", { role: "row" });
    const y = top + layer * cell.height;
    svg(row, "text", { x: left - 5, y: y + cell.height / 2 + 3, "text-anchor": "end", class: "cwi-small", role: "rowheader" }, `L${layer}`);
    for (let head = 0; head < meta.n_query_heads; head++) {
      const group = svg(row, "g", { role: "gridcell", tabindex: -1, class: "cwi-cell" });
      svg(group, "rect", { x: place(head), y, width: cell.width - 2, height: cell.height - 2, class: "cwi-ground", rx: 2 });
      const fill = svg(group, "rect", { x: place(head), y, width: cell.width - 2, height: cell.height - 2, rx: 2 });
      const code = svg(group, "text", { x: place(head) + cell.width / 2 - 1, y: y + cell.height / 2 + 3, "text-anchor": "middle", class: "cwi-small cwi-code" });
      group.addEventListener("click", () => store.set({ layer, head }));
      cells.push({ layer, head, group, fill, code });
    }
  }
  const frame = svg(picture, "rect", { width: cell.width - 2, height: cell.height - 2, rx: 2, class: "cwi-selected", role: "presentation" });

  picture.addEventListener("keydown", (event) => {
    const moves = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };
    const move = moves[event.key];
    if (!move) return;
    event.preventDefault();
    const { layer, head } = store.state;
    store.set({ layer: layer + move[0], head: head + move[1] });
    cells[store.state.layer * meta.n_query_heads + store.state.head].group.focus();
  });

  const shown = (layer, head) => {
    const { step, metric } = store.state;
    return metric === "kind" ? data.kind(step, layer, head).name : data.value(data.measures.get(metric), step, layer, head);
  };

  const paint = ({ step, metric }) => {
    const measure = data.measures.get(metric);
    for (const { layer, head, group, fill, code } of cells) {
      const value = shown(layer, head);
      let [color, opacity, text] = [meta.more, 0, ""];
      if (metric === "kind") {
        const kind = data.kind(step, layer, head);
        [color, opacity, text] = [kind.color, 1, kind.code];
      } else if (Number.isNaN(value)) {
        text = "\u2013";
      } else {
        const band = data.band(measure, step, layer);
        if (band) {
          const off = (value - (band[0] + band[1]) / 2) / data.deviation(measure);
          [color, opacity] = [off < 0 ? meta.less : meta.more, Math.min(Math.abs(off), 1)];
        } else {
          const [low, high] = data.extent(measure);
          opacity = (value - low) / (high - low);
        }
      }
      dress(fill, null, { fill: color, "fill-opacity": opacity.toFixed(3) });
      if (code.textContent !== text) code.textContent = text;
      const said = metric === "kind" ? value : written(value);
      group.setAttribute("aria-label", `Layer ${layer}, query head ${head}, KV head ${data.kvHead(head)}: ${said}`);
    }
    heading.textContent = metric === "kind" ? "All heads by kind" : `All heads: ${measure.label}`;
    // white letters stand on a kind's colour, a dash for an undefined value stands on the page's own ground
    picture.classList.toggle("cwi-of-kinds", metric === "kind");
    note.replaceChildren();
    if (metric === "kind") return keyOfKinds(note, meta);
    if (!measure.null) return html(note, "span", {}, `Darker is more; from ${written(data.extent(measure)[0])} to ${written(data.extent(measure)[1])}.`);
    const sample = (color) => html(note, "span", { class: "cwi-sample", style: `background:${color}`, "aria-hidden": "true" });
    sample(meta.less);
    html(note, "span", {}, "below and ");
    sample(meta.more);
    html(note, "span", {}, `above the null (${measure.null.says}); full colour at \u00b1${written(data.deviation(measure))}.`);
    if (measure.owner === "kv_head") html(note, "span", {}, " Measured per KV head: its query heads share it.");
  };

  return (state, changed) => {
    if (!changed || ["step", "metric"].some((field) => changed.has(field))) paint(state);
    if (!changed || ["layer", "head"].some((field) => changed.has(field))) {
      dress(frame, null, { x: place(state.head), y: top + state.layer * cell.height });
      for (const { layer, head, group } of cells) {
        const selected = layer === state.layer && head === state.head;
        dress(group, null, { "aria-selected": selected, tabindex: selected ? 0 : -1 });
      }
    }
  };
}

function heads(meta) {
  const every = [];
  for (let layer = 0; layer < meta.n_layers; layer++) for (let head = 0; head < meta.n_query_heads; head++) every.push([layer, head]);
  return every;
}

function keyOfKinds(note, meta) {
  for (const kind of meta.kinds) {
    const entry = html(note, "span", { class: "cwi-key" });
    html(entry, "span", { class: "cwi-sample", style: `background:${kind.color}`, "aria-hidden": "true" });
    html(entry, "span", {}, `${kind.code} ${kind.name}`);
  }
}

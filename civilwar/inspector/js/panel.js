// A view's frame: title, SVG with a spoken description, a note below, and the two ways to take it away.

const INLINED = ["fill", "fill-opacity", "stroke", "stroke-width", "stroke-dasharray", "stroke-opacity", "opacity", "font-size", "font-family", "font-weight", "text-anchor", "text-decoration-line", "visibility"];

function panel(context, { name, title, width, height, rows }) {
  const figure = html(context.views, "figure", { class: `cwi-panel cwi-${name}`, "data-view": name });
  const head = html(figure, "div", { class: "cwi-head" });
  const heading = html(head, "p", { class: "cwi-heading" }, title);
  const picture = svg(figure, "svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": title });
  const note = html(figure, "figcaption", { class: "cwi-note" });
  const save = html(head, "span", { class: "cwi-save" });
  const button = (text, what, act) => {
    const node = html(save, "button", { type: "button", "aria-label": `Save ${what} as ${text}` }, text);
    node.addEventListener("click", act);
  };
  const file = (ending) => {
    const { layer, head: queryHead, step } = context.store.state;
    return `${context.data.meta.name}_${name}_layer${layer}_head${queryHead}_step${step}.${ending}`;
  };
  button("SVG", title.toLowerCase(), () => download(file("svg"), "image/svg+xml", standalone(picture, figure)));
  button("CSV", `the data of ${title.toLowerCase()}`, () => download(file("csv"), "text/csv", csv(rows())));
  return { figure, heading, picture, note };
}

function standalone(picture, figure) {
  const copy = picture.cloneNode(true);
  const originals = [picture, ...picture.querySelectorAll("*")];
  const copies = [copy, ...copy.querySelectorAll("*")];
  originals.forEach((original, i) => {
    const style = getComputedStyle(original);
    copies[i].setAttribute("style", INLINED.map((property) => `${property}:${style.getPropertyValue(property)}`).join(";"));
  });
  const { width, height } = picture.viewBox.baseVal;
  dress(copy, null, { xmlns: SVG_NAMESPACE, width, height });
  const paper = svg(null, "rect", { width, height, fill: paperOf(figure) });
  copy.prepend(paper);
  return new XMLSerializer().serializeToString(copy);
}

// the first ground that is not transparent, so that a figure saved in the dark stays legible
function paperOf(node) {
  for (let at = node; at; at = at.parentElement) {
    const ground = getComputedStyle(at).backgroundColor;
    if (ground && ground !== "transparent" && !/,\s*0\)$/.test(ground)) return ground;
  }
  return "white";
}

function csv(rows) {
  const cell = (value) => {
    const text = typeof value === "number" ? (Number.isNaN(value) ? "" : String(Number(value.toPrecision(6)))) : String(value ?? "");
    return /[",\n\r]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
  };
  return `${rows.map((row) => row.map(cell).join(",")).join("\r\n")}\r\n`;
}

function download(name, type, content) {
  const address = URL.createObjectURL(new Blob([content], { type }));
  const link = html(document.body, "a", { href: address, download: name, hidden: "" });
  link.click();
  link.remove();
  // the browser reads the block after the click
  setTimeout(() => URL.revokeObjectURL(address), 1000);
}

// One inspector in one element: data, state, controls and the views asked for.

const VIEWS = { map: mapView, time: timeView, pattern: patternView, plane: planeView, gain: gainView };

function mount(root, packed, loadLayer, initial = {}, views = Object.keys(VIEWS)) {
  const data = new RunData(packed, loadLayer);
  const store = new Store(data, initial);
  root.replaceChildren();
  root.classList.add("cwi");
  dress(root, null, { role: "group", "aria-label": `Head inspector of run ${data.meta.name}` });
  const names = views.filter((name) => name in VIEWS);
  const context = { data, store, root, names, bar: html(root, "div", { class: "cwi-bar" }), views: html(root, "div", { class: "cwi-views" }) };
  context.views.dataset.count = names.length;
  const parts = [controls(context), ...names.map((name) => VIEWS[name](context))];
  const update = (state, changed) => parts.forEach((part) => part(state, changed));
  store.listen(update);
  update(store.state);
  return store;
}

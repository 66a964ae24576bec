// The pointer, the keys, and the beginning.
function setTheme(name) {
  document.documentElement.dataset.theme = name;
  document.documentElement.style.colorScheme = name;
}

const boxOf = (event) => {
  const element = event.target.closest && event.target.closest(".box");
  return element ? find(element.dataset.id) : null;
};

let drag = null;
at("stage").addEventListener("pointerdown", (event) => {
  drag = { x: event.clientX, y: event.clientY, moved: false, thing: boxOf(event) };
});
addEventListener("pointermove", (event) => {
  if (!drag) return;
  const [dx, dy] = [event.clientX - drag.x, event.clientY - drag.y];
  if (!drag.moved && Math.hypot(dx, dy) < 4) return;
  drag.moved = true;
  at("stage").classList.add("drags");
  [state.x, state.y, drag.x, drag.y] = [state.x + dx, state.y + dy, event.clientX, event.clientY];
  move();
});
addEventListener("pointerup", () => {
  if (drag && !drag.moved) select(drag.thing ? drag.thing.id : null);
  drag = null;
  at("stage").classList.remove("drags");
});
at("stage").addEventListener("dblclick", (event) => {
  const thing = boxOf(event);
  if (thing) toggle(thing);
});
at("stage").addEventListener("wheel", (event) => {
  event.preventDefault();
  const { left, top } = at("stage").getBoundingClientRect();
  zoom(Math.exp(-event.deltaY * (event.deltaMode ? 0.05 : 0.0015)), event.clientX - left, event.clientY - top);
}, { passive: false });

const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
const KEYS = {
  "/": () => at("search").focus(),
  "[": () => setPass(state.pass - 1),
  "]": () => setPass(state.pass + 1),
  "+": () => zoom(1.25, at("stage").clientWidth / 2, at("stage").clientHeight / 2),
  "=": () => KEYS["+"](),
  "-": () => zoom(0.8, at("stage").clientWidth / 2, at("stage").clientHeight / 2),
  "0": fit,
  f: () => fold(!state.folded),
  o: openAll,
  c: () => { state.open.clear(); render(); fit(); },
  t: () => setTheme(document.documentElement.dataset.theme === "dark" ? "light" : "dark"),
  "?": () => at("keys").showModal(),
  Enter: () => { const thing = state.selected !== null && find(state.selected); if (thing) toggle(thing); },
  " ": () => KEYS.Enter(),
  Escape: () => { const thing = state.selected !== null && find(state.selected); select(thing && thing.parent && thing.parent.parent ? thing.parent.id : null); },
};
addEventListener("keydown", (event) => {
  const typed = event.target instanceof HTMLElement && event.target.closest("input, select, button, dialog, summary");
  if (typed || event.ctrlKey || event.metaKey || event.altKey) return;
  if (ARROWS[event.key]) step(...ARROWS[event.key]);
  else if (KEYS[event.key]) KEYS[event.key]();
  else return;
  event.preventDefault();
});

at("search").addEventListener("input", (event) => search(event.target.value));
at("search").addEventListener("keydown", (event) => {
  if (event.key === "Escape") {
    event.target.value = "";
    search("");
    at("stage").focus();
  } else if (event.key === "Enter" && state.hits[state.hit]) {
    reveal(state.hits[state.hit].id);
    at("stage").focus();
  } else if (event.key === "ArrowDown" || event.key === "ArrowUp") {
    const next = state.hit + (event.key === "ArrowDown" ? 1 : -1);
    state.hit = Math.max(0, Math.min(state.hits.length - 1, next));
    listHits(true);
    event.preventDefault();
  }
});
at("fold").addEventListener("click", () => KEYS.f());
at("all").addEventListener("click", () => KEYS.o());
at("none").addEventListener("click", () => KEYS.c());
at("fit").addEventListener("click", fit);
at("theme").addEventListener("click", () => KEYS.t());
at("help").addEventListener("click", () => KEYS["?"]());
at("slider").addEventListener("input", (event) => setPass(Number(event.target.value)));
at("pass").addEventListener("change", (event) => setPass(Number(event.target.value)));

at("name").textContent = data.name;
document.title = data.name + " · Heddle";
data.passes.forEach((pass, n) => (add(at("pass"), "option", pass.name).value = String(n)));
at("slider").max = String(data.passes.length - 1);
at("pass").value = at("slider").value = String(state.pass);
setTheme(matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light");
render();
fit();
about();

// The panel beside the graph.
function add(parent, name, text) {
  const element = document.createElement(name);
  if (text !== undefined) element.textContent = text;
  parent.appendChild(element);
  return element;
}

function bytes(count) {
  const units = ["B", "kB", "MB", "GB", "TB"];
  let unit = 0;
  while (count >= 1000 && unit < 4) [count, unit] = [count / 1000, unit + 1];
  return (unit ? count.toFixed(2) : count) + " " + units[unit];
}

function links(parent, title, nodes, pass) {
  if (!nodes.length) return;
  add(parent, "h2", title);
  nodes.slice(0, 40).forEach((node) => {
    const link = add(parent, "button", node.path + " · " + node.part.o);
    link.className = "link";
    link.addEventListener("click", () => {
      if (pass !== undefined) setPass(pass);
      reveal(node.id);
    });
  });
  if (nodes.length > 40) add(parent, "p", "and " + (nodes.length - 40) + " more").className = "dim";
}

function details() {
  const panel = at("details");
  panel.replaceChildren();
  const thing = state.selected !== null ? find(state.selected) : null;
  if (!thing) return;
  const part = thing.part;
  add(panel, "h2", thing.path);
  const facts = add(panel, "dl");
  const fact = (name, value) => {
    if (value === undefined || value === "" || value === null) return;
    add(facts, "dt", name);
    add(facts, "dd", String(value));
  };
  if (isGroup(thing)) {
    fact("group", part.s + " nodes");
    fact("devices", (part.v || []).map((device) => data.devices[device] ?? device).join(", "));
    const box = shown.find((box) => box.thing.id === thing.id);
    if (box && box.times > 1) fact("stands for", box.times + " equal layers");
    const open = add(panel, "button", state.open.has(thing.path) ? "Close" : "Open");
    open.addEventListener("click", () => toggle(thing));
    return;
  }
  fact("operator", part.o);
  fact("kind", ROLES[part.r || 0]);
  fact("type", part.t);
  fact("attributes", part.a);
  fact("device", part.r ? "" : data.devices[part.d || 0]);
  fact("this pass", FATES[part.f || 0]);
  fact("reference", references(thing).join(", "));
  const inputs = (part.i || []).map((ref) => resolve(thing.parent, ref)).filter(Boolean);
  links(panel, "Operands", inputs);
  links(panel, "Users", index(state.pass).users.get(thing.id) || []);
  if (state.pass > 0) links(panel, "Made of, before " + data.passes[state.pass].name, related(thing, state.pass - 1), state.pass - 1);
  if (state.pass + 1 < data.passes.length) {
    links(panel, "Went into, by " + data.passes[state.pass + 1].name, related(thing, state.pass + 1), state.pass + 1);
  }
}

function table(parent, heads, rows) {
  const element = add(parent, "table"), head = add(element, "tr");
  heads.forEach((name) => add(head, "th", name));
  for (const row of rows) {
    const line = add(element, "tr");
    row.forEach((cell) => (add(line, "td", String(cell)).className = typeof cell === "number" ? "n" : ""));
  }
}

function about() {
  const panel = at("about"), pass = data.passes[state.pass];
  panel.replaceChildren();
  if (data.devices.length > 1) {
    add(panel, "h2", "Devices");
    data.devices.slice(0, 16).forEach((name, device) => {
      const line = add(panel, "div");
      const chip = add(line, "span", letter(device));
      chip.className = "chip";
      chip.style.background = colour(device);
      chip.style.color = ink(device);
      add(line, "span", name);
    });
  }
  add(panel, "h2", "Pass " + pass.name);
  add(panel, "p", state.pass === 0 ? "the first graph" : pass.added + " added, " + pass.removed.length + " removed, " + pass.changed + " changed");
  if (pass.removed.length) {
    const fold = add(panel, "details");
    add(fold, "summary", "removed");
    pass.removed.slice(0, 400).forEach((name) => (add(fold, "div", name).className = "dim"));
  }
  if (data.plan) aboutPlan(panel, data.plan);
  data.remarks.forEach((remark) => add(panel, "p", remark));
}

function aboutPlan(panel, plan) {
  add(panel, "h2", "Memory");
  plan.devices.forEach((device) => {
    add(panel, "div", device.name + ": " + bytes(device.total) + ", " + device.steps + " steps");
    const bar = add(panel, "div");
    bar.className = "bar";
    device.parts.forEach(([name, size], n) => {
      const span = add(bar, "span");
      span.style.cssText = "flex: " + size + "; background: " + colour(n + 2);
      span.title = name + " " + bytes(size);
    });
    add(panel, "p", device.parts.map(([name, size]) => name + " " + bytes(size)).join(", ")).className = "dim";
    if (device.live.length > 1) {
      const most = Math.max(1, ...device.live);
      const spark = draw("svg", { class: "spark", viewBox: "0 0 " + device.live.length + " 100", preserveAspectRatio: "none", role: "img", "aria-label": "arena of " + device.name + " over its steps, " + bytes(most) + " at most" }, panel);
      const points = device.live.map((size, step) => step + "," + (100 - (95 * size) / most) + " " + (step + 1) + "," + (100 - (95 * size) / most));
      draw("polygon", { points: "0,100 " + points.join(" ") + " " + device.live.length + ",100", fill: colour(device.device) }, spark);
    }
  });
  if (plan.messages.length) {
    add(panel, "h2", "Messages");
    table(panel, ["what", "from", "to", "a token", "most"], plan.messages.slice(0, 200).map((m) => [m.name, m.from, m.to, m.token === null ? "" : bytes(m.token), bytes(m.most)]));
  }
  if (plan.misses.length) {
    add(panel, "h2", "Biggest misses, in microseconds");
    table(panel, ["step", "phase", "predicted", "measured"], plan.misses.map((m) => [m.name, m.phase, Number(m.predicted_us.toFixed(1)), Number(m.measured_us.toFixed(1))]));
  }
  if (plan.numbers.length) {
    add(panel, "h2", "Greatest error of each layer");
    table(panel, ["layer", "error", "node"], plan.numbers.map((n) => [n.name, n.error === null ? "∞" : n.error.toExponential(1), n.node]));
  }
  add(panel, "p", "plan " + plan.hash.slice(0, 12) + ", " + plan.partition + ", context " + plan.context).className = "dim";
}

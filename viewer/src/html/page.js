"use strict";
// The page's script. Groups come laid out; opening one moves aside what stands around it. Nothing that comes from a
// file is ever written as markup.
const data = JSON.parse(document.getElementById("data").textContent);
const at = (id) => document.getElementById(id);
const TITLE = 28, PAD = 10, LETTER = 7.2;
// Okabe and Ito's colours; each device has a letter, too.
const COLOURS = ["#56b4e9", "#e69f00", "#009e73", "#cc79a7", "#0072b2", "#d55e00", "#f0e442", "#999999"];
const ROLES = ["", "input", "state", "weight"], FATES = ["", "changed", "added"], FATE_MARKS = ["", "~", "+"];

const state = {
  pass: data.passes.length - 1, folded: true, open: new Set(), selected: null,
  x: 0, y: 0, scale: 1, hits: [], hit: -1,
};

// --- Groups and nodes -------------------------------------------------------------------------------------------

const roots = data.passes.map((pass) => ({
  content: data.groups[pass.root], path: "", name: data.name, base: pass.base, id: "", parent: null, slot: -1, depth: 0,
}));
const root = () => roots[state.pass];

/** What is in a slot of a group: an instance of a group, or a node. Its id is the slots on the way to it. */
function child(group, slot) {
  const part = group.content.c[slot];
  const id = group.id === "" ? String(slot) : group.id + "." + slot;
  const own = { part, id, parent: group, slot, depth: group.depth + 1 };
  if (part.g !== undefined) {
    own.content = data.groups[part.g];
    own.name = part.n;
    own.path = group.path === "" ? part.n : group.path + "." + part.n;
    own.base = group.base + (part.b || 0);
    return own;
  }
  own.label = named(part.n, group);
  let above = group;
  for (let level = 0; level < (part.k || 0); level++) above = above.parent || above;
  own.path = part.k === -1 || above.path === "" ? own.label : above.path + "." + own.label;
  return own;
}

const isGroup = (thing) => thing.content !== undefined;

/** A name with its layer's number where equal layers leave it out. */
function named(name, group) {
  if (!name.includes("\u0001")) return name;
  const numbers = group.path.split(".").filter((word) => /^[0-9]+$/.test(word));
  return name.split("\u0001").join(numbers.length ? numbers[numbers.length - 1] : "");
}

function find(id) {
  let thing = root();
  if (id === "") return thing;
  for (const slot of id.split(".")) {
    if (!isGroup(thing) || !thing.content.c[slot]) return null;
    thing = child(thing, Number(slot));
  }
  return thing;
}

/** The node that a reference within a group means; null where it leads nowhere. */
function resolve(group, ref) {
  while (group && ref) {
    if (ref[0] === -1) {
      ref = group.parent ? group.parent.content.c[group.slot].i?.[ref[1]] : null;
      group = group.parent;
      continue;
    }
    const thing = child(group, ref[0]);
    if (!isGroup(thing)) return thing;
    ref = thing.content.x?.[ref[1]];
    group = thing;
  }
  return null;
}

const indices = [];
/** Every node of a pass, with its users and by its reference nodes. */
function index(pass) {
  if (indices[pass]) return indices[pass];
  const nodes = [], users = new Map(), byReference = new Map();
  const walk = (group) => group.content.c.forEach((part, slot) => {
    const thing = child(group, slot);
    if (isGroup(thing)) return walk(thing);
    nodes.push(thing);
    for (const ref of part.i || []) {
      const input = resolve(group, ref);
      if (input) users.set(input.id, (users.get(input.id) || []).concat(thing));
    }
    for (const p of part.p || []) {
      const reference = group.base + p;
      byReference.set(reference, (byReference.get(reference) || []).concat(thing));
    }
  });
  walk(roots[pass]);
  return (indices[pass] = { nodes, users, byReference });
}

const references = (node) => (node.part.p || []).map((p) => node.parent.base + p);

/** The nodes of another pass that stand for some of what a node stands for. */
function related(node, pass) {
  const found = new Map();
  for (const reference of references(node)) {
    for (const other of index(pass).byReference.get(reference) || []) found.set(other.id, other);
  }
  return [...found.values()];
}

const counts = new Map();
/** How many nodes of a group its pass changed or added. */
function touched(number) {
  if (!counts.has(number)) {
    counts.set(number, 0);
    const parts = data.groups[number].c;
    counts.set(number, parts.reduce((sum, part) => sum + (part.g !== undefined ? touched(part.g) : part.f ? 1 : 0), 0));
  }
  return counts.get(number);
}

// --- Where things are -------------------------------------------------------------------------------------------

/** A group's boxes and lines with room for what is open: rows grow as high as their highest box, and wider. */
function measure(group) {
  const geometry = (!state.folded && group.content.u) || group.content.g;
  const boxes = geometry.b.map(([slot, x, y, w, h, times]) => {
    const thing = child(group, slot);
    const box = { slot, x, y, w, h, times, thing, inner: null, x0: x, w0: w };
    if (isGroup(thing) && state.open.has(thing.path)) {
      box.inner = measure(thing);
      box.w = Math.max(w, box.inner.w + 2 * PAD);
      box.h = Math.max(h, box.inner.h + TITLE + PAD);
    }
    return box;
  });
  // Boxes that stand side by side are a row.
  const rows = [];
  for (const box of [...boxes].sort((a, b) => a.y - b.y)) {
    const h0 = geometry.b[boxes.indexOf(box)][4], last = rows[rows.length - 1];
    if (last && box.y < last.bottom) {
      last.boxes.push(box);
      last.bottom = Math.max(last.bottom, box.y + h0);
    } else rows.push({ top: box.y, bottom: box.y + h0, boxes: [box] });
  }
  let grown = 0;
  for (const row of rows) {
    const height = Math.max(row.bottom - row.top, ...row.boxes.map((box) => box.h));
    row.newTop = row.top + grown;
    grown += height - (row.bottom - row.top);
    row.newBottom = row.newTop + height;
    row.wider = row.boxes.filter((box) => box.w > box.w0);
    row.total = row.wider.reduce((sum, box) => sum + box.w - box.w0, 0);
  }
  // What is right of a box that grew is moved by as much, what is over it in part.
  const part = (box, x) => Math.min(1, Math.max(0, (x - box.x0) / box.w0));
  const mapX = (row, x) => row.wider.reduce((sum, box) => sum + part(box, x) * (box.w - box.w0), x - row.total / 2);
  for (const row of rows) {
    for (const box of row.boxes) {
      box.x = mapX(row, box.x0);
      box.y = (row.newTop + row.newBottom - box.h) / 2;
      box.row = row;
    }
  }
  const mapPoint = (x, y) => {
    let shift = 0;
    for (const row of rows) {
      if (y < row.top) break;
      if (y <= row.bottom) {
        const part = row.bottom > row.top ? (y - row.top) / (row.bottom - row.top) : 0;
        return [mapX(row, x), row.newTop + part * (row.newBottom - row.newTop)];
      }
      shift = row.newBottom - row.bottom;
    }
    return [x, y + shift];
  };
  const left = Math.min(0, ...boxes.map((box) => box.x - PAD));
  const bySlot = new Map(boxes.map((box) => [box.slot, box]));
  const lines = geometry.l.map((line) => {
    const points = [];
    for (let n = 0; n < line.p.length; n += 2) points.push(mapPoint(line.p[n], line.p[n + 1]));
    const [from, to] = [bySlot.get(line.f), bySlot.get(line.t)];
    const isDown = line.p[1] <= line.p[line.p.length - 1];
    const leave = (box, isBelow) => (isBelow ? [box.y + box.h, box.row.newBottom] : [box.y, box.row.newTop]);
    // Straight out of a box as far as its row goes, for beside it in its row may stand what is higher now.
    if (from) {
      const [own, border] = leave(from, isDown), x = points[0][0];
      points.splice(0, 1, [x, own], [x, border]);
    }
    if (to) {
      const [own, border] = leave(to, !isDown), x = points[points.length - 1][0];
      points.splice(-1, 1, [x, border], [x, own]);
    }
    points.forEach((point) => (point[0] -= left));
    return { line, points, from, to };
  });
  boxes.forEach((box) => (box.x -= left));
  const right = Math.max(geometry.z[0] - left, ...boxes.map((box) => box.x + box.w + PAD));
  return {
    group, boxes, lines, w: right, h: geometry.z[1] + grown,
    entries: geometry.e.map((x) => x - left), exits: geometry.x.map((x) => x - left),
  };
}

// --- Drawing ----------------------------------------------------------------------------------------------------

const NS = "http://www.w3.org/2000/svg";
function draw(name, attributes, parent, text) {
  const element = document.createElementNS(NS, name);
  for (const key in attributes) element.setAttribute(key, attributes[key]);
  if (text !== undefined) element.textContent = text;
  parent.appendChild(element);
  return element;
}

const svg = draw("svg", { "aria-hidden": "false" }, at("stage"));
const world = draw("g", { id: "world" }, svg);
let shown = [], picture = null;

const cut = (text, width) => {
  const most = Math.max(3, Math.floor(width / LETTER + 0.5));
  return text.length > most ? text.slice(0, most - 1) + "…" : text;
};
const letter = (device) => (device < 26 ? String.fromCharCode(65 + device) : String(device));
const colour = (device) => COLOURS[device % COLOURS.length];

function curve(points) {
  let path = "M" + points[0][0] + "," + points[0][1];
  for (let n = 1; n < points.length; n++) {
    const [[x0, y0], [x1, y1]] = [points[n - 1], points[n]], middle = (y0 + y1) / 2;
    path += x0 === x1 ? "V" + y1 : "C" + x0 + "," + middle + " " + x1 + "," + middle + " " + x1 + "," + y1;
  }
  return path;
}

function render() {
  picture = measure(root());
  shown = [];
  world.replaceChildren();
  put(picture, 0, 0, world);
  mark();
  move();
}

function put(sheet, dx, dy, parent) {
  const boxes = draw("g", {}, parent);
  for (const box of sheet.boxes) {
    const own = { ...box, x: box.x + dx, y: box.y + dy };
    shown.push(own);
    drawBox(own, boxes);
    if (box.inner) put(box.inner, own.x + PAD, own.y + TITLE, boxes);
  }
  const lines = draw("g", {}, parent);
  for (const { line, points, from, to } of sheet.lines) {
    const moved = points.map(([x, y]) => [x + dx, y + dy]);
    const classes = "line" + (line.m ? " message" : "");
    const ends = (from ? from.thing.id : "") + ">" + (to ? to.thing.id : "");
    const width = line.m ? Math.min(9, 1.5 + Math.log2(1 + line.m / 256)) : undefined;
    const put = (points) => {
      const element = draw("path", { class: classes, d: curve(points), "data-ends": ends }, lines);
      if (width) element.style.strokeWidth = width;
    };
    // Where a box is open, the line goes on to where its group takes the value in, or gives it out.
    const refs = to ? line.i.map((i) => to.thing.part.i?.[i]) : line.i.map((i) => sheet.group.content.x?.[i]);
    const left = (box) => box.x + dx + PAD;
    const ins = to && to.inner ? line.i.map((entry) => left(to) + to.inner.entries[entry]) : [null];
    const outs = from && from.inner ? refs.map((ref) => left(from) + from.inner.exits[ref[1]]) : [null];
    for (const [n, x] of [...new Set(ins)].entries()) {
      const way = moved.map((point) => [...point]), out = outs[Math.min(n, outs.length - 1)];
      if (out !== null) {
        way[0][0] = out;
        if (way.length > 2) way[1][0] = out;
        way.unshift([out, from.y + dy + TITLE + from.inner.h]);
      }
      if (x !== null) {
        way[way.length - 1][0] = x;
        if (way.length > 3) way[way.length - 2][0] = x;
        way.push([x, to.y + dy + TITLE]);
      }
      put(way);
    }
    if (line.m) {
      const [x, y] = moved[moved.length - 1];
      draw("text", { class: "bytes", x: x + 7, y: y - 8 }, lines, bytes(line.m) + " a token");
    }
  }
}

function drawBox(box, parent) {
  const { thing, x, y, w, h } = box, part = thing.part, group = isGroup(thing);
  const classes = ["box", group ? "group" : "node"];
  if (box.inner) classes.push("open");
  if (!group && part.r) classes.push("given");
  if (!group && part.f) classes.push(FATES[part.f]);
  const times = box.times > 1 ? " ×" + box.times : "";
  const title = group ? thing.name + times : thing.label;
  const label = title + ", " + (group ? part.s + " nodes, " + (box.inner ? "open" : "closed") : part.o + " " + (part.t || ""));
  const element = draw("g", {
    class: classes.join(" "), "data-id": thing.id, "data-path": thing.path, role: "button", "aria-label": label,
    transform: "translate(" + x + "," + y + ")",
  }, parent);
  draw("rect", { class: "body", width: w, height: h, rx: group ? 8 : 4 }, element);
  const devices = group ? part.v || [] : part.r ? [] : [part.d || 0];
  const named = data.devices.length > 1 ? devices.slice(0, 4) : [];
  named.forEach((device, n) => {
    draw("rect", { x: w - 19 * (n + 1), y: 3, width: 16, height: 14, rx: 3, fill: colour(device) }, element);
    draw("text", { class: "mark", x: w - 19 * (n + 1) + 8, y: 14 }, element, letter(device));
  });
  if (named.length) draw("rect", { x: 0, y: 6, width: 4, height: Math.max(h - 12, 4), fill: colour(named[0]) }, element);
  const room = w - 16 - 19 * named.length;
  if (group) {
    const changed = data.passes[state.pass].changed + data.passes[state.pass].added > 0 ? touched(part.g) : 0;
    draw("text", { x: 10, y: 18 }, element, cut((box.inner ? "▾ " : "▸ ") + title, room));
    if (!box.inner) draw("text", { class: "dim", x: 10, y: 35 }, element, cut(part.s + " nodes" + (changed ? " ~" + changed : ""), w - 16));
  } else {
    draw("text", { x: 10, y: 18 }, element, cut((FATE_MARKS[part.f || 0] && FATE_MARKS[part.f] + " ") + thing.label, room));
    draw("text", { class: "dim", x: 10, y: 35 }, element, cut(part.o + " " + (part.t || ""), (w - 12) * 1.09));
  }
  return element;
}

function mark() {
  for (const element of world.querySelectorAll(".box")) {
    element.classList.toggle("selected", element.dataset.id === state.selected);
  }
  for (const element of world.querySelectorAll("path.line")) {
    element.classList.toggle("near", state.selected !== null && element.dataset.ends.split(">").includes(state.selected));
  }
}

function move() {
  world.setAttribute("transform", "translate(" + state.x + "," + state.y + ") scale(" + state.scale + ")");
}

function fit() {
  const { width, height } = at("stage").getBoundingClientRect();
  // A long model is shown from its beginning, as wide as it can be read.
  const whole = Math.min(width / (picture.w + 40), height / (picture.h + 40));
  state.scale = Math.min(1.2, Math.max(whole, Math.min(0.5, width / (picture.w + 40))));
  state.x = (width - picture.w * state.scale) / 2;
  state.y = Math.max(20, (height - picture.h * state.scale) / 2);
  move();
}

function zoom(by, x, y) {
  const scale = Math.min(4, Math.max(0.02, state.scale * by));
  state.x = x - ((x - state.x) * scale) / state.scale;
  state.y = y - ((y - state.y) * scale) / state.scale;
  state.scale = scale;
  move();
}

/** Moves a box to the middle if it is not to be seen. */
function centre(id, always) {
  const box = shown.find((box) => box.thing.id === id);
  if (!box) return;
  const { width, height } = at("stage").getBoundingClientRect();
  if (always && state.scale < 0.5) state.scale = 0.8;
  const [x, y] = [state.x + (box.x + box.w / 2) * state.scale, state.y + (box.y + Math.min(box.h, 60) / 2) * state.scale];
  if (always || x < 20 || y < 20 || x > width - 20 || y > height - 20) {
    state.x += width / 2 - x;
    state.y += height / 2 - y;
  }
  move();
}

// --- What a person does -----------------------------------------------------------------------------------------

function select(id) {
  state.selected = id;
  mark();
  details();
}

function toggle(thing) {
  if (!isGroup(thing)) return;
  const before = shown.find((box) => box.thing.id === thing.id);
  if (!state.open.delete(thing.path)) state.open.add(thing.path);
  render();
  // What was opened stays under the pointer.
  const after = shown.find((box) => box.thing.id === thing.id);
  if (before && after) {
    state.x += (before.x + before.w / 2 - after.x - after.w / 2) * state.scale;
    state.y += (before.y - after.y) * state.scale;
    move();
  }
  details();
}

/** Opens all groups around a node or group, unfolds layers if it must, and selects it. */
function reveal(id) {
  const thing = find(id);
  if (!thing) return;
  for (let group = thing.parent; group && group.parent; group = group.parent) state.open.add(group.path);
  render();
  if (!shown.some((box) => box.thing.id === id) && state.folded && !(thing.part.r === 3)) fold(false);
  select(id);
  centre(id, true);
}

function fold(is) {
  state.folded = is;
  at("fold").setAttribute("aria-pressed", String(is));
  render();
}

function openAll() {
  const start = (state.selected !== null && find(state.selected)) || root();
  const walk = (group, levels) => {
    if (group.parent) state.open.add(group.path);
    if (levels) group.content.c.forEach((part, slot) => part.g !== undefined && walk(child(group, slot), levels - 1));
  };
  walk(isGroup(start) ? start : start.parent, 3);
  render();
}

function setPass(pass) {
  if (pass < 0 || pass >= data.passes.length || pass === state.pass) return;
  const old = state.selected !== null ? find(state.selected) : null;
  state.pass = pass;
  const same = old && (isGroup(old) ? null : related(old, pass).pop());
  state.selected = same ? same.id : null;
  at("pass").value = at("slider").value = String(pass);
  render();
  details();
  about();
}

function step(dx, dy) {
  const own = shown.find((box) => box.thing.id === state.selected);
  if (!own) {
    if (shown.length) select(shown[0].thing.id);
    return;
  }
  const middle = (box) => [box.x + box.w / 2, box.y + (box.inner ? 10 : box.h / 2)];
  const [x, y] = middle(own);
  let best = null, least = Infinity;
  for (const box of shown) {
    const [bx, by] = middle(box), along = (bx - x) * dx + (by - y) * dy, aside = Math.abs((bx - x) * dy) + Math.abs((by - y) * dx);
    const cost = along + 2.5 * aside;
    if (box !== own && along > 1 && cost < least) [best, least] = [box, cost];
  }
  if (best) {
    select(best.thing.id);
    centre(best.thing.id, false);
  }
}

// --- Search -----------------------------------------------------------------------------------------------------

function search(text) {
  const words = text.toLowerCase().split(/\s+/).filter(Boolean);
  const dtype = (part) => (part.t || "").split("[")[0];
  const fits = (node, word) => {
    const [kind, rest] = [word.split(":")[0], word.slice(word.indexOf(":") + 1)];
    if (word.includes(":")) {
      if (kind === "op") return node.part.o.includes(rest);
      if (kind === "dtype") return dtype(node.part) === rest;
      if (kind === "device") return (data.devices[node.part.d || 0] || "").toLowerCase() === rest;
    }
    return node.path.toLowerCase().includes(word) || node.part.o.includes(word) || dtype(node.part) === word;
  };
  const rank = (node) => {
    const path = node.path.toLowerCase(), last = path.split(".").pop();
    return (path === words[0] ? 0 : last === words[0] ? 1 : path.includes(words[0]) ? 2 : 3) * 2 + (node.part.r ? 1 : 0);
  };
  const all = words.length ? index(state.pass).nodes.filter((node) => words.every((word) => fits(node, word))) : [];
  state.hits = all.map((node, n) => [rank(node), n, node]).sort((a, b) => a[0] - b[0] || a[1] - b[1]).map((hit) => hit[2]);
  state.hit = state.hits.length ? 0 : -1;
  listHits(words.length > 0);
}

function listHits(isAsked) {
  const list = at("hits");
  list.hidden = !isAsked;
  list.replaceChildren();
  if (isAsked) add(list, "li", state.hits.length + " found").className = "dim";
  state.hits.slice(0, 60).forEach((node, n) => {
    const item = add(list, "li", node.path + " ");
    item.setAttribute("aria-selected", String(n === state.hit));
    add(item, "small", node.part.o + " " + (node.part.t || ""));
    item.addEventListener("click", () => reveal(node.id));
  });
}

// --- The panel --------------------------------------------------------------------------------------------------

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
      span.style.cssText = "flex: " + size + "; background: " + COLOURS[(n + 2) % COLOURS.length];
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
    table(panel, ["layer", "error", "node"], plan.numbers.map((n) => [n.name, n.error.toExponential(1), n.node]));
  }
  add(panel, "p", "plan " + plan.hash.slice(0, 12) + ", " + plan.partition + ", context " + plan.context).className = "dim";
}

// --- Pointer and keys -------------------------------------------------------------------------------------------

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
  const typed = event.target instanceof HTMLElement && event.target.closest("input, select, button, dialog");
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

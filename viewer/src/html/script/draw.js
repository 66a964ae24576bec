// Drawing.
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
// Each device has a letter, too.
const colour = (device) => data.colours[device % data.colours.length][0];
const ink = (device) => (data.colours[device % data.colours.length][1] ? "#000" : "#fff");

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
  const fated = group ? 0 : fate(box);
  if (fated) classes.push(FATES[fated]);
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
    draw("text", { class: "mark", x: w - 19 * (n + 1) + 8, y: 14, fill: ink(device) }, element, letter(device));
  });
  if (named.length) draw("rect", { x: 0, y: 6, width: 4, height: Math.max(h - 12, 4), fill: colour(named[0]) }, element);
  const room = w - 16 - 19 * named.length;
  if (group) {
    const changed = data.passes[state.pass].changed + data.passes[state.pass].added > 0 ? touchedIn(box) : 0;
    draw("text", { x: 10, y: 18 }, element, cut((box.inner ? "▾ " : "▸ ") + title, room));
    if (!box.inner) draw("text", { class: "dim", x: 10, y: 35 }, element, cut(part.s + " nodes" + (changed ? " ~" + changed : ""), w - 16));
  } else {
    draw("text", { x: 10, y: 18 }, element, cut((fated ? FATE_MARKS[fated] + " " : "") + thing.label, room));
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

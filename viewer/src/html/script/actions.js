// What a person does.
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

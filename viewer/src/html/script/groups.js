"use strict";
// The page's script. Groups come laid out; opening one moves aside what stands around it. Nothing that comes from a
// file is ever written as markup.
const data = JSON.parse(document.getElementById("data").textContent);
const at = (id) => document.getElementById(id);
const TITLE = 28, PAD = 10, LETTER = 7.2;
const ROLES = ["", "input", "state", "weight"], FATES = ["", "changed", "added"], FATE_MARKS = ["", "~", "+"];

const state = {
  pass: data.passes.length - 1, folded: true, open: new Set(), selected: null,
  x: 0, y: 0, scale: 1, hits: [], hit: -1,
};

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

/** Puts something behind what a map has of a key. */
function note(map, key, thing) {
  const list = map.get(key);
  if (list) list.push(thing);
  else map.set(key, [thing]);
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
      if (input) note(users, input.id, thing);
    }
    for (const p of part.p || []) note(byReference, group.base + p, thing);
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

/** The equal parts that a box stands for. */
const parts = (box) => (box.thing.parent ? box.thing.parent.content.c.slice(box.slot, box.slot + box.times) : []);

/** What the pass did to the nodes that a box stands for; changed where it is not the same of all. */
function fate(box) {
  const fates = parts(box).map((part) => part.f || 0);
  return fates.every((fate) => fate === fates[0]) ? fates[0] || 0 : 1;
}

/** How many nodes of the groups that a box stands for the pass changed or added. */
const touchedIn = (box) => parts(box).reduce((sum, part) => sum + touched(part.g), 0);

// Search.
function search(text) {
  const words = text.toLowerCase().split(/\s+/).filter(Boolean);
  // The reference nodes of what passes of that name added, changed or removed.
  const changedBy = (name) => {
    const changed = new Set();
    data.passes.forEach((pass, n) => {
      if (n === 0 || !pass.name.toLowerCase().includes(name)) return;
      pass.lost.forEach((reference) => changed.add(reference));
      for (const node of index(n).nodes) if (node.part.f) references(node).forEach((reference) => changed.add(reference));
    });
    return changed;
  };
  const changed = new Map(words.filter((word) => word.startsWith("pass:")).map((word) => [word, changedBy(word.slice(5))]));
  const dtype = (part) => (part.t || "").split("[")[0];
  const fits = (node, word) => {
    const [kind, rest] = [word.split(":")[0], word.slice(word.indexOf(":") + 1)];
    if (word.includes(":")) {
      if (kind === "pass") return references(node).some((reference) => changed.get(word).has(reference));
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
    const hit = add(add(list, "li"), "button", node.path + " ");
    hit.className = "link";
    if (n === state.hit) hit.setAttribute("aria-current", "true");
    add(hit, "small", node.part.o + " " + (node.part.t || ""));
    hit.addEventListener("click", () => reveal(node.id));
  });
}

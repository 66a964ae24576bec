// Search.
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

// Where things are: sheets of open groups in one another.
/** The greatest that a function says of things, at least so much; calls take no list as long as this can be. */
const most = (things, of, least) => things.reduce((most, thing) => Math.max(most, of(thing)), least);

/** A group's boxes and lines with room for what is open: rows grow as high as their highest box, and wider. */
function measure(group) {
  const geometry = (!state.folded && group.content.u) || group.content.g;
  const boxes = geometry.b.map(([slot, x, y, w, h, times]) => {
    const thing = child(group, slot);
    const box = { slot, x, y, w, h, times, thing, inner: null, x0: x, w0: w, h0: h };
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
    const last = rows[rows.length - 1];
    if (last && box.y < last.bottom) {
      last.boxes.push(box);
      last.bottom = Math.max(last.bottom, box.y + box.h0);
    } else rows.push({ top: box.y, bottom: box.y + box.h0, boxes: [box] });
  }
  let grown = 0;
  for (const row of rows) {
    const height = most(row.boxes, (box) => box.h, row.bottom - row.top);
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
  const left = -most(boxes, (box) => PAD - box.x, 0);
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
  const right = most(boxes, (box) => box.x + box.w + PAD, geometry.z[0] - left);
  return {
    group, boxes, lines, w: right, h: geometry.z[1] + grown,
    entries: geometry.e.map((x) => x - left), exits: geometry.x.map((x) => x - left),
  };
}

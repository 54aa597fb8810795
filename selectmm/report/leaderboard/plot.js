// The picture of a board: Rel. against cost, a mark per row.
const pointOf = (id) => [...document.querySelectorAll("[data-point]")].find((one) => one.dataset.point === id);

const FEW = 12; // points of a picture in which a name is not mistaken for a neighbour's

function front(points) {
  const order = [...points].sort((a, b) => a.x - b.x || b.y - a.y),
    kept = [];
  for (const p of order) if (!kept.length || p.y > kept[kept.length - 1].y) kept.push(p);
  return kept;
}

function ticks(low, high, many) {
  const raw = (high - low) / many,
    power = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 5, 10].map((m) => m * power).find((s) => s >= raw),
    at = [];
  for (let t = Math.ceil(low / step) * step; t <= high + 1e-9; t += step) at.push(+t.toPrecision(6));
  return at;
}

// The first place beside a point where its name hides nothing, slanting ones only among few points; none in a crowd, where the legend still tells.
function place(words, px, py, few, taken, [left, top, right, bottom]) {
  const wide = 7.4 * words.length;
  for (const [x, y, anchor] of [
    [px + 14, py + 4, "start"],
    [px - 14, py + 4, "end"],
    [px, py - 14, "middle"],
    [px, py + 23, "middle"],
    ...(few ? [[px + 10, py + 20, "start"], [px - 10, py - 12, "end"]] : []),
  ]) {
    const x0 = anchor === "start" ? x : anchor === "end" ? x - wide : x - wide / 2,
      box = [x0, y - 11, x0 + wide, y + 3];
    const free = taken.every(([a, b, c, d]) => box[0] > c || box[2] < a || box[1] > d || box[3] < b);
    if (free && box[0] >= left && box[2] <= right && box[1] >= top && box[3] <= bottom) {
      taken.push(box);
      return { x, y, anchor };
    }
  }
  return null;
}

// Small boxes along the Pareto front, so that no name lies on it.
function along(path) {
  return path.slice(1).flatMap(([x1, y1], i) => {
    const [x0, y0] = path[i],
      many = Math.ceil(Math.hypot(x1 - x0, y1 - y0) / 4);
    return Array.from({ length: many + 1 }, (_, step) => {
      const [x, y] = [x0 + ((x1 - x0) * step) / many, y0 + ((y1 - y0) * step) / many];
      return [x - 1, y - 1, x + 1, y + 1];
    });
  });
}

const reach = (row) => row.rel.sd ?? row.rel_items ?? 0;
const line = (x1, y1, x2, y2, style) => element("line", { x1, y1, x2, y2, class: style });
const words = (x, y, anchor, text) => element("text", { x, y, "text-anchor": anchor }, text);

// Sizes in pixels of the screen, so that words stay readable on a phone; x and y turn values into places.
function scales(points) {
  const width = Math.max(300, Math.min(1200, document.getElementById("shown").clientWidth - 42));
  const height = Math.round(Math.max(300, Math.min(points.length > 25 ? 520 : 400, width)));
  const [left, top, right, bottom] = [52, 14, width - (width > 600 ? 90 : 16), height - 46];
  const spreads = points.flatMap((p) => [p.y - reach(p.row), p.y + reach(p.row)]);
  const xs = [0, Math.max(100, ...points.map((p) => p.x)) * 1.06],
    ys = [Math.min(...spreads, 100), Math.max(...spreads, 100)];
  const room = (ys[1] - ys[0]) * 0.06;
  ys[0] -= room;
  ys[1] += room;
  const x = (v) => left + ((v - xs[0]) / (xs[1] - xs[0])) * (right - left);
  const y = (v) => bottom - ((v - ys[0]) / (ys[1] - ys[0])) * (bottom - top);
  return { width, height, left, top, right, bottom, xs, ys, x, y };
}

function grid({ width, height, left, top, right, bottom, xs, ys, x, y }) {
  const label =
    width > 600 ? "cost of selection and tuning, % of the full run's tuning" : "cost, % of the full run's tuning";
  return [
    ...ticks(...xs, width > 600 ? 6 : 4).flatMap((t) => [
      line(x(t), top, x(t), bottom, "grid"),
      words(x(t), bottom + 18, "middle", String(t)),
    ]),
    ...ticks(...ys, 5).flatMap((t) => [
      line(left, y(t), right, y(t), "grid"),
      words(left - 8, y(t) + 4, "end", String(t)),
    ]),
    line(left, y(100), right, y(100), "guide"),
    line(x(100), top, x(100), bottom, "guide"),
    line(left, bottom, right, bottom, "axis"),
    line(left, top, left, bottom, "axis"),
    words((left + right) / 2, height - 6, "middle", label),
    element(
      "text",
      { transform: `translate(13 ${(top + bottom) / 2}) rotate(-90)`, "text-anchor": "middle" },
      "Rel., %",
    ),
  ];
}

function markOf(p, { x, y }, label, small) {
  const { row } = p,
    id = row.names[0],
    look = STYLES[row.name],
    open = () => show(id),
    once = row.rel.n === 1;
  const told =
    `${row.method}, ${percent(row.budget)}, ${row.recipe}\nRel. ${fixed(p.y, 1)} %` +
    `${row.rel.sd === null ? " (one seed)" : ` ± ${fixed(row.rel.sd, 1)} (${row.rel.n} seeds)`} at ${fixed(p.x, 0)} % of the cost`;
  return element(
    "g",
    {
      class: isOpen(row) ? "point open" : "point",
      style: `color:${look.colour}`,
      role: "button",
      "aria-label": told,
      "data-tip": told,
      "data-point": id,
      onclick: open,
      onkeydown: pressed(open),
    },
    reach(row) ? line(x(p.x), y(p.y - reach(row)), x(p.x), y(p.y + reach(row)), once ? "spread one" : "spread") : null,
    element("path", {
      d: look.shape,
      class: once ? "shape one" : "shape",
      transform: `translate(${x(p.x)} ${y(p.y)}) scale(${small ? 5 : 6.5})`,
    }),
    label === null ? null : words(label.x, label.y, label.anchor, row.method),
  );
}

function legend(rows, drawn) {
  const names = [...new Set(rows.map((row) => row.name))].sort((a, b) => a.localeCompare(b));
  const key = (shape, text) =>
    element(
      "li",
      {},
      element("svg", { class: "mark key", viewBox: "-1.5 -1.5 3 3", "aria-hidden": "true" }, shape),
      text,
    );
  return element(
    "ul",
    { class: "legend", "aria-label": "Legend" },
    ...names.map((name) => element("li", {}, mark(name), name)),
    drawn.some((p) => p.row.rel.n === 1)
      ? key(element("path", { d: STYLES.random.shape, class: "shape one" }), "hollow: one seed")
      : null,
    key(line(-1.4, 0, 1.4, 0, "front"), "Pareto front"),
  );
}

function plot(board, rows) {
  const points = rows.filter((row) => row.rel && row.share).map((row) => ({ x: row.share.mean, y: row.rel.mean, row }));
  if (points.length < 2) return [];
  const at = scales(points),
    { width, height, left, top, bottom, x, y } = at;
  const path = front(points.filter((p) => p.row.rel.n > 1 || p.row.name === "full")).map((p) => [x(p.x), y(p.y)]);
  const steps = path.map(([px, py], i) => `${i ? "L" : "M"}${px} ${py}`).join(" ");
  const once = points.filter(
    (p, i) => points.findIndex((q) => q.x === p.x && q.y === p.y && q.row.method === p.row.method) === i,
  );
  const taken = [...once.map((p) => [x(p.x) - 7, y(p.y) - 7, x(p.x) + 7, y(p.y) + 7]), ...along(path)];
  const labels = new Map(
    [...once]
      .sort((a, b) => b.y - a.y)
      .map((p) => [p, place(p.row.method, x(p.x), y(p.y), once.length <= FEW, taken, [left, top, width, bottom])]),
  );
  const marks = once.sort((a, b) => a.x - b.x || a.y - b.y).map((p) => markOf(p, at, labels.get(p), once.length > 25));
  const svg = element(
    "svg",
    {
      class: "plot",
      viewBox: `0 0 ${width} ${height}`,
      width,
      height,
      role: "group",
      "aria-label": "Rel. against cost",
    },
    ...grid(at),
    element("path", { class: "front", d: steps }),
    ...marks,
  );
  return [rove(svg, ".point"), legend(rows, once)];
}

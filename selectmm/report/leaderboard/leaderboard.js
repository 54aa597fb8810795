"use strict";
// State lives in the address (#scale=…&sort=rel&open=0-3), so that what a person looks at can be sent to another.
const BOARDS = JSON.parse(document.getElementById("data").textContent);
const FILTERS = ["scale", "pool", "model", "recipe", "budget", "method"];
const COLOURS = { full: "#000000", random: "#767676" };
const PALETTE = ["#d55e00", "#0072b2", "#009e73", "#cc79a7", "#e69f00", "#56b4e9"]; // Okabe and Ito
const MANY = 25; // points; a picture of more is larger, its points smaller
const state = () => new URLSearchParams(location.hash.slice(1));

function change(changes) {
  const next = state();
  for (const [key, value] of Object.entries(changes)) value === "" ? next.delete(key) : next.set(key, value);
  location.hash = next.toString();
}

// Text only ever becomes text nodes and attributes: records may be a stranger's.
function element(name, attributes = {}, ...children) {
  const svg = ["svg", "g", "circle", "line", "path", "text", "title"].includes(name);
  const made = svg ? document.createElementNS("http://www.w3.org/2000/svg", name) : document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (key.startsWith("on")) made.addEventListener(key.slice(2), value);
    else made.setAttribute(key, value);
  }
  made.append(...children.filter((child) => child !== null));
  return made;
}

// From the page's own folder whatever the name: an address of another scheme, or a query, cannot be spelt this way.
const link = (file) => element("a", { href: `./${file.split("/").map(encodeURIComponent).join("/")}` }, element("code", {}, file));

const value = (board, row, key) =>
  ({ scale: board.scale, pool: board.pool, model: board.model, recipe: row.recipe, method: row.method,
     budget: `${+row.budget.toPrecision(4)} %` })[key];
const shown = (board, row) => FILTERS.every((key) => !state().get(key) || state().get(key) === value(board, row, key));
const time = (s) => (s < 120 ? `${s.toFixed(1)} s` : s < 7200 ? `${(s / 60).toFixed(1)} min` : `${(s / 3600).toFixed(1)} h`);

function estimate(e, digits) {
  if (e === null || e === undefined) return element("span", { class: "chance" }, "unknown");
  const spread = e.sd === null ? null : element("span", { class: "sd" }, ` ± ${e.sd.toFixed(digits)} (${e.n})`);
  return element("span", {}, e.mean.toFixed(digits), spread);
}

function columnsOf(board) {
  const fixed = [
    ["method", "method", (r) => r.method, (r) => element("div", { class: "name" }, r.method)],
    ["budget", "budget", (r) => r.budget, (r) => document.createTextNode(`${+r.budget.toPrecision(4)} %`)],
    ["recipe", "recipe", (r) => r.recipe, (r) => document.createTextNode(r.recipe)],
    ["seeds", "seeds", (r) => r.runs.length, (r) => document.createTextNode(String(r.runs.length))],
    ["rel", "Rel. %", (r) => r.rel?.mean, (r) => estimate(r.rel, 1)],
    ["share", "cost, % of full", (r) => r.share?.mean, (r) => estimate(r.share, 0)],
    ["osc", "OSC", (r) => r.osc?.mean, (r) => estimate(r.osc, 2)],
    ["selection", "selection", (r) => r.selection, (r) => document.createTextNode(time(r.selection))],
    ["tuning", "tuning", (r) => r.tuning, (r) => document.createTextNode(time(r.tuning))],
    ["total", "total", (r) => r.total, (r) => document.createTextNode(time(r.total))],
  ];
  const scores = board.benchmarks.map((b) => [b.name, b.name + (b.counts ? "" : " †"), (r) => r.scores[b.name]?.mean,
    (r) => estimate(r.scores[b.name], 1), b.counts ? "" : "chance"]);
  return [...fixed, ...scores];
}

function sorted(rows, columns) {
  const [key, down] = [state().get("sort") || "rel", state().get("up") !== "1"];
  const of = (columns.find((c) => c[0] === key) || columns[4])[2];
  const compare = (a, b) => (typeof a === "string" ? a.localeCompare(b) : a - b);
  const known = (r) => of(r) !== undefined && of(r) !== null;
  return [...rows.filter(known).sort((a, b) => (down ? -1 : 1) * compare(of(a), of(b))), ...rows.filter((r) => !known(r))];
}

const point = (id) => document.querySelector(`[data-point="${id}"]`);

// Enter and the space bar, as on a button.
const pressed = (act) => (event) => {
  if (event.key !== "Enter" && event.key !== " ") return;
  event.preventDefault();
  act();
};

function table(board, number, rows) {
  const columns = columnsOf(board), [key, up] = [state().get("sort") || "rel", state().get("up") === "1"];
  const head = columns.map(([name, title, , , style]) => element("th",
    { class: `${style || ""}${["budget", "recipe"].includes(name) ? " text" : ""}`,
      "aria-sort": name === key ? (up ? "ascending" : "descending") : "none" },
    element("button", { type: "button", "data-sort": `${number}-${name}`, onclick: () => change({ sort: name, up: name === key && !up ? "1" : "" }) }, title)));
  const body = sorted(rows, columns).flatMap((row) => {
    const id = `${number}-${board.rows.indexOf(row)}`, open = state().get("open") === id;
    const toggle = () => change({ open: open ? "" : id });
    const cells = columns.map(([name, , , cell, style]) =>
      element("td", { class: `${style || ""}${["budget", "recipe"].includes(name) ? " text" : ""}` }, cell(row)));
    const line = element("tr", { class: "row", tabindex: "0", "data-row": id, "aria-expanded": String(open), onclick: toggle,
      onkeydown: pressed(toggle),
      onmouseenter: () => point(id)?.classList.add("near"), onmouseleave: () => point(id)?.classList.remove("near") }, ...cells);
    if (!open) return [line];
    return [line, element("tr", {}, element("td", { class: "detail", colspan: String(columns.length) }, ...row.runs.map(details)))];
  });
  return element("table", { class: "rows" }, element("thead", {}, element("tr", {}, ...head)), element("tbody", {}, ...body));
}

function details(run) {
  const most = Math.max(1, ...run.sources.map((s) => s.pool));
  const cell = (text, style) => element("td", style ? { class: style } : {}, text);
  const bar = (s) => element("span", { class: "bar", style: `width:${(90 * s.kept) / most}px` });
  const scores = run.scores.map((s) => element("tr", {}, cell(s.benchmark), cell(s.value.toFixed(1)),
    cell(s.stderr === null ? "unknown" : `± ${(1.96 * s.stderr).toFixed(1)}`), cell(String(s.items)),
    cell(s.chance === null ? "unknown" : s.chance.toFixed(1))));
  const sources = run.sources.map((s) => element("tr", {}, cell(s.source), cell(String(s.kept)), cell(String(s.pool)),
    cell(`${((100 * s.kept) / s.pool).toFixed(0)} %`), element("td", { class: "text" }, bar(s))));
  const head = (...names) => element("tr", {}, ...names.map((n) => element("th", {}, n)));
  return element("section", {},
    element("p", {}, element("b", {}, `Seed ${run.seed}`), ` · ${run.rows.toLocaleString("en")} rows`
      + (run.different === run.rows ? "" : ` (${run.different.toLocaleString("en")} different)`) + `, ${run.steps} steps · ${run.experiment} · `
      + `commit ${run.commit} · ${run.machine} · ${run.finished}`),
    element("p", {}, "Record ", link(run.file)),
    ...run.again.map((file) => element("p", {}, "The same run made again, not shown: ", link(file))), element("p", {}, element("code", {}, run.command)),
    ...run.deviations.map((text) => element("p", {}, `Deviation: ${text}`)),
    element("div", { class: "columns" },
      element("table", {}, head("benchmark", "score", "95 %, items", "items", "chance"), ...scores),
      element("table", {}, head("source", "kept", "of", "share", ""), ...sources)));
}

function front(points) {
  const order = [...points].sort((a, b) => a.x - b.x || b.y - a.y), kept = [];
  for (const p of order) if (!kept.length || p.y > kept[kept.length - 1].y) kept.push(p);
  return kept;
}

function ticks(low, high) {
  const raw = (high - low) / 5, power = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 5, 10].map((m) => m * power).find((s) => s >= raw), found = [];
  for (let t = Math.ceil(low / step) * step; t <= high + 1e-9; t += step) found.push(+t.toPrecision(6));
  return found;
}

// The first of four places beside a point where its name hides nothing; none in a crowd, where pointing at it still tells.
function place(words, px, py, taken, [left, top, right, bottom]) {
  const wide = 7.4 * words.length;
  for (const [x, y, anchor] of [[px + 10, py + 4, "start"], [px - 10, py + 4, "end"], [px, py - 11, "middle"], [px, py + 20, "middle"]]) {
    const x0 = anchor === "start" ? x : anchor === "end" ? x - wide : x - wide / 2, box = [x0, y - 11, x0 + wide, y + 3];
    const free = taken.every(([a, b, c, d]) => box[0] > c || box[2] < a || box[1] > d || box[3] < b);
    if (free && box[0] >= left && box[2] <= right && box[1] >= top && box[3] <= bottom) {
      taken.push(box);
      return { x, y, anchor };
    }
  }
  return null;
}

function plot(board, number, rows) {
  const points = rows.filter((r) => r.rel && r.share).map((r) => ({ x: r.share.mean, y: r.rel.mean, row: r }));
  if (points.length < 2) return null;
  const many = points.length > MANY && innerWidth > 1000, [width, height, left, right, top, bottom] = [many ? 1240 : 860, many ? 520 : 400, 60, 110, 20, 50];
  const reach = (row) => row.rel.sd ?? row.rel_items ?? 0;
  const spreads = points.flatMap((p) => [p.y - reach(p.row), p.y + reach(p.row)]);
  const xs = [0, Math.max(100, ...points.map((p) => p.x)) * 1.04], ys = [Math.min(...spreads, 100), Math.max(...spreads, 100)];
  const room = (ys[1] - ys[0]) * 0.06; ys[0] -= room; ys[1] += room;
  const x = (v) => left + ((v - xs[0]) / (xs[1] - xs[0])) * (width - left - right);
  const y = (v) => height - bottom - ((v - ys[0]) / (ys[1] - ys[0])) * (height - top - bottom);
  const line = (x1, y1, x2, y2, style) => element("line", { x1, y1, x2, y2, class: style });
  const text = (x0, y0, anchor, words) => element("text", { x: x0, y: y0, "text-anchor": anchor }, words);
  const grid = [
    ...ticks(...xs).flatMap((t) => [line(x(t), top, x(t), height - bottom, "grid"), text(x(t), height - bottom + 18, "middle", `${t} %`)]),
    ...ticks(...ys).flatMap((t) => [line(left, y(t), width - right, y(t), "grid"), text(left - 8, y(t) + 4, "end", String(t))]),
    line(left, y(100), width - right, y(100), "guide"), line(x(100), top, x(100), height - bottom, "guide"),
    line(left, height - bottom, width - right, height - bottom, "axis"), line(left, top, left, height - bottom, "axis"),
    text((left + width - right) / 2, height - 8, "middle", "cost of selection and tuning, % of the full run's tuning"),
    element("text", { transform: `translate(14 ${(top + height - bottom) / 2}) rotate(-90)`, "text-anchor": "middle" }, "Rel., % of the full run's score"),
  ];
  const names = [...new Set(board.rows.map((r) => r.method))].filter((n) => !COLOURS[n]);
  const colour = (r) => COLOURS[r.method] || PALETTE[names.indexOf(r.method) % PALETTE.length];
  const steps = front(points.filter((p) => p.row.rel.n > 1 || p.row.method === "full")).map((p, i) => `${i ? "L" : "M"}${x(p.x)} ${y(p.y)}`).join(" ");
  const once = points.filter((p, i) => points.findIndex((q) => q.x === p.x && q.y === p.y && q.row.method === p.row.method) === i);
  const taken = once.map((p) => [x(p.x) - 7, y(p.y) - 7, x(p.x) + 7, y(p.y) + 7]);
  const marks = once.sort((a, b) => b.y - a.y).map((p) => {
    const label = place(p.row.method, x(p.x), y(p.y), taken, [left, top, width, height - bottom]);
    const words = `${p.row.method}, ${+p.row.budget.toPrecision(4)} %, ${p.row.recipe}: Rel. ${p.y.toFixed(1)}`
      + `${p.row.rel.sd === null ? ", one seed" : ` ± ${p.row.rel.sd.toFixed(1)}`} at ${p.x.toFixed(0)} % of the cost`;
    const id = `${number}-${board.rows.indexOf(p.row)}`, open = () => show(id);
    return element("g", { class: state().get("open") === id ? "point open" : "point", style: `color:${colour(p.row)}`, tabindex: "0",
      role: "button", "aria-label": words, "data-point": id, onclick: open, onkeydown: pressed(open) },
      element("title", {}, words),
      reach(p.row) ? line(x(p.x), y(p.y - reach(p.row)), x(p.x), y(p.y + reach(p.row)), p.row.rel.n > 1 ? "spread" : "spread one") : null,
      element("circle", { cx: x(p.x), cy: y(p.y), r: many ? 4.5 : 6, class: p.row.rel.n > 1 ? "" : "one" }),
      label === null ? null : text(label.x, label.y, label.anchor, p.row.method));
  });
  return element("svg", { viewBox: `0 0 ${width} ${height}`, style: `max-width: ${width}px`, role: "group", "aria-label": "Rel. against cost" },
    ...grid, element("path", { class: "front", d: steps }), ...marks);
}

function filters() {
  // Of each filter what the others leave, and what it is set to.
  const left = (board, row, key) => FILTERS.every((other) => other === key || !state().get(other) || state().get(other) === value(board, row, other));
  const all = (key) => [...new Set([...BOARDS.flatMap((board) => board.rows.filter((row) => left(board, row, key)).map((row) => value(board, row, key))),
    ...(state().get(key) ? [state().get(key)] : [])])].sort((a, b) => a.localeCompare(b, "en", { numeric: true }));
  const choice = (key) => element("select", { name: key, "data-filter": key, onchange: (event) => change({ [key]: event.target.value, open: "" }) },
    element("option", { value: "" }, "all"),
    ...all(key).map((name) => element("option", { value: name, ...(state().get(key) === name ? { selected: "" } : {}) }, name)));
  document.getElementById("filters").replaceChildren(...FILTERS.map((key) => element("label", {}, key, choice(key))));
}

// A point's row may be far below it.
function show(id) {
  change({ open: id });
  setTimeout(() => document.querySelector(`[data-row="${id}"]`)?.scrollIntoView({ block: "center" }), 50);
}

// Everything is drawn anew, so that what had the keyboard's attention has to be found again.
function draw() {
  const at = document.activeElement?.dataset ?? {}, before = [...document.querySelectorAll(".board")].map((b) => b.scrollLeft);
  drawAll();
  const [name, words] = Object.entries(at)[0] ?? [], again = [...document.querySelectorAll(`[data-${name}]`)].find((e) => e.dataset[name] === words);
  again?.focus({ preventScroll: true });
  document.querySelectorAll(".board").forEach((b, i) => { b.scrollLeft = before[i] ?? 0; });
}

function drawAll() {
  filters();
  const sections = BOARDS.map((board, number) => {
    const rows = board.rows.filter((row) => shown(board, row));
    if (!rows.length) return null;
    return element("section", {},
      element("h2", {}, `${BOARDS.length > 1 ? `Board ${number + 1} of ${BOARDS.length} · ` : ""}${board.pool} · ${board.suite} · scale: ${board.scale}`),
      element("p", { class: "about" }, `Base model ${board.model}. ${board.apart} † at chance for the full run, left out of Rel. `
        + "Rel. is to this board's full runs, so it may differ from that of a page with fewer of them. Cells: mean ± standard deviation (seeds), "
        + "bars in the picture too. One seed ranks nothing: it is hollow, its bar the 95 % over items, and no line leads through it."),
      plot(board, number, rows), element("div", { class: "board" }, table(board, number, rows)));
  }).filter((section) => section !== null);
  document.getElementById("boards").replaceChildren(...(sections.length ? sections : [element("p", {}, "No run is of all these.")]));
}

addEventListener("hashchange", draw);
draw();

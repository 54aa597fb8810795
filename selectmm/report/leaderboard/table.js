// Text only ever becomes text nodes and attributes: records may be a stranger's.
function element(name, attributes = {}, ...children) {
  const svg = ["svg", "g", "circle", "line", "path", "text"].includes(name);
  const made = svg ? document.createElementNS("http://www.w3.org/2000/svg", name) : document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (key.startsWith("on")) made.addEventListener(key.slice(2), value);
    else made.setAttribute(key, value);
  }
  made.append(...children.filter((child) => child !== null));
  return made;
}

// From the page's own folder whatever the name: an address of another scheme, or a query, cannot be spelt this way.
const link = (file) =>
  element("a", { href: `./${file.split("/").map(encodeURIComponent).join("/")}` }, element("code", {}, file));
const mark = (name) =>
  element(
    "svg",
    { class: "mark", viewBox: "-1.5 -1.5 3 3", "aria-hidden": "true" },
    element("path", { d: STYLES[name].shape, fill: STYLES[name].colour }),
  );
const time = (s) =>
  s < 120 ? `${fixed(s, 1)} s` : s < 7200 ? `${fixed(s / 60, 1)} min` : `${fixed(s / 3600, 1)} h`;

function estimate(e, digits) {
  if (e === null || e === undefined) return element("span", { class: "soft" }, "unknown");
  const spread = e.sd === null ? null : element("span", { class: "sd" }, ` ± ${fixed(e.sd, digits)} (${e.n})`);
  return element("span", {}, fixed(e.mean, digits), spread);
}

function columnsOf(board) {
  const column = (key, title, value, cell, style = "", tip = TIPS[title]) => ({ key, title, value, cell, style, tip });
  const mean = (key, title, digits) =>
    column(
      key,
      title,
      (row) => row[key]?.mean,
      (row) => estimate(row[key], digits),
    );
  const cost = (key) =>
    column(
      key,
      key,
      (row) => row[key],
      (row) => time(row[key]),
    );
  const name = (row) => element("div", { class: "name" }, mark(row.name), element("span", {}, row.method));
  return [
    column("method", "method", (row) => row.method, name, "text"),
    column(
      "budget",
      "budget",
      (row) => row.budget,
      (row) => percent(row.budget),
    ),
    mean("rel", "Rel. %", 1),
    mean("share", "share of full", 0),
    mean("osc", "OSC", 2),
    cost("selection"),
    cost("tuning"),
    cost("total"),
    ...board.benchmarks.map((b) =>
      column(
        b.name,
        b.name + (b.counts ? "" : " †"),
        (row) => row.scores[b.name]?.mean,
        (row) => estimate(row.scores[b.name], 1),
        b.counts ? "" : "soft",
        b.tip,
      ),
    ),
    column(
      "recipe",
      "recipe",
      (row) => row.recipe,
      (row) => row.recipe,
      "text",
    ),
    column(
      "seeds",
      "seeds",
      (row) => row.seeds,
      (row) => String(row.seeds),
    ),
  ];
}

// Enter and the space bar, as on a button.
const pressed = (act) => (event) => {
  if (event.target !== event.currentTarget || (event.key !== "Enter" && event.key !== " ")) return;
  event.preventDefault();
  act();
};

function headOf(columns, number) {
  const key = state().get("sort") ?? "rel",
    up = state().get("up") === "1";
  const cells = columns.map((column) => {
    const turn = () => change({ sort: column.key, up: column.key === key && !up ? "1" : "" });
    return element(
      "th",
      {
        class: column.style,
        scope: "col",
        "aria-sort": column.key === key ? (up ? "ascending" : "descending") : "none",
      },
      element(
        "button",
        { type: "button", "data-sort": `${number}-${column.key}`, "data-tip": column.tip, onclick: turn },
        column.title,
      ),
    );
  });
  return rove(element("tr", {}, ...cells), "button");
}

function lineOf(row, columns, number, at) {
  const open = isOpen(row),
    id = row.names[0],
    toggle = () => change({ open: open ? "" : id });
  const near = (on) => () => pointOf(id)?.classList.toggle("near", on);
  const line = element(
    "tr",
    {
      class: "row",
      "data-row": id,
      "aria-expanded": String(open),
      onclick: toggle,
      onkeydown: pressed(toggle),
      onmouseenter: near(true),
      onmouseleave: near(false),
    },
    ...columns.map((column) => element("td", { class: column.style }, column.cell(row))),
  );
  if (!open) return [line];
  runs[number] ??= read(`runs-${number}`); // the largest part of the page, read when it is first asked for
  return [
    line,
    element(
      "tr",
      {},
      element("td", { class: "detail", colspan: String(columns.length) }, ...runs[number][at].map(details)),
    ),
  ];
}

const runs = {},
  whole = new Set(),
  FIRST = 50; // rows of a board that are drawn at first

function table(board, number, rows) {
  const columns = columnsOf(board),
    order = sorted(rows, columns);
  const few = order.length > FIRST && !whole.has(number) && !order.slice(FIRST).some((row) => isOpen(row));
  const lines = (few ? order.slice(0, FIRST) : order).flatMap((row) =>
    lineOf(row, columns, number, board.rows.indexOf(row)),
  );
  const body = rove(element("tbody", {}, ...lines), "tr.row", ["ArrowUp", "ArrowDown"]);
  const rest = () => {
    whole.add(number);
    draw();
  };
  return [
    element(
      "div",
      { class: "board" },
      element("table", { class: "rows" }, element("thead", {}, headOf(columns, number)), body),
    ),
    few ? element("button", { type: "button", class: "more", onclick: rest }, `Show all ${order.length} rows`) : null,
  ];
}

function details(run) {
  const cell = (text, style) => element("td", style ? { class: style } : {}, text);
  const filled = (s) => element("span", { class: "bar", style: `width:${(100 * s.kept) / s.pool}%` });
  const scores = run.scores.map((s) =>
    element(
      "tr",
      {},
      cell(s.benchmark),
      cell(fixed(s.value, 1)),
      cell(s.stderr === null ? "unknown" : `± ${fixed(1.96 * s.stderr, 1)}`),
      cell(String(s.items)),
      cell(s.chance === null ? "unknown" : fixed(s.chance, 1)),
    ),
  );
  const sources = run.sources.map((s) =>
    element(
      "tr",
      {},
      cell(s.source),
      cell(String(s.kept)),
      cell(String(s.pool)),
      cell(`${fixed((100 * s.kept) / s.pool, 0)} %`),
      element("td", { class: "text" }, element("span", { class: "track" }, filled(s))),
    ),
  );
  const titled = (name) => element("th", { "data-tip": RUN_TIPS[name] }, name);
  const head = (...names) => element("tr", {}, ...names.map(titled));
  const count = run.rows.toLocaleString("en"),
    different = run.different.toLocaleString("en");
  return element(
    "section",
    {},
    element(
      "p",
      {},
      element("b", {}, `Seed ${run.seed}`),
      ` · ${count} rows${run.different === run.rows ? "" : ` (${different} different)`}, ` +
        `${run.steps} steps · ${run.experiment} · commit ${run.commit} · ${run.machine} · ${run.finished}`,
    ),
    element("p", {}, "Record ", link(run.file)),
    ...run.again.map((file) => element("p", {}, "The same run made again, not shown: ", link(file))),
    element("p", {}, element("code", {}, run.command)),
    ...run.deviations.map((text) => element("p", {}, `Deviation: ${text}`)),
    element(
      "div",
      { class: "columns" },
      element("table", {}, head("benchmark", "score", "95 %, items", "items", "chance"), ...scores),
      element("table", {}, head("source", "kept", "of", "share", "share as a bar"), ...sources),
    ),
  );
}

"use strict";
// What is shown lives in the address (#scale=…&sort=rel&open=RECORD), so that it can be sent to somebody else. A row is
// named by a record of its own, not by its place: the link still works when rows were added.
const read = (id) => JSON.parse(document.getElementById(id).textContent);
const BOARDS = read("boards"),
  STYLES = read("styles"),
  TIPS = read("tips"),
  RUN_TIPS = read("run-tips");
const FILTERS = ["experiment", "scale", "pool", "model", "recipe", "budget", "method"];
const state = () => new URLSearchParams(location.hash.slice(1));

function changed(changes) {
  const next = state();
  for (const [key, value] of Object.entries(changes)) value === "" ? next.delete(key) : next.set(key, value);
  return next.toString();
}

function change(changes) {
  location.hash = changed(changes);
}

// For the search box: every letter would be a step back of the browser otherwise.
function changeQuietly(changes) {
  history.replaceState(null, "", `#${changed(changes)}`);
  draw();
}

const reset = () => change({ q: "", open: "", ...Object.fromEntries(FILTERS.map((key) => [key, ""])) });

// As Python rounds, so that the page and the Markdown tables agree: of two numbers that are equally near, the even one.
// (toFixed takes the larger.) With 60 more digits it is exact for every number that is shown.
function fixed(value, digits) {
  const away = value.toFixed(digits),
    rest = value.toFixed(digits + 60).slice(-60);
  if (!/^50*$/.test(rest) || Number(away.at(-1)) % 2 === 0) return away;
  return (Number(away) - Math.sign(value) * 10 ** -digits).toFixed(digits);
}

const percent = (budget) => `${+fixed(budget, budget.toPrecision(4).split(".")[1]?.length ?? 0)} %`;

// What a row has under a filter; several experiments may share a run.
function valuesOf(board, row, key) {
  if (key === "experiment") return row.experiments;
  if (key === "budget") return [percent(row.budget)];
  return [key in row ? row[key] : board[key]];
}

function found(board, row) {
  row.words ??= [
    row.method,
    row.recipe,
    percent(row.budget),
    board.scale,
    board.pool,
    board.model,
    board.suite,
    ...row.experiments,
    ...row.names,
  ]
    .join("\n")
    .toLowerCase();
  return (state().get("q") ?? "")
    .toLowerCase()
    .split(/\s+/)
    .every((word) => row.words.includes(word));
}

// Whether a row passes the search and every filter but one.
const passes = (asked, board, row, but) =>
  found(board, row) &&
  FILTERS.every((key) => key === but || !asked.get(key) || valuesOf(board, row, key).includes(asked.get(key)));

// Of a filter, the values that the other filters and the search leave, and what it is set to.
function choices(key) {
  const asked = state(),
    left = new Set(asked.get(key) ? [asked.get(key)] : []);
  for (const board of BOARDS)
    for (const row of board.rows)
      if (passes(asked, board, row, key)) valuesOf(board, row, key).forEach((one) => left.add(one));
  return [...left].sort((a, b) => a.localeCompare(b, "en", { numeric: true }));
}

function sorted(rows, columns) {
  const asked = state(),
    down = asked.get("up") !== "1",
    key = asked.get("sort") ?? "rel";
  const of = (columns.find((column) => column.key === key) ?? columns.find((column) => column.key === "rel")).value;
  const known = (row) => of(row) !== undefined && of(row) !== null;
  const compare = (a, b) => (down ? -1 : 1) * (typeof a === "string" ? a.localeCompare(b) : a - b);
  return [...rows.filter(known).sort((a, b) => compare(of(a), of(b))), ...rows.filter((row) => !known(row))];
}

const isOpen = (row, name = state().get("open")) => name !== null && row.names.includes(name);

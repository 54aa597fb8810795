const drawn = new Set([0, 1]); // boards that are drawn; the others when they come near the screen
const near = new IntersectionObserver(
  (seen) => {
    const more = seen.filter((one) => one.isIntersecting).map((one) => Number(one.target.dataset.board));
    if (!more.length) return;
    more.forEach((number) => drawn.add(number));
    draw();
  },
  { rootMargin: "600px" },
);

function boardOf(board, number, rows) {
  const title = `${BOARDS.length > 1 ? `Board ${number + 1} of ${BOARDS.length} · ` : ""}${board.pool} · ${board.suite} · scale: ${board.scale}`;
  const recipes = [...new Set(board.rows.map((row) => row.recipe))].join(", ");
  const exact = { class: "exact", tabindex: "0", "data-tip": board.apart };
  const apart = board.differs ? [`${board.differs} `, element("span", exact, "Fingerprints"), ". "] : [];
  const about =
    `Recipe ${recipes}. Base model ${board.model}. Cells: mean ± standard deviation (number of seeds); bars in the picture are the ` +
    "same. Hollow: one seed, which cannot rank methods; its bar is the 95 % interval over items, and the Pareto front leaves it out. " +
    "Rel. is relative to this board's full runs, so it can differ from that of a page with fewer of them. " +
    "†: at chance for the full run, and left out of Rel.";
  const section = element(
    "section",
    { "data-board": number },
    element("h2", {}, title),
    element("p", { class: "about" }, ...apart, about),
  );
  if (drawn.has(number) || rows.some((row) => isOpen(row)))
    section.append(...[...plot(board, rows), ...table(board, number, rows)].filter(Boolean));
  else near.observe(section);
  return section;
}

function filters() {
  const asked = state();
  const choice = (key) =>
    element(
      "select",
      { name: key, "data-filter": key, onchange: (event) => change({ [key]: event.target.value, open: "" }) },
      element("option", { value: "" }, "all"),
      ...choices(key).map((name) =>
        element("option", { value: name, ...(asked.get(key) === name ? { selected: "" } : {}) }, name),
      ),
    );
  document.getElementById("filters").replaceChildren(...FILTERS.map((key) => element("label", {}, key, choice(key))));
  const box = document.getElementById("search");
  if (box.value !== (asked.get("q") ?? "")) box.value = asked.get("q") ?? "";
}

const resetButton = (name) =>
  element("button", { type: "button", class: "more", "data-reset": name, onclick: reset }, "Reset search and filters");

function drawAll() {
  filters();
  near.disconnect();
  const asked = state(),
    every = BOARDS.flatMap((board) => board.rows).length;
  const left = BOARDS.map((board) => board.rows.filter((row) => passes(asked, board, row)));
  const rows = left.flat().length,
    narrowed = ["q", ...FILTERS].some((key) => asked.get(key));
  const sections = BOARDS.map((board, number) =>
    left[number].length ? boardOf(board, number, left[number]) : null,
  ).filter(Boolean);
  const empty = element(
    "section",
    { class: "empty" },
    element("h2", {}, "No run matches."),
    element("p", {}, "No row passes the search and all filters together."),
    resetButton("empty"),
  );
  document
    .getElementById("count")
    .replaceChildren(`${rows} of ${every} rows`, ...(narrowed && rows ? [" ", resetButton("top")] : []));
  document.getElementById("shown").replaceChildren(...(rows ? sections : [empty]));
}

// Everything is drawn anew, so that what had the keyboard's attention has to be found again.
function draw() {
  const at = document.activeElement?.dataset ?? {},
    before = [...document.querySelectorAll(".board")].map((b) => [b.scrollLeft, b.scrollTop]);
  const [name, text] = Object.entries(at).find(([key]) => ["row", "point", "sort", "filter"].includes(key)) ?? [];
  drawAll();
  const again = name && [...document.querySelectorAll(`[data-${name}]`)].find((one) => one.dataset[name] === text);
  if (again) again.focus({ preventScroll: true });
  document.querySelectorAll(".board").forEach((b, i) => {
    [b.scrollLeft, b.scrollTop] = before[i] ?? [0, 0];
  });
}

const rowOf = (id) => [...document.querySelectorAll("[data-row]")].find((one) => one.dataset.row === id);

// A point's row may be far below it.
function show(id) {
  change({ open: id });
  setTimeout(() => rowOf(id)?.scrollIntoView({ block: "center" }), 50);
}

document
  .getElementById("search")
  .addEventListener("input", (event) => changeQuietly({ q: event.target.value, open: "" }));
document.getElementById("more").open = innerWidth > 640; // on a phone the filters would fill the first screen
document.getElementById("form").addEventListener("submit", (event) => event.preventDefault());
let wide = innerWidth;
addEventListener("resize", () => {
  if (innerWidth !== wide) {
    wide = innerWidth;
    draw();
  }
});
addEventListener("hashchange", draw);
draw();
document.querySelector(".row[aria-expanded=true]")?.scrollIntoView({ block: "center" });

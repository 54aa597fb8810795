"use strict";
// Every element with data-tip explains itself to the mouse, the keyboard and the finger: one box for all of them, because
// a box inside a scrolling table would be cut off. The text is set as text: it may come from a stranger's record.
const tip = document.createElement("div");
tip.id = "tip";
tip.role = "tooltip";
tip.hidden = true;
document.body.append(tip);

let what = null; // the element that is explained now

function explain(next) {
  what?.removeAttribute("aria-describedby");
  what = next;
  tip.hidden = !what;
  if (!what) return;
  tip.textContent = what.dataset.tip;
  what.setAttribute("aria-describedby", "tip");
  beside();
}

// Below the element, or above it where there is no room.
function beside() {
  if (!what?.isConnected) return explain(null);
  const around = what.getBoundingClientRect(),
    [wide, high] = [tip.offsetWidth, tip.offsetHeight];
  const above = around.bottom + 8 + high > innerHeight;
  tip.style.left = `${Math.max(8, Math.min(around.left + around.width / 2 - wide / 2, innerWidth - wide - 8))}px`;
  tip.style.top = `${Math.max(8, above ? around.top - 8 - high : around.bottom + 8)}px`;
}

// What lies under the pointer, else what the keyboard is at.
const explained = (event) => event.target.closest?.("[data-tip]") ?? document.querySelector("[data-tip]:focus-visible");
for (const kind of ["pointerover", "focusin"]) document.addEventListener(kind, (event) => explain(explained(event)));
document.addEventListener("keydown", (event) => {
  if (event.key === "Escape") explain(null);
});
addEventListener(
  "scroll",
  () => {
    if (what) beside();
  },
  true,
);

// One stop of the tab key for many elements. Two arrow keys move between them in their order, in a table the other two
// between rows; Home and End go to the first and the last.
function rove(inside, query, [back, forward] = ["ArrowLeft", "ArrowRight"]) {
  const all = () => [...inside.querySelectorAll(query)];
  const stop = (one) =>
    all().forEach((other) => {
      other.tabIndex = other === one ? 0 : -1;
    });
  const inRow = (cell, by) => {
    const other = cell.closest("table")?.rows[cell.parentElement.rowIndex + by]?.cells[cell.cellIndex];
    return other?.matches(query) ? other : cell;
  };
  stop(all()[0]);
  inside.addEventListener("focusin", (event) => {
    if (event.target.matches(query)) stop(event.target);
  });
  inside.addEventListener("keydown", (event) => {
    const list = all(),
      now = list.indexOf(event.target),
      last = list.length - 1;
    const next = {
      [back]: list[Math.max(0, now - 1)],
      [forward]: list[Math.min(last, now + 1)],
      Home: list[0],
      End: list[last],
      ...(inside.tagName === "TABLE" ? { ArrowUp: inRow(event.target, -1), ArrowDown: inRow(event.target, 1) } : {}),
    }[event.key];
    if (now < 0 || !next) return;
    event.preventDefault();
    next.focus();
  });
  return inside;
}

document.querySelectorAll("[data-rove]").forEach((one) => rove(one, one.dataset.rove));

// The choice of colours is kept where the browser lets a page keep something.
try {
  document.getElementById(localStorage.getItem("selectmm-theme") ?? "theme-auto")?.click();
  document
    .querySelector(".theme")
    .addEventListener("change", (event) => localStorage.setItem("selectmm-theme", event.target.id));
} catch {
  /* a browser may refuse storage to files */
}

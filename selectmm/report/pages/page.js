"use strict";
// Every element with data-tip explains itself to the mouse, the keyboard and the finger: one box for all of them, because
// a box inside a scrolling table would be cut off. The text is set as text: it may come from a stranger's record.
const tip = document.createElement("div");
tip.id = "tip";
tip.role = "tooltip";
tip.hidden = true;
document.body.append(tip);

let what = null;  // the element that is explained now

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
  const around = what.getBoundingClientRect(), [wide, high] = [tip.offsetWidth, tip.offsetHeight];
  const above = around.bottom + 8 + high > innerHeight;
  tip.style.left = `${Math.max(8, Math.min(around.left + around.width / 2 - wide / 2, innerWidth - wide - 8))}px`;
  tip.style.top = `${Math.max(8, above ? around.top - 8 - high : around.bottom + 8)}px`;
}

// What lies under the pointer, else what the keyboard is at.
const explained = (event) => event.target.closest?.("[data-tip]") ?? document.querySelector("[data-tip]:focus-visible");
for (const kind of ["pointerover", "focusin"]) document.addEventListener(kind, (event) => explain(explained(event)));
document.addEventListener("keydown", (event) => { if (event.key === "Escape") explain(null); });
addEventListener("scroll", () => { if (what) beside(); }, true);

// The choice of colours is kept where the browser lets a page keep something.
try {
  document.getElementById(localStorage.getItem("selectmm-theme") ?? "theme-auto")?.click();
  document.querySelector(".theme").addEventListener("change", (event) => localStorage.setItem("selectmm-theme", event.target.id));
} catch { /* a browser may refuse storage to files */ }

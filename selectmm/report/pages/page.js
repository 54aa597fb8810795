"use strict";
// Every element with data-tip explains itself to the mouse, the keyboard and the finger: one box for all of them, because
// a box inside a scrolling table would be cut off. The text is set as text: it may come from a stranger's record.
const tip = document.createElement("div");
tip.id = "tip";
tip.role = "tooltip";
tip.hidden = true;
document.body.append(tip);

function explain(event) {
  const what = event.target.closest?.("[data-tip]");
  tip.hidden = !what;
  document.querySelectorAll("[aria-describedby=tip]").forEach((one) => one !== what && one.removeAttribute("aria-describedby"));
  if (!what) return;
  tip.textContent = what.dataset.tip;
  what.setAttribute("aria-describedby", "tip");
  const around = what.getBoundingClientRect(), [wide, high] = [tip.offsetWidth, tip.offsetHeight];
  const above = around.bottom + 8 + high > innerHeight;
  tip.style.left = `${Math.max(8, Math.min(around.left + around.width / 2 - wide / 2, innerWidth - wide - 8))}px`;
  tip.style.top = `${Math.max(8, above ? around.top - 8 - high : around.bottom + 8)}px`;
}

for (const kind of ["pointerover", "focusin"]) document.addEventListener(kind, explain);
document.addEventListener("keydown", (event) => { if (event.key === "Escape") tip.hidden = true; });
addEventListener("scroll", () => { tip.hidden = true; }, true);

// The choice of colours is kept where the browser lets a page keep something.
try {
  document.getElementById(localStorage.getItem("selectmm-theme") ?? "theme-auto")?.click();
  document.querySelector(".theme").addEventListener("change", (event) => localStorage.setItem("selectmm-theme", event.target.id));
} catch { /* a browser may refuse storage to files */ }

"""How the page looks. Kept is blue and dropped grey, which nobody's eyes mix up; the cut is orange (Okabe and Ito)."""

STYLE = """
:root { --kept: light-dark(#0072b2, #3d94cc); --dropped: light-dark(#b9bec4, #565f68);
  --cut: light-dark(#d55e00, #ee8434); }
main { max-width: 1080px; margin: 0 auto; padding: 24px 20px 60px; }
header { padding: 8px 0 4px; }
h1 { margin: 0; font-size: 30px; overflow-wrap: anywhere; padding-right: 220px; }
.sub { margin: 2px 0 14px; font-size: 18px; color: var(--soft); }
h2 { margin: 0 0 12px; font-size: 19px; }
h3 { margin: 26px 0 8px; font-size: 16px; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: 3px 16px; margin: 0; }
dt { color: var(--soft); } dd { margin: 0; overflow-wrap: anywhere; }
section { margin-top: 22px; padding: 18px 20px; background: var(--card); border: 1px solid var(--line);
  border-radius: 8px; }
.note, figcaption { margin: 10px 0 0; color: var(--soft); font-size: 13px; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
.sources { width: 100%; } .sources td, .sources th { padding: 3px 10px; text-align: right; white-space: nowrap; }
.sources th:first-child { text-align: left; padding-left: 0; font-weight: 500; white-space: normal; }
.sources tr:first-child th { color: var(--soft); font-weight: 400; font-size: 13px; }
.sources td:last-child { width: 52%; padding-right: 0; }
.bar { min-width: 2px; height: 14px; background: var(--dropped); border-radius: 2px; overflow: hidden; }
.bar div { height: 100%; background: var(--kept); }
figure { margin: 0; } svg { width: 100%; height: auto; } svg text { font-size: 12px; fill: var(--soft); }
.legend { margin: 0 0 2px; font-size: 13px; color: var(--soft); }
.key { display: inline-block; width: 11px; height: 11px; margin: 0 5px 0 12px; border-radius: 2px; }
.legend .key:first-child { margin-left: 0; }
.key.kept { background: var(--kept); } .key.dropped { background: var(--dropped); }
rect.kept { fill: var(--kept); } rect.dropped { fill: var(--dropped); } .axis { stroke: var(--soft); }
line.cut { stroke: var(--cut); stroke-width: 2; stroke-dasharray: 5 4; }
svg text.cut { fill: var(--cut); font-size: 13px; }
.scroll { overflow-x: auto; }
.overlap td, .overlap th { padding: 7px 10px; min-width: 58px; text-align: center; }
.overlap th:first-child { text-align: left; font-weight: 500; padding-left: 0; }
.overlap td.dark { color: #fff; } .overlap small { display: block; font-size: 11px; opacity: .75; }
.cards { display: grid; grid-template-columns: repeat(auto-fill, minmax(225px, 1fr)); gap: 12px; }
.card { border: 1px solid var(--line); border-radius: 8px; padding: 10px; overflow-wrap: anywhere; font-size: 13.5px; }
.card img, .blank { display: block; width: 100%; height: 170px; object-fit: contain; background: var(--hover);
  border-radius: 5px; image-rendering: auto; }
.blank { line-height: 170px; text-align: center; color: var(--soft); }
.card p { margin: 6px 0 0; white-space: pre-wrap; } .head { display: flex; justify-content: space-between; }
.state { padding: 0 8px; border-radius: 10px; font-size: 12px; line-height: 20px; }
.state.kept { background: var(--kept); color: #fff; } .state.dropped { background: var(--dropped); }
.where, .more { color: var(--soft); font-size: 12px; } .user { font-weight: 600; }
.assistant { padding-left: 9px; border-left: 3px solid var(--line); }
@media (max-width: 640px) {
  h1 { padding: 0; font-size: 24px; } main { padding: 12px; } section { padding: 14px; overflow-x: auto; }
  .sources tr > :last-child { display: none; } figure svg { min-width: 520px; }
}
@media print { section { break-inside: avoid; } .card { break-inside: avoid; } }
"""

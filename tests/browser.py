"""Pages in a real browser, without a driver: Chromium or Chrome prints what a page has become.

A test may press keys and click; what it does runs inside the page.
"""

import json
import re
import shutil
import subprocess
from collections.abc import Sequence
from html import unescape
from pathlib import Path

import pytest

NAMES = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
BROWSER = next(filter(None, map(shutil.which, NAMES)), None)
with_browser = pytest.mark.skipif(
    BROWSER is None,
    reason="no Chromium or Chrome on the PATH, and none could be installed; `make test` tries, as root on Debian",
)
# It forbids every script but the page's own, so that this one needs it gone. What then still does nothing is text.
POLICY = re.compile(r'<meta http-equiv="Content-Security-Policy"[^>]*>')
ACT = """<script>
const find = (query) => document.querySelector(query);
const press = (key, query) => {
  if (query) find(query).focus();
  document.activeElement.dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true, cancelable: true }));
};
const type = (query, words) => {
  find(query).value = words;
  find(query).dispatchEvent(new Event("input", { bubbles: true }));
};
(async () => {
  const answers = [];
  for (const [act, ask] of [STEPS]) {
    act();
    await new Promise((done) => setTimeout(done, 120));
    answers.push(ask());
  }
  const found = document.createElement("pre");
  found.id = "answers";
  found.textContent = JSON.stringify(answers);
  document.body.append(found);
})();
</script>"""


def drawn(page: Path, state: str = "", *flags: str) -> str:
    """The page's HTML after its script has run, at an address that ends in ``#state``."""
    always = ["--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={page.parent / 'browser'}"]
    command = [str(BROWSER), *always, *flags, "--virtual-time-budget=4000", "--dump-dom", f"{page.as_uri()}#{state}"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    if done.returncode or "<body" not in done.stdout:
        last = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
        pytest.fail(f"{BROWSER} is there, but could not show a page: {last}", pytrace=False)
    return done.stdout


def acted(page: Path, steps: Sequence[tuple[str, str]], state: str = "", *flags: str) -> list[object]:
    """What the page answers after each step, as a pair of JavaScript: an action and the expression asked after it."""
    code = ", ".join(f"[() => {{ {act}; }}, () => {ask}]" for act, ask in steps)
    html = POLICY.sub("", page.read_text())
    beside = page.with_name(f"acted-{page.name}")
    beside.write_text(html.replace("</body>", ACT.replace("STEPS", code) + "</body>"))
    found = re.search(r'<pre id="answers">(.*?)</pre>', drawn(beside, state, *flags), re.DOTALL)
    assert found, "the page's script did not come to its end"
    return json.loads(unescape(found[1]))

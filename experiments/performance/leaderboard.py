"""How long does the leaderboard of 2,000 records take to be built, and its page to be drawn in a browser?

python experiments/performance/leaderboard.py [--records 2000] [--out FOLDER]

The records are copies of the committed ones, with other seeds; every second copy of a method also has an option more,
so that it is a row of its own. They are written beside the result and deleted again. Chromium or Chrome has to be on
the PATH. Its clock goes on while other programs have the cores; the seconds that its threads computed, all together, do
not count these. Without other programs neither is shorter than drawing takes, so the smaller one is judged.
"""

import json
import re
import resource
import shutil
import subprocess
import sys
from argparse import ArgumentDefaultsHelpFormatter, ArgumentParser
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

# Run as a script, Python would look beside this file alone.
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from experiments.performance.floor import Floor, Part, rate_of
from experiments.performance.sides import ROOT, keep, measure
from selectmm.errors import UserError
from selectmm.records.files import load
from selectmm.report.leaderboard.page import address, write_leaderboard

RECORDS = 2_000
AIMS = 60.0, 1.0  # seconds to build the page, and until it is drawn
TRIES = 5  # the fastest counts: other programs only make a browser slower
BROWSERS = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
REFERENCES = ("full", "random")  # one row of each for a budget and a recipe
# It forbids every script but the page's own.
POLICY = re.compile(r'<meta http-equiv="Content-Security-Policy"[^>]*>')
CLOCK = """<script>
document.body.offsetHeight; // lays the page out
document.body.dataset.drawn = performance.now();
</script></body>"""
EMPTY = "<!doctype html><html><body></body></html>"


def by_command(records: Sequence[Path], page: Path) -> Callable[[], np.ndarray]:
    """What `selectmm leaderboard` does with these records; gives the number of rows."""

    def run() -> np.ndarray:
        boards = write_leaderboard({address(path, page): load(path) for path in records}, page)
        return np.array([sum(len(board["rows"]) for board in boards)])

    return run


def write_records(folder: Path, count: int) -> list[Path]:
    """Write so many copies of the committed records."""
    folder.mkdir(parents=True)
    committed = [json.loads(path.read_text()) for path in sorted((ROOT / "results" / "records").glob("*.json"))]
    written = []
    for number in range(count):
        copy, place = divmod(number, len(committed))
        record = committed[place] | {"seed": committed[place]["seed"] + 1_000 * copy}
        if copy % 2 and record["method"]["name"] not in REFERENCES:
            record["method"] = record["method"] | {"options": {**record["method"]["options"], "copy": copy}}
        written.append(folder / f"{number:05d}.json")
        written[-1].write_text(json.dumps(record), encoding="utf-8")
    return written


def drawn(page: Path, browser: str) -> tuple[float, float]:
    """Seconds from the start of loading until the page is laid out, and those that the browser's threads computed.

    An empty page's are taken off the latter.

    Raises:
        RuntimeError: the browser did not show the page.
    """
    timed = page.with_name("timed.html")
    timed.write_text(POLICY.sub("", page.read_text(encoding="utf-8")).replace("</body>", CLOCK), encoding="utf-8")
    empty = page.with_name("empty.html")
    empty.write_text(EMPTY.replace("</body>", CLOCK), encoding="utf-8")
    seconds, busy = (list(values) for values in zip(*(_shown(timed, browser) for _ in range(TRIES)), strict=True))
    return min(seconds), min(busy) - min(_shown(empty, browser)[1] for _ in range(TRIES))


def _shown(page: Path, browser: str) -> tuple[float, float]:
    always = ["--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={page.parent / 'browser'}", "--dump-dom"]
    before = _busy()
    done = subprocess.run([browser, *always, page.as_uri()], capture_output=True, text=True, timeout=300, check=False)
    found = re.search(r'data-drawn="([\d.]+)"', done.stdout)
    if not found:
        raise RuntimeError(f"{browser} did not show {page}: {done.stderr[-500:]}")
    return float(found[1]) / 1000, _busy() - before


def _busy() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def main(arguments: list[str]) -> Path:
    """Measure, print and keep; returns the record's path.

    Raises:
        UserError: there is no browser.
    """
    made = ArgumentParser(description=__doc__.splitlines()[0], formatter_class=ArgumentDefaultsHelpFormatter)
    made.add_argument("--records", type=int, default=RECORDS)
    made.add_argument("--out", type=Path, default=Path("outputs/performance"))
    given = made.parse_args(arguments)
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    if browser is None:
        raise UserError("No Chromium or Chrome is on the PATH; install one, such as chromium-headless-shell.")
    place = (given.out / "leaderboard").resolve()
    try:
        records = write_records(place / "records", given.records)
        page = place / "leaderboard.html"
        side, rows = measure(by_command, records, page)
        seconds, busy = drawn(page, browser)
        stated = floors(records, side.seconds)
        size = page.stat().st_size
    finally:
        shutil.rmtree(place, ignore_errors=True)
    judged = given.records == RECORDS
    figures = {
        "rows of the leaderboard": int(rows[0]),
        "megabytes of the page": round(size / 1e6, 1),
        "seconds to build the page": round(side.seconds, 1),
        "aim of building it": _met(side.seconds, AIMS[0]) if judged else "–",
        "seconds until the page is drawn, by the browser's clock, other programs included": round(seconds, 2),
        "seconds that all threads of the browser computed, less those of an empty page": round(busy, 2),
        "aim of drawing it, by the smaller of the two": _met(min(seconds, busy), AIMS[1]) if judged else "–",
    }
    for key, value in figures.items():
        print(f"{key}: {value}")
    return keep("leaderboard", {"records": given.records}, [], given.out, figures, [stated.record()])


def _met(seconds: float, aim: float) -> str:
    return f"at most {aim:g} s: {'met' if seconds <= aim else 'NOT met'}"


def floors(records: Sequence[Path], seconds: float) -> Floor:
    """Every record is parsed once; checking them, statistics and writing the page are not counted."""
    texts = [path.read_bytes() for path in records]
    size = sum(map(len, texts))
    rate = rate_of(lambda: [json.loads(text) for text in texts], size, tries=2)
    what = f"a leaderboard of {len(records):,} records, built"
    return Floor(what, seconds, (Part("the records parsed, by Python's json", size, "bytes", rate),))


if __name__ == "__main__":
    main(sys.argv[1:])

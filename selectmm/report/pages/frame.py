"""The frame of a page: one file that needs no network and no server, with its style, script and data inside."""

import base64
import hashlib
import json
from collections.abc import Mapping
from html import escape
from importlib.resources import files

# Which colours the page has: those of the system, until somebody chooses.
SWITCH = (
    '<fieldset class="theme"><legend>Colours</legend>'
    '<label><input type="radio" name="theme" id="theme-auto" checked>as the system</label>'
    '<label><input type="radio" name="theme" id="theme-light">light</label>'
    '<label><input type="radio" name="theme" id="theme-dark">dark</label></fieldset>'
)


def frame(title: str, style: str, body: str, script: str = "", data: Mapping[str, object] | None = None) -> str:
    """The finished page.

    Records and pools may come from strangers. Their text is escaped in ``body`` or travels in ``data``, where every
    ``<`` is written as an escape, so that nothing can end the element that holds it. Besides, the page's own policy
    lets a browser run this very script and no other, and send no request.

    Args:
        title: any text.
        style, script: CSS and JavaScript of the project's own.
        body: HTML, in which everything that is not the project's own is escaped.
        data: by the id of the element that the script reads it from, ready for JSON.
    """
    runs = f"script-src 'sha256-{_checksum(script)}'; " if script else ""
    policy = f"default-src 'none'; {runs}img-src data:; style-src 'unsafe-inline'"
    blocks = [
        f'<script type="application/json" id="{escape(name)}">{_json(value)}</script>'
        for name, value in (data or {}).items()
    ]
    code = [f"<script>{script}</script>"] if script else []
    parts = [
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">',
        f"<title>{escape(title)}</title>",
        f"<style>\n{text('pages', 'page.css')}{style}</style>\n</head>\n<body>",
        SWITCH,
        body,
        *blocks,
        *code,
        "</body>\n</html>\n",
    ]
    return "\n".join(parts)


def text(package: str, name: str) -> str:
    """A file that lies beside the code in ``selectmm/report/<package>``."""
    return (files("selectmm.report") / package / name).read_text(encoding="utf-8")


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, sort_keys=True, allow_nan=False).replace("<", "\\u003c")


def _checksum(script: str) -> str:
    return base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()

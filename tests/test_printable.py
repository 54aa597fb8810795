"""A stranger's text cannot steer the terminal, wherever it is printed."""

import io
import logging
from unicodedata import category

from hypothesis import example, given
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from rich.table import Table

from selectmm.cache.progress import PrintableConsole
from selectmm.errors import UserError
from selectmm.printable import NumberedFormatter, PrintableFormatter, in_markdown, printable

CLEAR, TITLE = "\x1b[2J", "\x1b]0;mine\x07"  # clear the screen; name the window
STEERS = {"Cc", "Cf", "Cs", "Zl", "Zp"}  # Unicode's control, format and surrogate characters, line and paragraph ends


@given(st.text(st.characters() | st.sampled_from("\x1b\x07\x9b‮\ud800\n\t")))
def test_nothing_is_left_that_a_terminal_obeys(text: str) -> None:
    shown = printable(text)
    assert not [sign for sign in shown if category(sign) in STEERS and sign not in "\n\t"]
    shown.encode()


@given(st.text(st.characters(categories=["L", "N", "P", "S"])))
def test_what_is_printable_stays(text: str) -> None:
    assert printable(text) == text


def test_escapes_are_readable() -> None:
    assert printable(f"a{CLEAR}b{TITLE}") == r"a\x1b[2Jb\x1b]0;mine\x07"
    assert printable("one\ntwo\t‮three") == "one\ntwo\t\\u202ethree"


@given(st.text(st.sampled_from("a |\\`[]()<>!&*_:/\n\x1b"), max_size=30))
@example("<a>")
@example("![seen](http://a)")
@example(r"a\|b")
def test_a_cell_in_markdown_stays_one_cell_without_links_and_tags(text: str) -> None:
    page = MarkdownIt().enable("table").parse(f"| head | next |\n|---|---|\n| {in_markdown(text)} | end |")
    cells = [token for token in page if token.type == "inline"]
    assert [cells[0].content, cells[1].content, cells[3].content, len(cells)] == ["head", "next", "end", 4]
    inside = {part.type for token in cells for part in token.children or []}
    assert not inside & {"link_open", "image", "html_inline"}


def test_a_line_in_markdown_defines_no_link_that_another_uses() -> None:
    page = MarkdownIt().parse("\n".join(f"- {in_markdown(line)}" for line in ("[seen]: http://a", "![seen]", "[seen]")))
    shown = [token.content for token in page if token.type == "inline"]
    assert len(shown) == 3 and not [token for token in page for part in token.children or [] if part.type != "text"]


def test_sentences_logs_and_tables_are_printable() -> None:
    assert str(UserError(f"Row{CLEAR}")) == r"Row\x1b[2J"
    record = logging.LogRecord("x", logging.INFO, "x", 1, "source %s", (CLEAR,), None)
    assert PrintableFormatter("%(message)s").format(record) == r"source \x1b[2J"
    screen = io.StringIO()
    console, table = PrintableConsole(80, screen), Table(f"head{CLEAR}", title=f"title{CLEAR}")
    table.add_row(f"[red]cell{CLEAR}[/blue]")
    console.print(table)
    console.print(f"line{CLEAR} [/blue] :smile:", style="bold")
    assert "\x1b" not in screen.getvalue()
    for part in ("head", "title", "[red]cell", "line"):
        assert part in screen.getvalue()
    assert r"line\x1b[2J [/blue] :smile:" in screen.getvalue()


def test_every_line_of_a_job_beside_others_has_its_number() -> None:
    record = logging.LogRecord("selectmm", logging.INFO, "", 0, "\nfirst\n  %s", ("second",), None)
    assert NumberedFormatter(3).format(record) == "\n[3] first\n[3]   second"

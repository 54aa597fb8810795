"""Nothing is written through a link that somebody puts into the folder of a stage that runs."""

import re
from pathlib import Path

import pytest

from selectmm.cache.no_links import open_new, open_unlinked, refuse_links
from selectmm.errors import UserError

PACKAGE = Path(__file__).parents[2] / "selectmm"
# Calls that follow links. A stream that is open already is called stream, file, sink or copy here.
FOLLOWS = re.compile(
    r"""\.open\(\s*["'][wa]|\.write_text\(|\.write_bytes\(|\.touch\(|copyfile\(|copytree\((?!.*copy_function)|np\.savez?\((?!stream|file|content|$)"""
)
# Files of the package that have such calls, and why no link of another user's can be there.
ELSEWHERE = {
    "export": "a folder that the user names, or that no stage goes on with",
    "quickstart": "looked through when the stage begins; it takes a minute, and a change would make all its data again",
    "models/assemble.py": "a folder that the user names",
    "evaluation/local.py": "a temporary folder",
    "evaluation/tasks.py": "a temporary folder",
    "launch/gpus.py": "a folder that only the user can write to",
    "cache/cost.py": "a file of the kernel that every process has of itself",
    "tuning/checkpoint.py": "a folder that is closed to others",
    "methods/subset.py": "looked at just before; a change would compute every subset again",
}


@pytest.mark.parametrize("mode", ["wb", "ab"])
def test_a_file_is_written_and_a_link_is_refused(tmp_path: Path, mode: str) -> None:
    link = tmp_path / "link"
    for target in (tmp_path / "mine", tmp_path / "nothing"):
        with open_unlinked(tmp_path / "mine", mode) as file:
            file.write(b"content")
        link.symlink_to(target)
        before = (tmp_path / "mine").read_bytes()
        with pytest.raises(UserError, match=f"^{link} is a link, but no stage makes links; delete it, and start"):
            open_unlinked(link, mode)
        assert (tmp_path / "mine").read_bytes() == before and not (tmp_path / "nothing").exists()
        link.unlink()


def test_a_new_file_takes_the_place_of_a_link(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("content")
    (tmp_path / "link").symlink_to(tmp_path / "mine")
    with open_new(tmp_path / "link") as file:
        file.write(b"other")
    assert (tmp_path / "mine").read_text() == "content" and (tmp_path / "link").read_bytes() == b"other"


def test_links_are_refused_before_a_library_writes(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path)
    refuse_links([tmp_path, tmp_path / "nothing"])
    with pytest.raises(UserError, match=f"^{tmp_path / 'link'} is a link, but no stage makes links"):
        refuse_links([tmp_path, tmp_path / "link"])


def test_no_stage_opens_files_in_a_way_that_follows_links() -> None:
    found = {
        str(file.relative_to(PACKAGE))
        for file in PACKAGE.rglob("*.py")
        if any(FOLLOWS.search(line) for line in file.read_text().splitlines())
    }
    assert {name for name in found if not any(name.startswith(place) for place in ELSEWHERE)} == set()

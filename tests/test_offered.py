"""Methods of other packages and of the user's own folder, and the command that checks them."""

import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hydra.core.config_store import ConfigStore
from omegaconf import OmegaConf

from selectmm.command_line import offered
from selectmm.command_line.help import help_text
from selectmm.command_line.jobs import read_jobs
from selectmm.command_line.reading import check_overrides, read_config
from selectmm.commands import select
from selectmm.commands.check import main
from selectmm.errors import UserError
from selectmm.instantiate import open_method

ROOT = Path(__file__).parent.parent
METHOD = '''
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from selectmm.methods.length import Length
from selectmm.methods.method import Needs
from selectmm.methods.order import random_keys
from selectmm.methods.subset import Subset

MINE = Path(__file__).with_name("mine.yaml")
WRONG = 7


@dataclass(frozen=True)
class Theirs:
    """Any rows; ``by`` is how they are drawn."""

    by: str = "digest"
    sizes: tuple[int, ...] = (1, 2)

    def needs(self):
        return Needs()

    def select(self, pool, features, budget, rng):
        if self.by == "nothing":
            return pool[len(pool)]
        if self.by == "few":
            return Subset(np.arange(min(budget, 7)))
        drawn = {"digest": lambda: random_keys(pool, rng), "position": lambda: rng.random(len(pool)),
                 "chance": lambda: np.random.default_rng().random(len(pool))}[self.by]()
        return Subset(np.argsort(drawn, kind="stable")[:budget])
'''
ENTRIES = """[selectmm.methods]
theirs = their_package:Theirs
their_file = their_package:MINE
prism = their_package:Theirs
wrong = their_package:WRONG
gone = their_package.nowhere:Theirs
"""


@pytest.fixture(autouse=True)
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A package beside selectmm, as pip leaves it; what it puts into Hydra's store is taken out again."""
    info = tmp_path / "their_package-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: their-package\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(ENTRIES)
    (tmp_path / "their_package.py").write_text(METHOD)
    (tmp_path / "mine.yaml").write_text("_target_: their_package.Theirs\nby: position\nsizes: [1, 2]\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("SELECTMM_ROOT", str(ROOT))
    monkeypatch.setenv(offered.OWN, "")  # so that what a test sets is taken back
    monkeypatch.delenv(offered.OWN)
    offered._entries.cache_clear()
    yield
    ConfigStore.instance().repo.pop("method", None)
    offered._entries.cache_clear()
    sys.modules.pop("their_package", None)


def test_an_offered_method_is_a_choice_and_is_imported_only_when_it_is_chosen() -> None:
    assert {"theirs", "their_file"} <= set(offered.offered_methods())
    assert "theirs" in help_text(ROOT)
    with pytest.raises(UserError, match=r"There is no 'method=their': .*theirs"):
        check_overrides(ROOT / "configs", ["method=their"])
    offered.make_known(["method=full,random"])
    assert "their_package" not in sys.modules
    offered.make_known(["method=random,theirs"])
    jobs = read_jobs(["method=random,theirs"], multirun=True)
    assert [name for _, name in jobs] == ["random", "theirs"]
    assert jobs[1][0].method == {"_target_": "their_package.Theirs", "by": "digest", "sizes": [1, 2]}


def test_an_offered_file_is_read_and_its_options_are_set_as_any(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["method=their_file", "method.by=digest"]
    offered.make_known(words)
    method = open_method(OmegaConf.to_container(read_config(words).method))
    assert (type(method).__name__, method.by) == ("Theirs", "digest")
    main(words)
    assert "satisfies the contract" in capsys.readouterr().out


def test_a_name_that_selectmm_has_stays_selectmm_s() -> None:
    offered.make_known(["method=prism"])
    assert read_config(["method=prism"]).method["_target_"] == "selectmm.methods.prism.Prism"


@pytest.mark.parametrize(
    ("name", "said"),
    [
        (
            "wrong",
            r"method=wrong, which the package their-package offers \(their_package:WRONG\), is neither a dataclass",
        ),
        ("gone", r"method=gone, which the package their-package offers .*, cannot be imported: ModuleNotFoundError"),
    ],
)
def test_an_offer_that_is_no_method_is_named(name: str, said: str) -> None:
    with pytest.raises(UserError, match=said):
        offered.make_known([f"method={name}"])


def test_a_file_of_one_s_own_with_a_name_of_ours_is_refused(tmp_path: Path) -> None:
    """Hydra would take ours. A copy of ours is ours."""
    folder = tmp_path / "conf"
    (folder / "method").mkdir(parents=True)
    offered.take_own_folder(["--config-dir", str(folder)])
    mine = folder / "method" / "length.yaml"
    mine.write_text((ROOT / "configs/method/length.yaml").read_text())
    check_overrides(ROOT / "configs", ["method=length"])
    mine.write_text("_target_: their_package.Theirs\n")
    said = re.escape(f"method=length: {mine} has the name of one of selectmm's own, which would run in its place; give")
    with pytest.raises(UserError, match=said):
        check_overrides(ROOT / "configs", ["method=random,length"])
    check_overrides(ROOT / "configs", ["method=random"])


def test_all_methods_are_one_s_own_too(tmp_path: Path) -> None:
    folder = tmp_path / "conf"
    (folder / "method" / "mine").mkdir(parents=True)
    (folder / "method" / "mine.yaml").write_text("_target_: their_package.Theirs\n")
    (folder / "method" / "mine" / "variant.yaml").write_text("_target_: their_package.Theirs\n")
    offered.take_own_folder(["--config-dir", str(folder)])
    offered._entries.cache_clear()
    (tmp_path / "their_package-1.0.dist-info/entry_points.txt").write_text(ENTRIES.partition("wrong")[0])
    names = select._names([], every=True)
    assert {"mine", "theirs", "their_file", "prism"} <= set(names) and not {"mine/variant", "full"} & set(names)
    assert names == sorted(set(names))


def test_a_file_without_a_class_is_told_what_it_needs() -> None:
    with pytest.raises(UserError, match=r"^method names no class; its YAML file needs a line such as _target_: my_pro"):
        open_method({"floor": 3})


def test_a_method_of_the_user_s_own_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    own = tmp_path / "conf" / "method"
    own.mkdir(parents=True)
    (own / "mine.yaml").write_text("_target_: their_package.Theirs\nby: digest\n")
    (own / "lost.yaml").write_text("_target_: nowhere_at_all.Theirs\n")
    for typed in (["--config-dir", str(tmp_path / "conf")], [f"--config-dir={tmp_path / 'conf'}"]):
        assert offered.take_own_folder(["-m", *typed, "method=mine"]) == ["-m", "method=mine"]
    assert [name for _, name in read_jobs(["method=full,mine", "method.by=digest"][:1], multirun=True)] == [
        "full",
        "mine",
    ]
    main(["method=mine"])
    assert "Theirs(by='digest', sizes=(1, 2)) satisfies the contract" in capsys.readouterr().out
    with pytest.raises(
        UserError, match=r"_target_: nowhere_at_all\.Theirs cannot be imported \(.*\); install its package"
    ):
        main(["method=lost"])


@pytest.mark.parametrize("typed", [["--config-dir"], ["--config-dir=nowhere/at/all"]])
def test_a_folder_that_is_not_there_is_named(typed: list[str]) -> None:
    with pytest.raises(UserError, match=r"--config-dir.*give one that is laid out as configs/\."):
        offered.take_own_folder(typed)


@pytest.mark.parametrize(
    ("by", "said"),
    [
        (
            "position",
            "keeps other rows when the pool is stored in another order; usually it draws, or breaks ties, by position",
        ),
        ("chance", "gave two subsets for one seed; usually it draws from np.random"),
        ("few", "kept 7 of 60 rows for a budget of 20; usually a filter or a rounded share per group"),
        ("nothing", r"The method raised \w+: .*their_package.*It has to select from any pool"),
    ],
)
def test_what_breaks_a_rule_is_named_with_what_usually_does(by: str, said: str) -> None:
    words = ["method=theirs", f"method.by={by}"]
    offered.make_known(words)
    with pytest.raises(SystemExit, match=said):
        main(words)


def test_a_method_whose_file_is_not_given_is_asked_for_it() -> None:
    with pytest.raises(UserError, match=r"Not set: method\.keep; give method\.keep=… on the command line\."):
        main(["method=self_sup"])

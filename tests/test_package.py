"""The package installs and runs from any folder, and declares what it needs."""

import ast
import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

import selectmm
from selectmm.paths import ROOT, here_or_shipped

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
LOCKED = dict(
    re.match(r"([\w.-]+)==(\S+)", line).groups() for line in (ROOT / "requirements.lock").read_text().splitlines()
)


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that holds what a wheel of this repository holds."""
    source, place = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    for name in ("selectmm", "configs", "experiments", "results/published", "results/references"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "setup.py", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source / name)
    build = f"from setuptools.build_meta import build_wheel; build_wheel({str(place)!r})"
    subprocess.run([sys.executable, "-c", build], cwd=source, check=True, capture_output=True)
    with zipfile.ZipFile(next(place.glob("*.whl"))) as wheel:
        wheel.extractall(place / "files")
    return place / "files"


def run(installed: Path, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """The command line of the wheel, in ``folder``."""
    environment = {**os.environ, "PYTHONPATH": str(installed)}
    command = [sys.executable, "-m", "selectmm", *arguments]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


def test_a_wheel_holds_every_choice_every_experiment_and_the_data_that_commands_read(installed: Path) -> None:
    patterns = ("configs/**/*.yaml", "experiments/**/*.yaml", "results/references/*.json", "results/published/*.csv")
    for pattern in patterns:
        wanted = {path.relative_to(ROOT) for path in ROOT.glob(pattern)}
        there = installed / "selectmm" / "shipped"
        assert wanted and {path.relative_to(there) for path in there.glob(pattern)} == wanted
    code = ROOT / "selectmm"
    data = {path.relative_to(code) for path in code.rglob("*") if path.is_file() and "__pycache__" not in path.parts}
    assert [path for path in sorted(data) if not (installed / "selectmm" / path).exists()] == []


def test_an_installed_copy_composes_a_run_of_an_experiment_in_any_folder(installed: Path, tmp_path: Path) -> None:
    done = run(installed, tmp_path, "experiments=prism/main", "setting=embedded", "method=random", "--cfg", "job")
    assert done.returncode == 0, done.stderr
    assert "_target_: selectmm.methods.random.Random" in done.stdout


def test_the_version_is_one_and_can_be_asked_for(installed: Path, tmp_path: Path) -> None:
    assert run(installed, tmp_path, "--version").stdout == f"selectmm {selectmm.__version__}\n"
    assert (installed / f"selectmm-{selectmm.__version__}.dist-info").is_dir()


def test_the_shell_can_complete_a_choice(installed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COMP_LINE", "selectmm method=pri")
    assert run(installed, tmp_path, "-sc", "query=bash").stdout.split() == ["method=prism"]


def test_a_file_that_is_not_here_is_the_one_that_comes_along(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    name = Path("results/references/mini.json")
    assert here_or_shipped(name) == ROOT / name
    name.parent.mkdir(parents=True)
    name.write_text("{}")
    assert here_or_shipped(name) == name


def test_the_classifiers_are_the_versions_of_python_that_pip_allows() -> None:
    """And the README's."""
    allowed = SpecifierSet(PROJECT["requires-python"])
    versions = [f"3.{minor}" for minor in range(30) if f"3.{minor}.0" in allowed]
    named = [name.split(" :: ")[-1] for name in PROJECT["classifiers"] if " :: Python :: 3." in name]
    assert named == versions
    assert f"Python {versions[0]} to {versions[-1]}" in (ROOT / "README.md").read_text()


def test_every_import_is_declared() -> None:
    declared = {canonicalize_name(Requirement(line).name) for line in _requirements()}
    owners = packages_distributions()
    used: dict[str, Path] = {}
    for path in sorted((ROOT / "selectmm").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [str(node.module)] if isinstance(node, ast.ImportFrom) else []
            used |= {name.split(".")[0]: path for name in names}
    third = used.keys() - set(sys.stdlib_module_names) - {"selectmm"}
    names = {name: {canonicalize_name(owner) for owner in owners.get(name, [name.replace("_", "-")])} for name in third}
    # lightning_fabric comes with pytorch-lightning, which pins it to itself
    assert {name: used[name] for name in third if not names[name] & declared} == {}


def test_the_lock_fits_what_is_declared() -> None:
    locked = {canonicalize_name(name): version for name, version in LOCKED.items()}
    for line in _requirements():
        wanted = Requirement(line)
        if (name := canonicalize_name(wanted.name)) in locked:
            assert locked[name] in wanted.specifier, line
        else:
            assert line not in PROJECT["dependencies"], f"{name} is not in requirements.lock"


def _requirements() -> list[str]:
    return [*PROJECT["dependencies"], *(line for extra in PROJECT["optional-dependencies"].values() for line in extra)]


@pytest.mark.skipif(shutil.which("make") is None, reason="there is no make")
def test_what_python_compiles_is_kept_where_the_environment_forbids_it(tmp_path: Path) -> None:
    (tmp_path / "more.mk").write_text('shown:\n\t@echo "[$$PYTHONDONTWRITEBYTECODE]"\n')
    told = ["make", "--no-print-directory", "-f", "Makefile", "-f", str(tmp_path / "more.mk"), "shown"]
    environment = os.environ | {"PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(told, cwd=ROOT, env=environment, capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


@pytest.mark.skipif(shutil.which("make") is None, reason="there is no make")
def test_make_says_that_it_installs_before_pip_is_silent_for_minutes(tmp_path: Path) -> None:
    for name in ("Makefile", "requirements.lock", "requirements-nodeps.lock", "pyproject.toml"):
        shutil.copy(ROOT / name, tmp_path / name)
    make = ["make", "--no-print-directory", "-n", "quickstart"]
    told = subprocess.run(make, cwd=tmp_path, capture_output=True, text=True, check=True)
    first, *others = told.stdout.splitlines()
    assert first.startswith('echo "Installing about 200 packages into .venv, ')
    assert any("pip install --quiet" in line for line in others)
    assert round(len(LOCKED), -2) == 200


@pytest.mark.parametrize("file", [".github/workflows/test.yml", ".gitlab-ci.yml"])
def test_a_forge_calls_the_two_commands(file: str) -> None:
    """Both files give ``make`` one command of a matrix, and make every target that they name."""
    text = (ROOT / file).read_text()
    assert yaml.safe_load(text) and re.search(r"make \$\S*", text)
    named = re.search(r"(?i)command: \[(.*)\]", text)[1].split(", ")
    assert named == ["test", "quickstart"]
    assert set(named) <= set(re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), re.MULTILINE))


@pytest.mark.parametrize("page", ["README.md", "selectmm/commands/README.md"])
def test_the_version_of_torch_in_the_documentation_is_the_locked_one(page: str) -> None:
    named = re.findall(r"torch(?:==| )(\d+\.\d+\.\d+)", (ROOT / page).read_text())
    assert named and set(named) == {LOCKED["torch"]}

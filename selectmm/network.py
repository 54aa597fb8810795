"""Whether the Hugging Face hub can be read: reached, which is asked once and briefly because its clients try again for
minutes, and with an access token where one is needed."""

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import yaml
from huggingface_hub import constants, get_token, metadata_load, try_to_load_from_cache
from huggingface_hub.utils import get_session

from selectmm.errors import UserError

SECONDS = 5.0
HUB_ID = re.compile(r"[\w-][\w.-]*/[\w.-]+")


def check_model(name: str, options: Mapping[str, str]) -> None:
    """Look whether a checkpoint can be loaded; nothing is asked of a folder, or of what is in the hub's cache.

    Args:
        options: its revision, if one was named.

    Raises:
        UserError: it would have to be downloaded, and the hub cannot be reached.
    """
    if constants.HF_HUB_OFFLINE or not HUB_ID.fullmatch(name):
        return
    if isinstance(try_to_load_from_cache(name, "config.json", **options), str):
        return
    _reach(name, f"hf download {name} --local-dir FOLDER", "model.path=FOLDER")


def check_path(key: str, path: str) -> None:
    """Whether a path is a folder that is there or may be a hub id.

    Args:
        key: the option that gave it.

    Raises:
        UserError: it is neither.
    """
    if not (path and Path(path).is_dir()) and not HUB_ID.fullmatch(path.partition("@")[0]):
        raise UserError(
            f"{key}={path}: there is no such folder; give a folder that holds a checkpoint, or a hub id such as "
            f"llava-hf/llava-1.5-7b-hf."
        )


def check_inside(folder: Path) -> None:
    """Whether the files that a local data set names lie in its folder; `datasets` would open or fetch any others.

    Raises:
        UserError: its README.md or .huggingface.yaml names an address, or a path that leaves the folder.
    """
    readme, own = folder / "README.md", folder / ".huggingface.yaml"
    try:
        said = [metadata_load(readme) if readme.exists() else None]
        said.append(yaml.safe_load(own.read_text(encoding="utf-8")) if own.exists() else None)
    except (ValueError, yaml.YAMLError) as problem:
        raise UserError(
            f"The description of the data set {folder} cannot be read ({problem}); mend its YAML."
        ) from None
    for entry in said:
        for path in _named(entry.get("configs") if isinstance(entry, dict) else None):
            if "://" in path or "::" in path or path.startswith("/") or ".." in path.split("/"):
                raise UserError(
                    f"The data set {folder} names the file '{path:.80}', which is not in its folder; put it there, and "
                    f"its path below the folder into the description."
                )


def _named(said: object, files: bool = False) -> Iterator[str]:
    """The files and folders that the configurations of a data set name."""
    if isinstance(said, dict):
        for key, value in said.items():
            yield from _named(value, files or key in ("data_files", "data_dir"))
    elif isinstance(said, list):
        for value in said:
            yield from _named(value, files)
    elif isinstance(said, str) and files:
        yield said


def check_data_sets(names: Sequence[str], option: str) -> None:
    """Look whether data sets can be loaded; nothing is asked of a folder, or of what was downloaded before.

    Args:
        names: hub ids or folders.
        option: what the user sets to read them from a folder, for the message.

    Raises:
        UserError: one would have to be downloaded, and the hub cannot be reached; all such are named.
    """
    asked = [] if constants.HF_HUB_OFFLINE else [name for name in names if HUB_ID.fullmatch(name)]
    missing = [name for name in dict.fromkeys(asked) if not (Path(name).is_dir() or _downloaded(name))]
    if missing:
        first, *others = missing
        place = f"FOLDER/{first}" if option.startswith("suite.") else "FOLDER"
        likewise = f", and likewise {', '.join(others)}" if others else ""
        _reach(first, f"hf download {first} --repo-type dataset --local-dir {place}{likewise}", f"{option}=FOLDER")


def check_token(reader: str, name: str, option: str) -> None:
    """Look whether this user has an access token of the hub, for a reader that insists on one.

    Args:
        reader: what reads the data set, with a capital letter. name, option: see `check_data_sets`.

    Raises:
        UserError: there is no token.
    """
    if not constants.HF_HUB_OFFLINE and get_token() is None:
        raise UserError(
            f"{reader} reads '{name}' from the Hugging Face hub with an access token, and there is none: log in once "
            f"(hf auth login) or set the environment variable HF_TOKEN, or set {option} to a folder of downloaded data."
        )


def _downloaded(name: str) -> bool:
    """Whether something of the data set is in the hub's cache, or in that of `datasets`."""
    from datasets import config  # a second
    from datasets.naming import camelcase_to_snakecase

    owner, _, own = name.partition("/")
    prepared = Path(config.HF_DATASETS_CACHE) / f"{owner}___{camelcase_to_snakecase(own)}"
    return (Path(constants.HF_HUB_CACHE) / f"datasets--{owner}--{own}").is_dir() or prepared.is_dir()


def _reach(name: str, command: str, option: str) -> None:
    try:
        get_session().head(constants.ENDPOINT, timeout=SECONDS)
    except Exception as problem:  # a client, a proxy and the system have their own names for it
        raise UserError(
            f"'{name}' is not in the hub's cache, and {constants.ENDPOINT} cannot be reached from this machine "
            f"({' '.join(str(problem).split())}): download it where there is a network ({command}), and set {option}."
        ) from problem

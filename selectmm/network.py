"""Whether the Hugging Face hub can be read: reached, which is asked once and briefly because its clients try again for
minutes, and with an access token where one is needed."""

import re
from collections.abc import Mapping
from pathlib import Path

from huggingface_hub import constants, get_token, try_to_load_from_cache
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


def check_data_set(name: str, option: str) -> None:
    """Look whether a data set can be loaded; nothing is asked of a folder, or of what was downloaded before.

    Args:
        option: what the user sets to read the data set from a folder, for the message.

    Raises:
        UserError: it would have to be downloaded, and the hub cannot be reached.
    """
    if constants.HF_HUB_OFFLINE or not HUB_ID.fullmatch(name) or Path(name).is_dir() or _downloaded(name):
        return
    place = f"FOLDER/{name}" if option.startswith("suite.") else "FOLDER"
    _reach(name, f"hf download {name} --repo-type dataset --local-dir {place}", f"{option}=FOLDER")


def check_token(reader: str, name: str, option: str) -> None:
    """Look whether this user has an access token of the hub, for a reader that insists on one.

    Args:
        reader: what reads the data set, with a capital letter. name, option: see `check_data_set`.

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

"""Whether the Hugging Face hub can be reached, asked once and briefly: its clients try again for minutes."""

import re
from collections.abc import Mapping

from huggingface_hub import constants, try_to_load_from_cache
from huggingface_hub.utils import get_session

from selectmm.errors import UserError

SECONDS = 5.0
HUB_ID = re.compile(r"[\w-][\w.-]*/[\w.-]+")


def check_hub(name: str, options: Mapping[str, str]) -> None:
    """Look whether a checkpoint can be had; nothing is asked of a folder, or of what is in the hub's cache.

    Args:
        options: its revision, if one was named.

    Raises:
        UserError: it would have to be fetched, and the hub cannot be reached.
    """
    if constants.HF_HUB_OFFLINE or not HUB_ID.fullmatch(name):
        return
    if isinstance(try_to_load_from_cache(name, "config.json", **options), str):
        return
    try:
        get_session().head(constants.ENDPOINT, timeout=SECONDS)
    except Exception as problem:  # a client, a proxy and the system have their own names for it
        raise UserError(
            f"'{name}' is not in the hub's cache, and {constants.ENDPOINT} cannot be reached from this machine "
            f"({' '.join(str(problem).split())}): fetch it where there is a network (hf download {name} --local-dir "
            f"FOLDER), and give the folder as model.path."
        ) from problem

"""Check a pool before training: row counts, missing images, empty answers, repeated and overlong rows.

python -m selectmm doctor pool=llava_665k [pool.file=… pool.images=…] [model=… recipe=…] [--json FILE]

With a model or a recipe given, the length of a row is counted in the model's tokens and compared with recipe.max_length
(text only; image and template come on top); otherwise it is counted in characters. Nothing is changed, and a later run
does not check the same images again. The exit status is 1 if a run would stop.
"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from selectmm.command_line import read_config
from selectmm.errors import UserError
from selectmm.instantiate import open_model, open_pool
from selectmm.models.tokenizer import open_tokenizer, token_counts
from selectmm.pool.composition import known
from selectmm.pool.doctor import Limit, diagnose
from selectmm.pool.doctor_page import Report, show
from selectmm.records.progress import wide
from selectmm.records.stage import write_atomically


def main(arguments: Sequence[str]) -> None:
    """Open the pool, bad rows and all, and print what was found.

    Raises:
        UserError: the command cannot be understood, or the model's tokenizer is not there.
        SystemExit: with status 1, a run would stop.
    """
    asked = _parser().parse_intermixed_args(arguments)
    config = read_config(asked.choices)
    unset = sorted(OmegaConf.missing_keys(config.pool))
    if unset:
        raise UserError(f"Not set: {', '.join(unset)}; give {unset[0]}=… on the command line.")
    name = next((choice.removeprefix("pool=") for choice in asked.choices if choice.startswith("pool=")), "embedded")
    report = _examined(name, config, _limit(config, asked.choices))
    show(report, wide())
    if asked.json:
        write_atomically(asked.json, json.dumps(report.as_json(), indent=1, ensure_ascii=False) + "\n")
    if report.blocked:
        raise SystemExit(1)


def _examined(name: str, config: DictConfig, limit: Limit) -> Report:
    plain = OmegaConf.to_container(config.pool, resolve=True)
    expected = known(name)
    try:
        pool = open_pool({**plain, "bad_rows": "keep"} if "bad_rows" in plain else plain)
    except UserError as problem:
        return Report(name, str(problem), 0, 0, {}, expected, [])
    findings = diagnose(pool, expected, limit, plain.get("bad_rows", "stop"))
    return Report(name, None, len(pool), len(pool.images), pool.counts(), expected, findings)


def _limit(config: DictConfig, choices: Sequence[str]) -> Limit:
    if not any(choice.startswith(("model", "recipe")) for choice in choices):
        return Limit()
    model = OmegaConf.to_container(config.model, resolve=True)
    tokenizer = open_tokenizer(model["path"]) if "path" in model else open_model(model).processor.tokenizer
    return Limit(config.recipe.max_length, "tokens", token_counts(tokenizer))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "python -m selectmm doctor", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("choices", nargs="*", help="group=name and key=value, as for a run")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the report there too")
    return parser

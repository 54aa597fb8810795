"""Check a pool before training: row counts, missing images, empty answers, repeated and overlong rows.

selectmm doctor pool=llava_665k [pool.file=… pool.images=…] [model=… recipe=…]

The length of a row is counted in tokens of the model that a run with these options would tune, and compared with
recipe.max_length (tokens of images and of the template are not counted). Rows that the model cannot take are listed
too: texts with its image placeholders, images of a shape that it refuses, images beyond recipe.max_length; and texts
with its special tokens. A published pool is for larger models than the built-in one: there, give a model or a recipe,
or length is counted in characters. Nothing is changed, and a later run does not check the same images again. The exit
status is 1 if a run would stop.
"""

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import get_args

from omegaconf import DictConfig, OmegaConf

from selectmm.cache.progress import wide
from selectmm.command_line.arguments import read_arguments
from selectmm.command_line.reading import chosen_by, plain_of, read_config
from selectmm.errors import UserError
from selectmm.instantiate import open_model, open_pool, open_shapes
from selectmm.models.check_rows import find_unfit, image_marks, special_tokens
from selectmm.models.load import pick_device
from selectmm.models.tokenizer import open_tokenizer, token_counts
from selectmm.pool.composition import known
from selectmm.pool.doctor import Finding, Limit, Weight, diagnose
from selectmm.pool.doctor_model import model_findings, not_checked
from selectmm.pool.doctor_page import Report, show
from selectmm.pool.pool import Pool
from selectmm.screen import answer


def main(arguments: Sequence[str]) -> None:
    """Open the pool, bad rows and all, and print what was found.

    Raises:
        UserError: the command cannot be understood, or the model's tokenizer is not there.
        SystemExit: with status 1, a run would stop.
    """
    asked = read_arguments(_parser(), arguments)
    config = read_config(asked.choices)
    unset = sorted(OmegaConf.missing_keys(config.pool))
    if unset:
        raise UserError(f"Not set: {', '.join(unset)}; give {unset[0]}=… on the command line.")
    chosen = chosen_by(asked.choices)
    model = _asks_model(config, asked.choices, chosen)
    limit = _limit(config, asked.choices, chosen) if model else Limit()
    report = _examined(str(chosen["pool"]), config, limit, model)
    show(report, wide())
    answer(report.as_json())
    if report.blocked:
        raise SystemExit(1)


def _examined(name: str, config: DictConfig, limit: Limit, model: bool) -> Report:
    plain = plain_of(config.pool)
    expected = known(name)
    try:
        pool = open_pool({**plain, "bad_rows": "keep"} if "bad_rows" in plain else plain)
    except UserError as problem:
        return Report(name, str(problem), 0, 0, {}, expected, [])
    bad_rows = plain.get("bad_rows", "stop")
    findings = [*diagnose(pool, expected, limit, bad_rows), *(_of_model(config, pool, bad_rows) if model else [])]
    findings.sort(key=lambda finding: get_args(Weight).index(finding.weight))
    return Report(name, None, len(pool), len(pool.images), pool.counts(), expected, findings)


def _of_model(config: DictConfig, pool: Pool, bad_rows: str) -> list[Finding]:
    """What is found with the model's processor and configuration; its weights are not needed."""
    model = plain_of(config.model)
    try:
        vlm = open_shapes(model, pick_device(model.get("device", "auto")).type)
    except UserError as problem:
        return [not_checked(pool, str(problem))]
    unfit, _ = find_unfit(pool, vlm, config.recipe.max_length, Path(config.cache))
    words = sorted(special_tokens(vlm.processor.tokenizer) | image_marks(vlm))
    return model_findings(pool, unfit, words, bad_rows)


def _asks_model(config: DictConfig, choices: Sequence[str], chosen: Mapping[str, str | None]) -> bool:
    """Whether rows are measured for a model: one that was named or chosen, or the built-in one on a pool of one's own.

    A model whose path is not set cannot be asked.
    """
    if _typed(choices):
        return True
    usual = chosen_by([])
    other = any(chosen[group] != usual[group] for group in ("model", "recipe"))
    return not OmegaConf.missing_keys(config.model) and (other or known(str(chosen["pool"])) is None)


def _typed(choices: Sequence[str]) -> bool:
    return any(choice.startswith(("model", "recipe")) for choice in choices)


def _limit(config: DictConfig, choices: Sequence[str], chosen: Mapping[str, str | None]) -> Limit:
    """Tokens of a row; characters, if the model that nobody typed is not there, which a finding tells."""
    model = plain_of(config.model)
    try:
        tokenizer = open_tokenizer(model["path"]) if "path" in model else open_model(model).processor.tokenizer
    except UserError:
        if _typed(choices):
            raise
        return Limit()
    by = f"model={chosen['model']} and recipe={chosen['recipe']}"
    return Limit(config.recipe.max_length, "tokens", token_counts(tokenizer), by)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "selectmm doctor", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("choices", nargs="*", help="group=name and key=value, as for a run")
    return parser

"""Export a tuned model as a Hugging Face folder, or a subset as another trainer's data set."""

from collections.abc import Sequence
from pathlib import Path

import torch

from selectmm.commands._asked import from_record, groups_of, parser_of, record_of, subset_and_pool
from selectmm.counted import counted
from selectmm.errors import UserError
from selectmm.export.card import Origin
from selectmm.export.folder import check_free
from selectmm.export.formats import FORMATS, ORIGINAL
from selectmm.export.model import check_base, export_model
from selectmm.export.original import original_of
from selectmm.export.subset import export_original, export_subset
from selectmm.instantiate import open_model
from selectmm.methods.subset import load_subset
from selectmm.records.cached import adapter_of
from selectmm.screen import answer

DTYPES = ("float32", "bfloat16", "float16")


def main(arguments: Sequence[str]) -> None:
    """Export ``model`` or ``subset``, as the first word says.

    Raises:
        UserError: what is asked for is not there, does not fit together, or cannot be written.
    """
    commands = {"model": _model, "subset": _subset}
    what = arguments[0] if arguments else ""
    if what in commands:
        commands[what](arguments[1:])
    elif what in {"-h", "--help"}:
        print(f"{__doc__}\n\n  selectmm export model --help\n  selectmm export subset --help")
    else:
        refused = f"'{what}' cannot be exported; say" if what else "Say"
        raise UserError(f"{refused} what to export: model or subset.")


def _model(arguments: Sequence[str]) -> None:
    parser = parser_of("export model", "Merge a run's adapter into its base and write a Hugging Face folder.")
    parser.add_argument("--adapter", type=Path, metavar="FOLDER", help="folder of an adapter (default: the cached one)")
    parser.add_argument(
        "--dtype", choices=DTYPES, help="type of the weights (default: that in which the base is opened)"
    )
    asked = parser.parse_intermixed_args(arguments)
    record = record_of(asked, asked.adapter, "--adapter FOLDER and model=…")
    check_free(asked.to)
    if record is None:
        adapter, config = asked.adapter, groups_of(asked)["model"]
        vlm = open_model(config)
    else:
        base, cache = from_record(record, "model", asked)
        adapter, config = asked.adapter or adapter_of(record, cache), base.entry
        vlm = base.open()
        check_base(vlm, record)
    export_model(vlm, adapter, Origin(config, record), asked.to, getattr(torch, asked.dtype) if asked.dtype else None)
    print(f"Model   {asked.to}")
    answer({"model": asked.to})


def _subset(arguments: Sequence[str]) -> None:
    parser = parser_of("export subset", "Write a run's subset as another trainer's data set.")
    parser.add_argument(
        "--subset", type=Path, metavar="FOLDER", help="folder with a subset.json (default: the cached one)"
    )
    parser.add_argument(
        "--format",
        choices=[ORIGINAL, *FORMATS],
        required=True,
        help="format to write; original: your own rows, unchanged",
    )
    parser.add_argument("--absolute", action="store_true", help="write absolute image paths, not relative ones")
    asked = parser.parse_intermixed_args(arguments)
    if asked.absolute and (asked.format == ORIGINAL or FORMATS[asked.format].row is None):
        raise UserError(
            f"--absolute is for formats that rewrite image paths, and --format {asked.format} does not; leave it out, "
            f"or give another --format."
        )
    record = record_of(asked, asked.subset, "--subset FOLDER and pool=…")
    check_free(asked.to)
    folder, pool, entry = subset_and_pool(record, asked)
    subset = load_subset(folder / "subset.json", pool)
    if asked.format == ORIGINAL:
        export_original(pool, subset, original_of(entry, pool), asked.to, record)
        print(f"Subset  {asked.to}: {counted(len(subset.rows), 'row')}")
        answer({"subset": asked.to, "rows": len(subset.rows)})
        return
    marked = export_subset(pool, subset, asked.format, asked.to, record, asked.absolute)
    print(f"Subset  {asked.to}: {counted(len(subset.rows), 'row')}")
    if marked:
        print(f"        {len(marked):,} of them hold a placeholder of the trainer in their text; see its README.md")
    answer({"subset": asked.to, "rows": len(subset.rows), "rows_with_placeholders": len(marked)})

"""What ``selectmm export`` does once its arguments are read."""

import argparse

import torch

from selectmm.commands._asked import from_record, groups_of, record_of, subset_and_pool
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


def model(asked: argparse.Namespace) -> None:
    """Write a run's model.

    Raises:
        UserError: see `selectmm.commands.export.main`.
    """
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


def subset(asked: argparse.Namespace) -> None:
    """Write a run's subset.

    Raises:
        UserError: see `selectmm.commands.export.main`.
    """
    if asked.absolute and (asked.format == ORIGINAL or FORMATS[asked.format].row is None):
        raise UserError(
            f"--absolute is for formats that rewrite image paths, and --format {asked.format} does not; leave it out, "
            f"or give another --format."
        )
    record = record_of(asked, asked.subset, "--subset FOLDER and pool=…")
    check_free(asked.to)
    folder, pool, entry = subset_and_pool(record, asked)
    chosen = load_subset(folder / "subset.json", pool)
    if asked.format == ORIGINAL:
        export_original(pool, chosen, original_of(entry, pool), asked.to, record)
        print(f"Subset  {asked.to}: {counted(len(chosen.rows), 'row')}")
        answer({"subset": asked.to, "rows": len(chosen.rows)})
        return
    marked = export_subset(pool, chosen, asked.format, asked.to, record, asked.absolute)
    print(f"Subset  {asked.to}: {counted(len(chosen.rows), 'row')}")
    if marked:
        print(f"        {len(marked):,} of them hold a placeholder of the trainer in their text; see its README.md")
    answer({"subset": asked.to, "rows": len(chosen.rows), "rows_with_placeholders": len(marked)})

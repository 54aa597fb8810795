"""Held-out items as local data sets in the eleven real tasks' schemas, so that the real task code runs on them.

The columns are those that the real data sets have on the hub and that the harnesses' task code reads (lmms-eval 0.7.3,
lm-eval 0.4.13). A data set is a folder with a parquet file per split and a README.md whose ``configs:`` name them.
"""

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from datasets import ClassLabel, Dataset, Features, Value
from datasets import Image as ImageFeature
from datasets import Sequence as SequenceFeature

from selectmm.quickstart import rows
from selectmm.quickstart.item import Item

TASKS = Path(__file__).parent / "tasks"

TEXT, NUMBER, IMAGE, TEXTS = Value("string"), Value("int64"), ImageFeature(), SequenceFeature(Value("string"))


@dataclass(frozen=True)
class Schema:
    """One real task's data: config and split names, columns, and how an item becomes a row (given its position)."""

    config: str
    split: str
    columns: dict[str, Any]
    row: Callable[[int, Item], rows.Row]


def write(items: dict[str, list[Item]], folder: Path) -> None:
    """Write a suite's task folder: a data set for each key of `SCHEMAS`, and the task YAMLs that run on them.

    Items of ``mme`` come in pairs: 2k and 2k + 1 ask about one image, and ``kind`` is MME's category. MMLU's items
    have four options, HellaSwag's are beginnings with possible endings.

    Raises:
        ValueError: the keys are not the eleven, or an item does not fit its schema.
    """
    if items.keys() != SCHEMAS.keys():
        raise ValueError(f"items for {sorted(SCHEMAS)} are needed, not for {sorted(items)}")
    for name, schema in SCHEMAS.items():
        _write_set(schema, [schema.row(position, item) for position, item in enumerate(items[name])], folder / name)
    for file in TASKS.glob("*.yaml"):
        shutil.copy(file, folder)


def _write_set(schema: Schema, made: Sequence[rows.Row], folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    columns = {column: [row[column] for row in made] for column in schema.columns}
    file = f"{schema.split}-00000-of-00001.parquet"
    data = Dataset.from_dict(columns, features=Features(schema.columns))
    pq.write_table(data.data.table, folder / file)  # to_parquet would show a bar for each
    files = f"  data_files:\n  - split: {schema.split}\n    path: {file}\n"
    (folder / "README.md").write_text(f"---\nconfigs:\n- config_name: {schema.config}\n{files}---\n")


def _texts(*names: str) -> dict[str, Any]:
    return {name: TEXT for name in names}


_SCIENCEQA = {
    "image": IMAGE,
    "question": TEXT,
    "choices": TEXTS,
    "answer": NUMBER,
    **_texts("hint", "task", "grade", "subject", "topic", "category", "skill", "lecture", "solution"),
}

SCHEMAS = {
    "sqa": Schema("ScienceQA-FULL", "test", _SCIENCEQA, rows.scienceqa),
    "sqa_img": Schema("ScienceQA-IMG", "test", _SCIENCEQA, rows.scienceqa),
    "vizwiz": Schema(
        "default",
        "val",
        {"question_id": TEXT, "image": IMAGE, "question": TEXT, "answers": TEXTS, "category": TEXT},
        rows.vizwiz,
    ),
    "pope": Schema(
        "default",
        "test",
        {**_texts("id", "question_id", "question", "answer", "image_source"), "image": IMAGE, "category": TEXT},
        rows.pope,
    ),
    "mmvet": Schema(
        "default",
        "test",
        {**_texts("question_id", "image_source"), "image": IMAGE, **_texts("question", "answer", "capability")},
        rows.mmvet,
    ),
    "mmbench": Schema(
        "en",
        "dev",
        {
            "index": NUMBER,
            **_texts("question", "hint", "answer", "A", "B", "C", "D", "category"),
            "image": IMAGE,
            **_texts("source", "L2-category", "comment", "split"),
        },
        rows.mmbench,
    ),
    "mme": Schema(
        "default",
        "test",
        {"question_id": TEXT, "image": IMAGE, **_texts("question", "answer", "category")},
        rows.mme,
    ),
    "mmmu": Schema(
        "default",
        "validation",
        {
            **_texts("id", "question", "options", "explanation"),
            **{f"image_{number}": IMAGE for number in range(1, 8)},
            **_texts("img_type", "answer", "topic_difficulty", "question_type", "subfield"),
        },
        rows.mmmu,
    ),
    "hellaswag": Schema(
        "default",
        "validation",
        {
            "ind": Value("int32"),
            **_texts("activity_label", "ctx_a", "ctx_b", "ctx"),
            "endings": TEXTS,
            **_texts("source_id", "split", "split_type", "label"),
        },
        rows.hellaswag,
    ),
    "mmlu": Schema(
        "mini",
        "test",
        {"question": TEXT, "subject": TEXT, "choices": TEXTS, "answer": ClassLabel(names=["A", "B", "C", "D"])},
        rows.mmlu,
    ),
    "mmlu_pro": Schema(
        "default",
        "test",
        {
            "question_id": NUMBER,
            "question": TEXT,
            "options": TEXTS,
            "answer": TEXT,
            "answer_index": NUMBER,
            **_texts("cot_content", "category", "src"),
        },
        rows.mmlu_pro,
    ),
}

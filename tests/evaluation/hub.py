"""A folder laid out as the hub, with two to eight items of each real data set, written once per test process."""

import functools
import io
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pyarrow.parquet as pq
from datasets import Dataset, Features, Value
from datasets import Image as ImageFeature
from datasets import Sequence as SequenceFeature

from selectmm.quickstart.schemas import SCHEMAS
from tests.evaluation.material import image, items

TEXT, NUMBER, PICTURE, TEXTS = Value("string"), Value("int64"), ImageFeature(), SequenceFeature(Value("string"))
LMMS = "lmms-lab-encoder"

Rows = Sequence[Mapping[str, object]]


@dataclass(frozen=True)
class Part:
    """One configuration and split of a hub data set."""

    name: str
    config: str
    split: str
    columns: Mapping[str, object]
    rows: Rows


def picture(number: int) -> dict[str, object]:
    """A picture as a parquet cell."""
    stream = io.BytesIO()
    image(number, "red").save(stream, "PNG")
    return {"bytes": stream.getvalue(), "path": None}


def _mini(key: str, name: str, config: str, split: str) -> Part:
    """The small items of a mini-benchmark under the real data set's name, configuration and split."""
    schema = SCHEMAS[key]
    rows = [schema.row(position, item) for position, item in enumerate(items()[key])]
    return Part(f"{LMMS}/{name}", config, split, schema.columns, rows)


def _shown(rows: Rows) -> Rows:
    return [{"image": picture(number), **row} for number, row in enumerate(rows)]


TEXTVQA = [
    {"question_id": 0, "question": "what does it say?", "answers": ["Stop"] * 10, "ocr_tokens": ["STOP", "ALL", "WAY"]},
    {"question_id": 1, "question": "which Brand?", "answers": ["acme"] * 2 + ["nokia"] * 8, "ocr_tokens": []},
]
VQA = [
    {
        "question_id": number,
        "question": f"What is picture {number}?",
        "multiple_choice_answer": "red",
        "answers": [{"answer": "red", "answer_confidence": "yes", "answer_id": n} for n in range(1, 11)],
    }
    for number in range(2)
]
SEED = [
    {
        "question_id": str(number),
        "question": f"What is picture {number}?",
        "answer": "AB"[number % 2],
        "data_type": kind,
        "image": [picture(number)] if kind == "image" else [picture(number), picture(9)],
        **{f"choice_{letter}": f"option {letter}" for letter in "abcd"},
    }
    for number, kind in enumerate(["image", "image", "video"])
]
AI2D = [
    {"question": f"What is part {number}?", "options": ["root", "stem", "leaf", "bud"], "answer": str(number)}
    for number in range(2)
]
OCR = [
    {"dataset": "IIIT5K", "question": "what is written?", "question_type": "Regular Text Recognition", "answer": [word]}
    for word in ("CENTRE", "exit", "taxi")
] + [
    {"dataset": "HME100k", "question": "the formula?", "question_type": kind, "answer": ["x + 1"]}
    for kind in ("Handwritten Mathematical Expression Recognition",)
]
LLAVA_W = [
    {
        "question_id": number,
        "image_id": f"{number:03d}.jpg",
        "question": f"Describe picture {number}.",
        "caption": "A red field.",
        "gpt_answer": "It is a plain red field.",
        "category": category,
    }
    for number, category in enumerate(("conv", "detail", "complex"))
]
CHART = [
    {"type": "human_test", "question": "How many?", "answer": "100"},
    {"type": "augmented_test", "question": "Which?", "answer": "Peru"},
]
DOC = [{"questionId": "7", "question": "Which year?", "answers": ["1999", "in 1999"]}]
INFO = [{"questionId": "8", "question": "How many users?", "answers": ["12 million"]}]
REAL = [
    {"question": "Which way?\nA. Left\nB. Right\nPlease answer directly with only the letter.", "answer": "B"},
    {"question": "How many cars?\nPlease answer directly with a single word or number.", "answer": "2"},
]
NATURAL = [
    {"Index": number, "Image": picture(number // 4 * 2 + number % 2), "Question": "Is it?", "Question_Type": kind}
    for number, kind in enumerate(["yes_no"] * 4 + ["multiple_choice"] * 4)
]
# One set of two figures with two questions each, and one with a figure and a question: category, set, figure, question.
HALLUSION = [
    {
        **{"category": kind, "subcategory": "chart", "visual_input": "1", "set_id": place[0], "figure_id": place[1]},
        **{"question_id": place[2], "question": "Is it so?", "gt_answer_details": "It is.", "gt_answer": answer},
        "image": picture(int(place[0]) * 3 + int(place[1])),
    }
    for kind, place, answer in (
        *(("VS", f"0{figure}{question}", str(int(figure == question))) for figure in (1, 2) for question in (1, 2)),
        ("VD", "100", "1"),
    )
]
_CMMMU = {
    **{f"image_{n}_filename": f"{n}.png" for n in range(1, 6)},
    **{f"option{n}": word for n, word in enumerate(("红", "绿", "蓝", "黄"), 1)},
    "subcategory": "艺术",
}
CMMMU = [
    {**_CMMMU, "id": str(number), "type": kind, "question": '看<img="1.png">', "answer": answer}
    for number, (kind, answer) in enumerate((("选择", "B"), ("判断", "对"), ("填空", "12"), ("判断", "错")))
]


def _texts(*names: str) -> dict[str, object]:
    return {name: TEXT for name in names}


_VQA_ANSWERS = [{"answer": TEXT, "answer_confidence": TEXT, "answer_id": NUMBER}]
_GQA = "testdev_balanced"
_NATURAL = {"Index": NUMBER, "Image": PICTURE, "Question": TEXT, "Question_Type": TEXT}
_SEED = {
    **_texts("question_id", "question", "answer", "data_type"),
    **_texts(*(f"choice_{letter}" for letter in "abcd")),
}
_LLAVA_W = {"question_id": NUMBER, **_texts("image_id", "question", "caption", "gpt_answer", "category")}


def parts() -> list[Part]:
    """Everything that the folder holds."""
    pope = [_mini("pope", "POPE", "Full", split) for split in ("popular", "random", "adversarial")]
    gqa = [{"id": str(n), "imageId": f"n{n}", "question": "Is it red?", "answer": "yes"} for n in range(3)]
    pictures = [{"id": f"n{n}", "image": picture(n)} for n in (2, 0, 1)]
    return [
        _mini("sqa", "ScienceQA", "ScienceQA-FULL", "test"),
        _mini("sqa_img", "ScienceQA", "ScienceQA-IMG", "test"),
        _mini("vizwiz", "VizWiz-VQA", "default", "val"),
        _mini("pope", "POPE", "default", "test"),
        *pope,
        _mini("mmvet", "MMVet", "default", "test"),
        _mini("mmbench", "MMBench", "en", "dev"),
        _mini("mmbench", "MMBench", "cn", "dev"),
        _mini("mme", "MME", "default", "test"),
        _mini("mmmu", "MMMU", "default", "validation"),
        _part("textvqa", "default", "validation", TEXTVQA, question_id=NUMBER, answers=TEXTS, ocr_tokens=TEXTS),
        _part("VQAv2", "default", "validation", VQA, question_id=NUMBER, answers=_VQA_ANSWERS),
        Part(f"{LMMS}/GQA", f"{_GQA}_instructions", "testdev", _texts("id", "imageId", "question", "answer"), gqa),
        Part(f"{LMMS}/GQA", f"{_GQA}_images", "testdev", {"id": TEXT, "image": PICTURE}, pictures),
        Part(f"{LMMS}/SEED-Bench", "default", "test", {**_SEED, "image": SequenceFeature(PICTURE)}, SEED),
        _part("ai2d", "default", "test", AI2D, options=TEXTS),
        Part("echo840/OCRBench", "default", "test", _columns(OCR, answer=TEXTS), _shown(OCR)),
        Part(f"{LMMS}/llava-bench-in-the-wild", "default", "train", {**_LLAVA_W, "image": PICTURE}, _shown(LLAVA_W)),
        _part("ChartQA", "default", "test", CHART),
        *(replace(_mini("hellaswag", "", "default", s), name="Rowan/hellaswag") for s in ("train", "validation")),
        *_mmlu_pro(),
        _part("DocVQA", "DocVQA", "validation", DOC, answers=TEXTS),
        _part("DocVQA", "InfographicVQA", "validation", INFO, answers=TEXTS),
        _part("RealWorldQA", "default", "test", REAL),
        Part("BaiqiL/NaturalBench-lmms-eval", "default", "test", _NATURAL, NATURAL),
        _part("HallusionBench", "default", "image", HALLUSION),
        *_cmmmu(),
    ]


def _cmmmu() -> list[Part]:
    """Up to five pictures a question; here one."""
    pictures = {f"image_{n}": PICTURE for n in range(1, 6)}
    rows = [{**dict.fromkeys(pictures), **row, "image_1": picture(number)} for number, row in enumerate(CMMMU)]
    return [Part(f"{LMMS}/CMMMU", "default", "val", {**_texts(*CMMMU[0]), **pictures}, rows)]


CATEGORIES = (
    "biology business chemistry computer_science economics engineering health history law math other philosophy "
    "physics psychology"
).split()


def _mmlu_pro() -> list[Part]:
    """One question of each of the fourteen subjects, and five of each to show before it."""
    schema = SCHEMAS["mmlu_pro"]
    row = schema.row(0, items()["mmlu_pro"][0])
    rows = [{**row, "category": subject.replace("_", " "), "cot_content": "A: So (A)."} for subject in CATEGORIES]
    shots = [row for row in rows for _ in range(5)]
    return [
        Part("TIGER-Lab/MMLU-Pro", "default", split, schema.columns, made)
        for split, made in (("test", rows), ("validation", shots))
    ]


def _columns(rows: Rows, **kinds: object) -> dict[str, object]:
    """Columns of text, but for those that are named; and the picture."""
    return {**{name: kinds.get(name, TEXT) for name in rows[0]}, "image": PICTURE}


def _part(name: str, config: str, split: str, rows: Rows, **kinds: object) -> Part:
    return Part(f"{LMMS}/{name}", config, split, _columns(rows, **kinds), _shown(rows))


def write(made: Sequence[Part], folder: Path) -> None:
    """Write data sets as their hub repositories hold them: a parquet file per part, and a README that names them."""
    configs: dict[Path, dict[str, list[str]]] = {}
    for part in made:
        place = folder / part.name
        place.mkdir(parents=True, exist_ok=True)
        file = f"{part.config}-{part.split}.parquet"
        columns = {column: [row[column] for row in part.rows] for column in part.columns}
        pq.write_table(Dataset.from_dict(columns, features=Features(part.columns)).data.table, place / file)
        configs.setdefault(place, {}).setdefault(part.config, []).append(f"  - split: {part.split}\n    path: {file}\n")
    for place, named in configs.items():
        entries = [f"- config_name: {config}\n  data_files:\n{''.join(files)}" for config, files in named.items()]
        (place / "README.md").write_text(f"---\nconfigs:\n{''.join(entries)}---\n")


@functools.cache
def hub() -> Path:
    """The folder with all of `parts`."""
    folder = Path(tempfile.mkdtemp(prefix="selectmm-hub-"))
    write(parts(), folder)
    return folder

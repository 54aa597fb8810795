"""A benchmark of the user's own: held-out rows of the pool's format, as a task of lmms-eval.

Every row is one item: its first question, with the images that the question shows, and the answer to it. What further
turns say is not asked. The model answers, and a second task of the form ``loglikelihood`` asks for its loss on the
right answer, which is scored as exp(−loss): higher is better, as everywhere in a suite.
"""

import hashlib
import io
import json
import logging
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from posixpath import normpath

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from datasets import Features, Image, Sequence, Value

from selectmm.cache.code_files import CODE_ENDINGS, check_code
from selectmm.cache.no_links import open_new, refuse_links
from selectmm.cache.stage import run_stage, write_atomically
from selectmm.errors import UserError
from selectmm.pool.image import found, inside, missing
from selectmm.pool.pool import Pool
from selectmm.pool.sample import Sample, Shown, Turn

log = logging.getLogger("selectmm")

TASK, RATED = "own", "own_likelihood"  # the tasks: the model answers, and its loss on the right answer
# Benchmarks by task and metric.
METRICS = {
    "own-EM": (TASK, "exact_match"),
    "own-F1": (TASK, "f1"),
    "own-ANLS": (TASK, "anls"),
    "own-likelihood": (RATED, "likelihood"),
}
# In the task folder: what is asked, and for each item its question, its images' paths and its answer.
DATA, ITEMS = "own-data/test.parquet", "own.json"
# In the task folder, where rows show clips: the rows' fingerprint, which covers the sizes of clips. An evaluation is
# named by what is in this folder, and the table of rows has only paths of clips.
CLIPS = "own-clips.json"
AT_ONCE = 64  # rows written at a time
YAML = """\
# A benchmark made of held-out rows: the first question of each and its answer (selectmm/evaluation/own_scores.py).
task: own
dataset_path: ${here}/own-data
test_split: test
output_type: generate_until
doc_to_visual: !function selectmm.evaluation.own_scores.visual
doc_to_text: !function selectmm.evaluation.own_scores.question
doc_to_target: "answer"
process_results: !function selectmm.evaluation.own_scores.process_results
generation_kwargs:
  until: []
metric_list:
  - metric: exact_match
    aggregation: mean
    higher_is_better: true
  - metric: f1
    aggregation: mean
    higher_is_better: true
  - metric: anls
    aggregation: mean
    higher_is_better: true
metadata:
  - version: 1
"""
RATED_YAML = """\
# The same rows, scored by the loss of their answers (selectmm/evaluation/likelihood.py).
task: own_likelihood
dataset_path: ${here}/own-data
test_split: test
output_type: loglikelihood
doc_to_visual: !function selectmm.evaluation.own_scores.visual
doc_to_text: !function selectmm.evaluation.own_scores.question
doc_to_target: "answer"
process_results: !function selectmm.evaluation.own_scores.likelihood
metric_list:
  - metric: likelihood
    aggregation: mean
    higher_is_better: true
metadata:
  - version: 1
"""
README = """\
---
configs:
- config_name: default
  data_files:
  - split: test
    path: test.parquet
---
"""
_FEATURES = Features(
    {
        "question": Value("string"),
        "answer": Value("string"),
        "images": Sequence(Image()),
        "image_at": Sequence(Value("int32")),  # where each stands in the question, see `selectmm.pool.sample.Shown`
        "image_inline": Sequence(Value("bool")),
    }
)
# Where rows show clips: for each thing that the question shows the clip's file, or nothing for an image.
_WITH_CLIPS = Features({**_FEATURES, "clips": Sequence(Value("string"))})
_SAID = "  - video: True\n"  # as lmms-eval says it of a data set, see `selectmm.evaluation.video`


def benchmarks() -> list[dict[str, object]]:
    """The benchmarks' entries in a suite's configuration."""
    kind = "selectmm.evaluation.suite.Benchmark"
    shared = {"_target_": kind, "harness": "lmms-eval", "scale": 100, "chance": None}
    return [{**shared, "name": name, "task": task, "metric": metric} for name, (task, metric) in METRICS.items()]


def tasks_with_own(tasks: str | Path | None, rows: Pool, cache: str) -> Path:
    """A folder with a suite's own tasks, if it has any, and beside them the task of the held-out rows.

    Args:
        tasks: the suite's task folder (see `selectmm.evaluation.tasks`), or None. rows: what is asked.

    Raises:
        UserError: the suite has a task of that name already, one of its files changed meanwhile, a clip cannot be
            read, or a first question has no answer.
    """
    clips = _clips_of(rows, Path(cache)) if rows.clips.any() else None
    beside = None if tasks is None else Path(tasks)
    there = {} if beside is None else {str(f.relative_to(beside)): _sha(f) for f in _files(beside)}
    for task in (TASK, RATED):
        if f"{task}.yaml" in there:
            raise UserError(f"The suite has a task '{task}' already, so heldout= cannot be used with it.")
    _log_unasked(rows)

    said = {f"{TASK}.yaml": YAML + _SAID * bool(clips), f"{RATED}.yaml": RATED_YAML + _SAID * bool(clips)}
    code = {name: (beside / name).read_bytes() for name in there if Path(name).suffix in CODE_ENDINGS}

    def make(folder: Path) -> None:
        for name in there:
            refuse_links(path for path in (folder / name).parents if path.is_relative_to(folder))
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            with (beside / name).open("rb") as source, open_new(folder / name) as copy:
                shutil.copyfileobj(source, copy)
            if _sha(folder / name) != there[name]:
                raise UserError(f"{beside / name} changed while it was read; start the same command again.")
        for name, text in said.items():
            write_atomically(folder / name, text)
        refuse_links([folder / "own-data"])
        (folder / "own-data").mkdir(exist_ok=True)
        write_atomically(folder / "own-data" / "README.md", README)
        _write(rows, clips, folder / DATA)
        items = [content_of(rows[position]) for position in range(len(rows))]
        write_atomically(folder / ITEMS, json.dumps(items))
        if clips:
            write_atomically(folder / CLIPS, json.dumps({"rows": rows.fingerprint}))

    identity = {"rows": rows.fingerprint, "tasks": there, "version": 3}
    if clips:  # their paths stand in the data
        identity["folder"] = str(clips)
    folder = run_stage(Path(cache), "own-suite", identity, make).folder
    check_code(folder, code | {name: text.encode() for name, text in said.items()})
    return folder


def _clips_of(rows: Pool, cache: Path) -> Path:
    """The folder that clips are read from: a task names files, so clips in tars or at an address are copied (`_clip`).

    Raises:
        UserError: a clip cannot be read.
    """
    root = rows.image_root
    if isinstance(root, Path):
        return root.resolve()

    def make(folder: Path) -> None:
        for image in np.flatnonzero(rows.clips).tolist():
            file = found(root, rows.images[image], "Clip")
            try:
                with file.open("rb") as stream, open_new(folder / _copied(rows.images[image])) as out:
                    shutil.copyfileobj(stream, out)
            except FileNotFoundError as problem:
                raise UserError(missing(file, "Clip")) from problem

    return run_stage(cache, "own-clips", {"rows": rows.fingerprint, "version": 1}, make).folder.resolve()


def _clip(rows: Pool, folder: Path, path: str) -> str:
    """The file of a clip of the rows; ``folder`` is that of `_clips_of`."""
    return str(inside(folder, path) if isinstance(rows.image_root, Path) else folder / _copied(path))


def _copied(path: str) -> str:
    """What a clip's copy is called: a stranger's name might be that of one of the stage's own files."""
    return hashlib.sha256(normpath(path).encode()).hexdigest()[:32]


def _log_unasked(rows: Pool) -> None:
    """Say how many rows have more than is asked."""
    roles = pc.struct_field(pc.list_flatten(rows.table["turns"]), "role")
    of = pc.list_parent_indices(rows.table["turns"])
    heads = pc.is_in(roles, value_set=pa.array(["system", "tools"]))
    questions = pc.sum(pc.equal(roles, "user")).as_py()
    prompted = pc.count_distinct(of.filter(heads)).as_py()
    if questions > len(rows):
        several = int((np.bincount(of.filter(pc.equal(roles, "user")).to_numpy()) > 1).sum())
        log.info("  heldout   of %s rows with several turns only the first question is asked", f"{several:,}")
    if prompted:
        log.info("  heldout   %s rows are asked without their system prompts or tools", f"{prompted:,}")


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file() and path.name != "stage.json")


def _sha(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _write(rows: Pool, clips: Path | None, file: Path) -> None:
    features = _WITH_CLIPS if clips else _FEATURES
    with open_new(file) as stream, pq.ParquetWriter(stream, features.arrow_schema) as out:
        for start in range(0, len(rows), AT_ONCE):
            entries = list(_entries(rows, clips, range(start, min(start + AT_ONCE, len(rows)))))
            out.write_table(pa.Table.from_pylist(entries, schema=features.arrow_schema))


def _entries(rows: Pool, clips: Path | None, positions: range) -> Iterator[Mapping[str, object]]:
    for position in positions:
        question, shown, answer = asked(rows[position])
        if answer.role != "assistant" or not answer.trained:
            why = "by a call of a tool" if answer.role != "assistant" else "as context (loss or weight)"
            raise UserError(
                f"heldout=: the first question of {rows.named_with_images(position)} is answered {why}, which is no "
                f"answer that a benchmark could score; leave such rows out of the held-out ones."
            )
        yield {
            "question": question,
            "answer": answer.text,
            "images": [{"bytes": png_of(rows, one.path), "path": None} for one in shown if not one.video],
            "image_at": [one.at for one in shown],
            "image_inline": [one.inline for one in shown],
            "clips": [_clip(rows, clips, one.path) if clips and one.video else "" for one in shown],
        }


def asked(sample: Sample) -> tuple[str, list[Shown], Turn]:
    """What a held-out row is asked: its first question, the images that this question shows, and what answers it.

    No turn in front of the first question shows anything: only questions and results of tools may.
    """
    ask = next(number for number, turn in enumerate(sample.turns) if turn.role == "user")
    return sample.turns[ask].text, [image for image in sample.images if image.turn == ask], sample.turns[ask + 1]


def content_of(sample: Sample) -> list[object]:
    """The same as JSON, with paths of images in one form: ``./a//1.png`` is ``a/1.png``."""
    question, shown, answer = asked(sample)
    return [question, [normpath(one.path) for one in shown], answer.text]


def png_of(rows: Pool, path: str) -> bytes:
    """An image's pixels as a PNG file."""
    stream = io.BytesIO()
    rows.open_image(path).save(stream, "PNG", compress_level=1)
    return stream.getvalue()

"""Does vLLM give the answers of our own decoding? A page, from a small LLaVA that both answer the mini-suite with.

python experiments/studies/engine.py --python /envs/vllm/bin/python [--items 20]

The model has random weights (with head size 64, the smallest that vLLM computes on a CPU) and a random LoRA adapter,
which is merged and written as a run does it. Weights are float32 and drawn wide, so that hardly ever two tokens are
nearly as likely. On a CPU, vLLM needs VLLM_CPU_KVCACHE_SPACE=1 and VLLM_ENABLE_V1_MULTIPROCESSING=0 in the environment.
"""

import json
import sys
import tempfile
from argparse import ArgumentDefaultsHelpFormatter, ArgumentParser
from dataclasses import asdict, replace
from pathlib import Path

import torch
from omegaconf import OmegaConf

# Run as a script, Python would look beside this file alone.
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from experiments.cells import flowed, table
from experiments.performance.gpu_step import SPECIAL, _tokenizer, random_llava, recipe_of
from selectmm.cache.provenance import provenance
from selectmm.cache.stage import write_atomically
from selectmm.evaluation.engine import Engine
from selectmm.evaluation.evaluate import evaluate
from selectmm.evaluation.results import read_answers, read_entry
from selectmm.evaluation.suite import Suite
from selectmm.evaluation.vllm_backend import serving
from selectmm.export.model import merged
from selectmm.instantiate import open_suite
from selectmm.models.vlm import VLM
from selectmm.tuning.adapter import injected, load_adapter, lora_config, save_adapter

from transformers import CLIPVisionConfig, LlamaConfig  # isort: skip

ROOT = Path(__file__).resolve().parents[2]
NAME = "engine"
TABLES, RECORD = ROOT / "results" / "tables", ROOT / "results" / "metrics" / "engine.json"
HEAD = "<!-- Made by `python experiments/studies/engine.py`; never edited by hand. -->"


def main(arguments: list[str]) -> Path:
    """Answer twice, compare, and write the page; returns its path."""
    made = ArgumentParser(description=__doc__.splitlines()[0], formatter_class=ArgumentDefaultsHelpFormatter)
    made.add_argument("--python", required=True, help="interpreter of an environment that has vLLM")
    made.add_argument("--items", type=int, default=20, help="of each benchmark")
    given = made.parse_args(arguments)
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        suite = mini(place / "cache", given.items)
        vlm, adapter = small_llava(), place / "adapter"
        random_adapter(vlm, adapter)
        ours, theirs, checkpoint = (place / part for part in ("ours", "theirs", "checkpoint"))
        for folder in (ours, theirs, checkpoint):
            folder.mkdir()
        with load_adapter(vlm, adapter) as tuned:
            evaluate(tuned, suite, ours, 0)
        with merged(vlm, adapter, checkpoint):
            pass
        engine = Engine(python=given.python, window=None, memory=0.9, block=64, batch_invariant=False)
        with serving(engine, vlm, checkpoint, 1, place) as backend:
            evaluate(vlm, suite, theirs, 0, backend=backend)
        found = compared(suite, ours, theirs)
    origin = provenance()
    origin = replace(origin, command=origin.command.replace(given.python, "PYTHON"))  # where it lies says nothing
    record = {"engine": backend.name, "benchmarks": found, "provenance": asdict(origin)}
    write_atomically(RECORD, json.dumps(record, indent=1, ensure_ascii=False) + "\n")
    path = make(TABLES)
    print(path.read_text())
    return path


def mini(cache: Path, items: int) -> Suite:
    """The built-in suite, so many items of each benchmark."""
    config = OmegaConf.create({"cache": str(cache), "suite": OmegaConf.load(ROOT / "configs" / "suite" / "mini.yaml")})
    return replace(open_suite(OmegaConf.to_container(config.suite, resolve=True)), limit=items)


def small_llava() -> VLM:
    """Two decoder layers of two heads of size 64, and a CLIP tower of the same."""
    torch.manual_seed(0)
    sizes = {"hidden_size": 128, "intermediate_size": 256, "num_hidden_layers": 2, "num_attention_heads": 2}
    ids = {"pad_token_id": SPECIAL.index("<pad>"), "bos_token_id": 1, "eos_token_id": 2}
    words = {"vocab_size": len(_tokenizer()), "max_position_embeddings": 4096, "initializer_range": 0.2}
    tower = CLIPVisionConfig(**sizes, image_size=28, patch_size=14, projection_dim=32)
    vlm = random_llava(LlamaConfig(**sizes, **ids, **words, tie_word_embeddings=False), tower, torch.device("cpu"))
    vlm.model.float()
    return vlm


def random_adapter(vlm: VLM, folder: Path) -> None:
    """LoRA as the recipe of LLaVA-1.5 has it, with B drawn too, so that it changes every answer."""
    folder.mkdir()
    with injected(vlm, lora_config(vlm, recipe_of("llava15_lora"))) as wrapped:
        weights = {name: weight for name, weight in wrapped.named_parameters() if weight.requires_grad}
        for name, weight in weights.items():
            if "lora_B" in name:
                torch.nn.init.normal_(weight.data, std=0.01)
        save_adapter(wrapped, weights, folder)


def compared(suite: Suite, ours: Path, theirs: Path) -> list[dict[str, object]]:
    """Of each benchmark both scores, how many answers are the same, and how many of vLLM's change with the batch."""
    found = []
    for benchmark in suite.benchmarks:
        one, other = (read_entry(folder / f"{benchmark.name}.json", suite, benchmark) for folder in (ours, theirs))
        pairs = zip(read_answers(ours / one["answers"]), read_answers(theirs / other["answers"]), strict=True)
        same = sum((a.prompt, a.answer, a.score, a.cut) == (b.prompt, b.answer, b.score, b.cut) for a, b in pairs)
        counts = {key: other["batching"][key] for key in ("sampled", "changed")}
        scores = {"ours": one["value"], "theirs": other["value"]}
        found.append({"benchmark": benchmark.name, "items": one["items"], "same": same, **scores, **counts})
    return found


def make(folder: Path) -> Path:
    """Write the page from the record; returns its path."""
    record = json.loads(RECORD.read_text())
    rows, name, origin = record["benchmarks"], record["engine"], record["provenance"]
    total, same, sampled, changed = (sum(row[key] for row in rows) for key in ("items", "same", "sampled", "changed"))
    cells = [
        [
            row["benchmark"],
            f"{row['ours']:.1f}",
            f"{row['theirs']:.1f}",
            f"{row['same']} of {row['items']}",
            f"{row['changed']} of {row['sampled']}",
        ]
        for row in rows
    ]
    versions = ", ".join(f"{package} {origin['packages'][package]}" for package in ("torch", "transformers"))
    commit = origin["commit"][:10] + (" + uncommitted changes" if origin["dirty"] else "")
    parts = [
        HEAD,
        "# vLLM against our own decoding",
        f"A small LLaVA with random weights and a random LoRA adapter, in float32 on a CPU, answers items of the "
        f"built-in suite twice: by our own decoding, and by {name} on the checkpoint that `engine=vllm` merges and "
        f"writes. Of {total} answers, {same} are the same, with the same score and the same end. Of {sampled} answers "
        f"that vLLM gave a second time, to a question alone, {changed} changed.",
        table(["benchmark", "score, ours", "score, vLLM", "same answers", "changed when asked alone"], cells).rstrip(),
        f"Command: `{origin['command']}`, commit {commit}, with {versions} on our side; vLLM has an environment of its "
        f"own. It has not been run on a GPU here.",
    ]
    path = folder / f"{NAME}.md"
    write_atomically(path, flowed("\n\n".join(parts)) + "\n")
    return path


if __name__ == "__main__":
    main(sys.argv[1:])

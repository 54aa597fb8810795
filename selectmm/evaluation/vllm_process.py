"""Runs vLLM in its own process, ``python vllm_process.py '{"model": FOLDER, …}'``; it is asked through lines of JSON.

It is run as a file by the Python of any environment that has vLLM. That environment need not have this project, so
nothing of it is imported here. `selectmm.evaluation.engine` is the other side.

    → {"requests": [{"tokens": […], "images": [FILE, …], "max_tokens": 16, "stops": ["\\n"], "ends": [2]}, …]}
    ← {"answers": [{"tokens": […], "cut": false}, …]}
    → {"requests": [{"tokens": […], "from": 17}, …]}         the likelihood of the tokens from position 17 on
    ← {"answers": [{"likelihood": -1.5, "greedy": true}, …]}

With ``--version`` it only writes vLLM's version. Otherwise the first line that it writes is ``{"ready": {…}}``. In
place of any line may come ``{"problem": KIND, "why": TEXT}``.
"""

import json
import os
import queue
import re
import sys
import threading
import time
from pathlib import Path

TOO_LONG = re.compile(r"maximum model length|max_model_len|maximum context length", re.I)


class Problem(Exception):
    """What a user can mend: its kind (``vllm``, ``family``, ``window``) and what vLLM says."""


def main() -> None:
    """Serve until the requests end."""
    # What the libraries print goes to the log; only lines of ours go to the other side.
    lines = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    threading.Thread(target=_end_with, args=(os.getppid(),), daemon=True).start()

    def say(content: dict) -> None:
        lines.write(json.dumps(content) + "\n")
        lines.flush()

    try:
        engine, ready = _engine(json.loads(sys.argv[1]))
        say({"ready": ready})
        for asked in _asked():
            say({"answers": answers(engine, json.loads(asked)["requests"])})
    except Problem as problem:
        say({"problem": problem.args[0], "why": str(problem.args[1])})
        sys.exit(1)


def _engine(options: dict) -> tuple:
    """vLLM's engine, and what there is to know of it."""
    try:
        import vllm
        from vllm.platforms import current_platform
    except ImportError as problem:
        raise Problem("vllm", problem) from problem
    folder = Path(options["model"])
    (architecture,) = json.loads((folder / "config.json").read_text(encoding="utf-8"))["architectures"]
    if architecture not in vllm.ModelRegistry.get_supported_archs():
        raise Problem("family", f"vLLM {vllm.__version__} has no {architecture}")
    on_cpu = current_platform.is_cpu()
    window = {} if options["window"] is None else {"max_model_len": options["window"]}
    try:
        engine = vllm.LLM(
            model=str(folder),
            dtype=options["dtype"],
            seed=0,
            gpu_memory_utilization=options["memory"],
            enforce_eager=on_cpu,  # compiling takes longer there than it saves
            **window,
        )
    except ValueError as problem:
        raise Problem("window" if TOO_LONG.search(str(problem)) else "family", problem) from problem
    invariant = not on_cpu and os.environ.get("VLLM_BATCH_INVARIANT") == "1"
    return engine, {"vllm": vllm.__version__, "batch_invariant": invariant}


def answers(engine: object, requests: list) -> list:
    """The answers to some requests, which vLLM computes in batches of its own."""
    from vllm import SamplingParams

    settings = []
    for request in requests:
        if "from" in request:
            settings.append(SamplingParams(temperature=0, max_tokens=1, prompt_logprobs=1, detokenize=False))
        else:
            cap, stops, ends = request["max_tokens"], request["stops"], request["ends"]
            settings.append(SamplingParams(temperature=0, max_tokens=cap, stop=stops, stop_token_ids=ends))
    engine.reset_prefix_cache()  # what was asked before must not change an answer's last digits
    try:
        outputs = engine.generate([_prompt(request) for request in requests], settings, use_tqdm=False)
    except ValueError as problem:
        if TOO_LONG.search(str(problem)):
            raise Problem("window", problem) from problem
        raise
    return [_answer(request, output) for request, output in zip(requests, outputs, strict=True)]


def _prompt(request: dict) -> dict:
    """Tokens rather than text, because vLLM would put a second beginning-of-text token in front."""
    from PIL import Image

    images = [Image.open(file).copy() for file in request.get("images", ())]
    return {"prompt_token_ids": request["tokens"], **({"multi_modal_data": {"image": images}} if images else {})}


def _answer(request: dict, output: object) -> dict:
    if "from" in request:
        places = range(request["from"], len(request["tokens"]))
        found = [output.prompt_logprobs[place][request["tokens"][place]] for place in places]
        return {"likelihood": sum(one.logprob for one in found), "greedy": all(one.rank == 1 for one in found)}
    said = output.outputs[0]
    cut = said.finish_reason == "length"
    if cut and len(said.token_ids) < request["max_tokens"]:
        used = len(output.prompt_token_ids)
        raise Problem("window", f"a prompt of {used} tokens leaves {len(said.token_ids)} of {request['max_tokens']}")
    return {"tokens": list(said.token_ids), "cut": cut}  # its text lacks a character that is not whole


def _asked() -> object:
    """Lines of the other side as they come. They are read ahead, so that it never waits to write one."""
    waiting: queue.Queue = queue.Queue()

    def read() -> None:
        for line in sys.stdin:
            waiting.put(line)
        waiting.put(None)

    threading.Thread(target=read, daemon=True).start()
    return iter(waiting.get, None)


def _end_with(parent: int) -> None:
    """Nobody is left to answer once the process that started this one has gone."""
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(1)


if __name__ == "__main__":
    # Python puts this file's folder first, where modules of ours have common names (text, images).
    here = Path(__file__).resolve().parent
    sys.path[:] = [place for place in sys.path if Path(place).resolve() != here]
    if sys.argv[1:] == ["--version"]:
        from importlib.metadata import version

        print(version("vllm"))  # without importing it, which takes long
    else:
        main()

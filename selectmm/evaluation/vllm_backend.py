"""Answers by vLLM, for who has it installed: an option for whole checkpoints of the LLaVA and Qwen-VL families.

Prompts are those of `generate` (the family's template, a placeholder per image, pictures squared where the family wants
it) and decoding is greedy. vLLM makes batches of its own and computes with kernels of its own: where two tokens are
nearly as likely its answers may differ from `generate`'s, and may depend on the batch. **It has not been run** where
this was written, which has no GPU; the tests hold a stub of vLLM's documented interface against it.
"""

from collections.abc import Sequence
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

from selectmm.errors import UserError
from selectmm.evaluation.decode import Reply
from selectmm.evaluation.generate import Backend, Question, ends_of_turn
from selectmm.models.encode import prepare, render
from selectmm.models.vlm import VLM
from selectmm.pool.sample import Turn


def backend(folder: Path, vlm: VLM) -> Backend:
    """vLLM on a Hugging Face folder, for `evaluate`; adapters have to be merged into it before.

    Args:
        folder: a whole checkpoint.
        vlm: the same checkpoint, opened (on the CPU will do): its processor and template make the prompts. Pictures
            get the size that the folder's own processor says, which of an exported model is that of its tuning.

    Raises:
        UserError: vLLM is not installed, the folder is no checkpoint, or the family is none that was prepared for.
    """
    if find_spec("vllm") is None:
        raise UserError("vLLM is not installed; `pip install vllm` on a machine with a GPU, or evaluate without it.")
    if not (folder / "config.json").is_file():
        raise UserError(f"vLLM needs a whole checkpoint and {folder} is none; merge the adapter into the model first.")
    if vlm.family.name == "internvl3":
        raise UserError(
            "The vLLM backend was written for the LLaVA and Qwen-VL families; evaluate this one without it."
        )
    from vllm import LLM, SamplingParams  # here, because importing it takes seconds

    llm = LLM(model=str(folder), dtype=str(vlm.model.dtype).removeprefix("torch."), seed=0)
    ends = sorted(ends_of_turn(vlm))

    def answer(questions: Sequence[Question], max_new_tokens: int, stops: Sequence[str]) -> list[Reply]:
        greedy = SamplingParams(temperature=0, max_tokens=max_new_tokens, stop=list(stops), stop_token_ids=ends)
        outputs = llm.generate([_prompt(vlm, question) for question in questions], greedy, use_tqdm=False)
        return [Reply(output.outputs[0].text, output.outputs[0].finish_reason == "length") for output in outputs]

    return Backend(f"vllm {version('vllm')}", answer)


def _prompt(vlm: VLM, question: Question) -> dict[str, object]:
    """Tokens rather than text, because vLLM would put a second beginning-of-text token in front."""
    images = [prepare(vlm, image) for image in question.images()]
    text, _, _ = render(vlm.family.template, (Turn("user", question.prompt),), len(images))
    tokens = vlm.processor.tokenizer(text, add_special_tokens=False)["input_ids"]
    return {"prompt_token_ids": tokens, **({"multi_modal_data": {"image": images}} if images else {})}

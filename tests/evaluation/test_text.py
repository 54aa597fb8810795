"""Text benchmarks on a VLM are lm-eval's on its bare language model."""

import pytest
import torch
from lm_eval.api.instance import Instance
from lm_eval.api.model import LM
from lm_eval.models.huggingface import HFLM
from transformers import LlamaForCausalLM, PreTrainedModel, Qwen2Config, Qwen2ForCausalLM

from selectmm.evaluation import text
from selectmm.evaluation.tasks import rendered
from selectmm.models import llava, qwen2_vl
from selectmm.models.vlm import VLM
from tests.evaluation.material import benchmarks, items, tasks
from tests.tiny import tiny_llava, tiny_qwen2_vl


def bare_llama(vlm: VLM) -> PreTrainedModel:
    return _with_weights(LlamaForCausalLM(vlm.model.config.text_config), vlm)


def bare_qwen(vlm: VLM) -> PreTrainedModel:
    """Qwen2: on text all three parts of the VLM's rotary position are the same, which is Qwen2's own."""
    text_config = vlm.model.config.text_config
    names = ("vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads")
    sizes = {name: getattr(text_config, name) for name in (*names, "num_key_value_heads", "rms_norm_eps")}
    rope = {"rope_type": "default", "rope_theta": text_config.rope_parameters["rope_theta"]}
    config = Qwen2Config(**sizes, rope_parameters=rope, tie_word_embeddings=False, max_position_embeddings=2048)
    return _with_weights(Qwen2ForCausalLM(config), vlm)


def _with_weights(model: PreTrainedModel, vlm: VLM) -> PreTrainedModel:
    model.model.load_state_dict(vlm.model.model.language_model.state_dict())
    model.lm_head.load_state_dict(vlm.model.lm_head.state_dict())
    return model.eval()


FAMILIES = {"llava": (tiny_llava, llava.load, bare_llama), "qwen2_vl": (tiny_qwen2_vl, qwen2_vl.load, bare_qwen)}


@pytest.fixture(params=list(FAMILIES), scope="module")
def models(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[VLM, LM, LM]:
    """The VLM, ours on it, and lm-eval's own model on its language model alone."""
    make, load, bare = FAMILIES[request.param]
    vlm = load(str(make(tmp_path_factory.mktemp(request.param))), device="cpu")
    theirs = HFLM(pretrained=bare(vlm), tokenizer=vlm.processor.tokenizer, backend="causal", device="cpu", batch_size=1)
    return vlm, text.language_model(vlm, 1), theirs


def asked() -> list[Instance]:
    pairs = [("The square is", f" {word}") for word in ("red", "green", "not what was asked for", "A")]
    pairs += [("How much is one plus two? The sum is", " 3"), (("You are a helpful assistant. " * 20).strip(), " yes")]
    return [Instance("loglikelihood", {}, pair, number) for number, pair in enumerate(pairs)]


def test_likelihoods_are_those_of_the_bare_language_model(models: tuple[VLM, LM, LM]) -> None:
    _, ours, theirs = models
    assert ours.loglikelihood(asked()) == theirs.loglikelihood(asked())


def test_a_likelihood_is_the_sum_of_the_answers_log_probabilities(models: tuple[VLM, LM, LM]) -> None:
    vlm, ours, _ = models
    tokenizer = vlm.processor.tokenizer
    for instance, (found, _) in zip(asked(), ours.loglikelihood(asked()), strict=True):
        before, answer = (tokenizer(part, add_special_tokens=False)["input_ids"] for part in instance.args)
        with torch.inference_mode():
            logits = vlm.model(torch.tensor([before + answer])).logits[0].log_softmax(-1)
        steps = range(len(before), len(before) + len(answer))
        expected = sum(logits[step - 1, token].item() for step, token in zip(steps, answer, strict=True))
        assert found == pytest.approx(expected, abs=1e-4)
        assert found < 0


@pytest.mark.parametrize("key", ["hellaswag", "mmlu", "mmlu_pro"])
def test_a_score_is_that_of_the_bare_language_model(models: tuple[VLM, LM, LM], key: str) -> None:
    _, ours, theirs = models
    benchmark = benchmarks()[key]
    with rendered(tasks()) as folder:
        found = [text.run([benchmark], folder, model, limit=None, seed=0)[benchmark.name] for model in (ours, theirs)]
    assert found[0] == found[1]


def test_hellaswag_divides_likelihoods_by_the_endings_length_once(models: tuple[VLM, LM, LM]) -> None:
    _, ours, _ = models
    benchmark = benchmarks()["hellaswag"]
    with rendered(tasks()) as folder:
        answers = text.run([benchmark], folder, ours, limit=None, seed=0)[benchmark.name].answers
    for item, answer in zip(items()["hellaswag"], answers, strict=True):
        pairs = [Instance("loglikelihood", {}, (answer.prompt, f" {option}"), 0) for option in item.options]
        likelihoods = [value for value, _ in ours.loglikelihood(pairs)]
        scaled = [value / len(option) for value, option in zip(likelihoods, item.options, strict=True)]
        best = item.options[max(range(4), key=scaled.__getitem__)]
        assert answer.score == float(best == item.answer)

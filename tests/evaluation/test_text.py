"""Text benchmarks on a VLM are lm-eval's on its bare language model."""

import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import pytest
import torch

import selectmm.models  # noqa: F401  (lets torchvision import)
from selectmm.errors import UserError
from selectmm.evaluation import halves, text
from selectmm.evaluation import language_model as language_model_module
from selectmm.evaluation.answering import Responses, Share, ShareAnswered
from selectmm.evaluation.batching import Batching
from selectmm.evaluation.generate import Backend
from selectmm.evaluation.language_model import _ties, language_model
from selectmm.models.vlm import VLM
from tests.evaluation.material import benchmarks, items, rendered_tasks
from tests.families import FAMILIES

from lm_eval.api.instance import Instance  # isort: skip
from lm_eval.api.model import LM  # isort: skip
from lm_eval.models.huggingface import HFLM  # isort: skip
from transformers import AutoModelForCausalLM, PreTrainedModel, Qwen2Config  # isort: skip


def bare(vlm: VLM, folder: Path) -> PreTrainedModel:
    """The language model alone, opened by AutoModelForCausalLM from a folder that holds its weights and no others."""
    config = vlm.model.config.get_text_config()
    if vlm.family.name == "qwen2_vl":
        # On text all three parts of the VLM's rotary position are the same, which is Qwen2's own.
        names = ("vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads")
        sizes = {name: getattr(config, name) for name in (*names, "num_key_value_heads", "rms_norm_eps")}
        rope = {"rope_type": "default", "rope_theta": config.rope_parameters["rope_theta"]}
        config = Qwen2Config(**sizes, rope_parameters=rope, tie_word_embeddings=False, max_position_embeddings=2048)
    model = AutoModelForCausalLM.from_config(config)
    model.model.load_state_dict(vlm.model.model.language_model.state_dict())
    model.lm_head.load_state_dict(vlm.model.lm_head.state_dict())
    model.save_pretrained(folder)
    return AutoModelForCausalLM.from_pretrained(folder).eval()


NAMES = {"llava": "llava_chatml", "qwen2_vl": "qwen2_vl", "internvl3": "internvl3"}


Made = tuple[VLM, LM, LM]


@pytest.fixture(scope="module")
def make(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Made]:
    """A family's VLM, ours on it, and lm-eval's own model on its language model alone; made once."""

    def made(name: str) -> Made:
        vlm = FAMILIES[NAMES[name]].load(tmp_path_factory.mktemp(name))
        alone = bare(vlm, tmp_path_factory.mktemp(f"{name}-bare"))
        theirs = HFLM(pretrained=alone, tokenizer=vlm.processor.tokenizer, backend="causal", device="cpu", batch_size=1)
        return vlm, ours_of(vlm, 1), theirs

    return cache(made)


@pytest.fixture(params=list(NAMES))
def models(request: pytest.FixtureRequest, make: Callable[[str], Made]) -> Made:
    return make(request.param)


# For tests of what this package does around the pass, whichever model it is that passes.
ONE = pytest.mark.parametrize("models", ["llava"], indirect=True)


def ours_of(vlm: VLM, size: int) -> LM:
    """Ours, keeping its answers where nobody else looks."""
    return language_model(vlm, size, Responses(Path(tempfile.mkdtemp()), "task", "asked"), Batching(True))


def asked() -> list[Instance]:
    pairs = [("The square is", f" {word}") for word in ("red", "green", "not what was asked for", "A")]
    pairs += [("How much is one plus two? The sum is", " 3"), (("You are a helpful assistant. " * 20).strip(), " yes")]
    return [Instance("loglikelihood", {}, pair, number) for number, pair in enumerate(pairs)]


def test_likelihoods_are_those_of_the_bare_language_model(models: Made) -> None:
    _, ours, theirs = models
    assert ours.loglikelihood(asked()) == theirs.loglikelihood(asked())


def test_a_likelihood_is_the_sum_of_the_answers_log_probabilities(models: Made) -> None:
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


@pytest.mark.parametrize(
    ("models", "key"), [("llava", "hellaswag"), ("internvl3", "mmlu"), ("qwen2_vl", "mmlu_pro")], indirect=["models"]
)
def test_a_score_is_that_of_the_bare_language_model(models: Made, key: str) -> None:
    vlm, _, theirs = models
    benchmark = benchmarks()[key]
    lone, batch, expected = (
        text.run([benchmark], rendered_tasks(), model, limit=None, seed=0)[benchmark.name]
        for model in (ours_of(vlm, 1), ours_of(vlm, 16), theirs)
    )
    assert lone == batch == expected


def test_generated_text_is_that_of_the_bare_language_model(models: Made) -> None:
    vlm, _, theirs = models
    # lm-eval looks for stops in the names of special tokens too, which are no part of an answer.
    names = "".join(vlm.processor.tokenizer.all_special_tokens)
    said = "".join(theirs.generate_until(_continuations([], 6)))
    stop = next(letter for letter in said if letter.isascii() and letter.isprintable() and letter not in f" {names}")
    for stops in ([], [stop]):
        requests = _continuations(stops, 6)
        expected = theirs.generate_until(requests)
        assert ours_of(vlm, 1).generate_until(requests) == expected
        assert ours_of(vlm, 4).generate_until(requests) == expected


def _continuations(stops: list[str], tokens: int) -> list[Instance]:
    settings = {"until": stops, "max_gen_toks": tokens, "do_sample": False}
    return [Instance("generate_until", {}, (pair.args[0], settings), n) for n, pair in enumerate(asked())]


@ONE
def test_a_task_that_wants_samples_or_too_many_tokens(models: Made) -> None:
    vlm, _, _ = models
    samples = {"do_sample": True, "temperature": 1.0}
    for settings, message in ((samples, "wants samples"), ({"max_gen_toks": 99999}, "up to 99999")):
        with pytest.raises(UserError, match=message):
            ours_of(vlm, 1).generate_until([Instance("generate_until", {}, ("The square", settings), 0)])


@ONE
def test_a_prompt_that_does_not_fit_into_the_window_is_noted(models: Made) -> None:
    vlm, _, _ = models
    for settings in ({"until": [], "max_gen_toks": 12, "do_sample": False}, " red"):
        ours = ours_of(vlm, 2)
        ours._theirs._max_length = 24
        kind = "loglikelihood" if isinstance(settings, str) else "generate_until"
        texts = enumerate(("red", "red " * 40))
        getattr(ours, kind)([Instance(kind, {}, (said, settings), n, ("toy", n, 1)) for n, said in texts])
        assert ours.shortened == {"toy/1"}


@contextmanager
def noise_in_batches(vlm: VLM) -> Iterator[None]:
    """Logits of several rows differ a little from those of a row alone, as they may where sums have another order."""
    head = vlm.model.get_output_embeddings()
    hook = head.register_forward_hook(lambda _head, _inputs, logits: logits * (1 + 1e-4 * (len(logits) > 1)))
    try:
        yield
    finally:
        hook.remove()


def test_likelihoods_of_a_batch_are_within_noise_and_near_ties_are_asked_alone(
    models: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    vlm, ours, _ = models
    found = ours_of(vlm, 16).loglikelihood(asked())
    for (value, said), (alone, said_alone) in zip(found, ours.loglikelihood(asked()), strict=True):
        assert value == pytest.approx(alone, rel=1e-5) and said == said_alone
    with noise_in_batches(vlm):
        for tolerance, asked_alone in ((0.0, False), (10.0, True)):
            monkeypatch.setattr(language_model_module, "TOLERANCE", tolerance)
            assert (ours_of(vlm, 16).loglikelihood(asked()) == ours.loglikelihood(asked())) == asked_alone


@ONE
def test_ties_that_were_asked_again_are_kept_like_any_answer(
    models: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    vlm, ours, _ = models
    monkeypatch.setattr(language_model_module, "TOLERANCE", 10.0)  # every question is a tie

    def started() -> LM:
        return language_model(vlm, 16, Responses(tmp_path, "task", "asked"), Batching(True))

    with noise_in_batches(vlm):
        first = started().loglikelihood(asked())
    again = started()
    again._theirs.loglikelihood = None  # asking anything would fail
    assert again.loglikelihood(asked()) == first == ours.loglikelihood(asked())


@ONE
def test_a_sample_of_questions_is_asked_alone_where_the_batch_may_matter(models: Made, tmp_path: Path) -> None:
    vlm, _, _ = models
    batching = Batching(invariant=False)
    model = language_model(vlm, 16, Responses(tmp_path, "task", "asked"), batching)
    requests = [
        Instance("loglikelihood", {}, (f"{number} is", f" {word}"), option, ("toy", number, 1))
        for number in range(3)
        for option, word in enumerate(("red", "green"))
    ]
    found, theirs = model.loglikelihood(requests), model._theirs.loglikelihood
    assert (batching.sampled, batching.changed) == (3, 0)
    swapped = Batching(invariant=False)
    model = language_model(vlm, 16, Responses(tmp_path, "other", "asked"), swapped)
    # Whoever is asked alone says the opposite: every question prefers its other option.
    model._theirs.loglikelihood = lambda some, **_: [
        (-value if len(some) == 1 else value, said) for value, said in theirs(some, disable_tqdm=True)
    ]
    assert [value for value, _ in model.loglikelihood(requests)] == [value for value, _ in found]
    assert (swapped.sampled, swapped.changed) == (3, 3)


@ONE
def test_where_memory_does_not_suffice_for_a_batch_it_is_halved(models: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    vlm, _, _ = models
    monkeypatch.setattr(halves, "clear_device_cache", lambda **_named: None)  # takes a tenth of a second each time
    tried: list[int] = []

    def run_out(_model: object, inputs: tuple[torch.Tensor, ...], named: dict[str, torch.Tensor]) -> None:
        tried.append(len(named["input_ids"] if "input_ids" in named else inputs[0]))
        if tried[-1] > 2:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB.")

    texts = [Instance("loglikelihood_rolling", {}, (f"The {word}",), n) for n, word in enumerate(("square is", "sum"))]
    expected = ours_of(vlm, 2)
    said, followed = expected.loglikelihood(asked()), expected.generate_until(_continuations([], 4))
    hook = vlm.model.register_forward_pre_hook(run_out, with_kwargs=True)
    try:
        ours = ours_of(vlm, 5)
        found = ours.loglikelihood(asked())
        assert max(tried) > 2 and ours._theirs.batch_size == 5
        tried.clear()
        assert ours.generate_until(_continuations([], 4)) == followed
        assert max(tried) > 2
        assert ours.loglikelihood_rolling(texts) == expected.loglikelihood_rolling(texts)
    finally:
        hook.remove()
    assert [greedy for _, greedy in found] == [greedy for _, greedy in said]
    assert [value for value, _ in found] == pytest.approx([value for value, _ in said], rel=1e-5)


LONG = "The square is red and the sum is even . " * 12


@ONE
def test_processes_share_whole_texts_and_a_killed_one_s_are_kept(models: Made, tmp_path: Path) -> None:
    vlm, _, theirs = models
    texts = [Instance("loglikelihood_rolling", {}, (text,), n) for n, text in enumerate((LONG, "The sum", "A square"))]
    for rank in range(2):
        responses = Responses(tmp_path, "task", "asked", Share(rank, 2))
        with pytest.raises(ShareAnswered):
            language_model(vlm, 2, responses, Batching(invariant=True)).loglikelihood_rolling(texts)
    ours = language_model(vlm, 2, Responses(tmp_path, "task", "asked"), Batching(invariant=True))
    ours._theirs.loglikelihood_rolling = None  # all of them are there
    assert ours.loglikelihood_rolling(texts) == pytest.approx(theirs.loglikelihood_rolling(texts), rel=1e-5)


@ONE
def test_a_text_that_is_longer_than_an_engine_s_window_is_read_in_pieces_that_fit(models: Made, tmp_path: Path) -> None:
    """The engine's window holds a piece, the token before it and one that it generates; the likelihoods are here those
    of lm-eval's own model with windows of the same size."""
    vlm, _, theirs = models
    asked: list[tuple[int, int]] = []

    def score(pairs: Sequence[tuple[Sequence[int], Sequence[int]]]) -> list[tuple[float, bool]]:
        asked.extend((len(context), len(continuation)) for context, continuation in pairs)
        return theirs._loglikelihood_tokens([(None, list(a), list(b)) for a, b in pairs], disable_tqdm=True)

    backend = Backend("stub", answer=None, complete=None, score=score, size=8, batch_invariant=True)
    ours = language_model(vlm, 2, Responses(tmp_path, "task", "asked"), Batching(invariant=True), backend)
    ours._theirs._max_length = ours._theirs._window = 32
    text = Instance("loglikelihood_rolling", {}, (LONG,), 0)
    (found,) = ours.loglikelihood_rolling([text])
    assert len(asked) > 2 and all(context >= 1 and context + piece <= 31 for context, piece in asked)
    assert sum(piece for _, piece in asked) == len(theirs.tok_encode(LONG))
    theirs._max_length, before = 30, theirs._max_length
    try:
        assert found == pytest.approx(theirs.loglikelihood_rolling([text])[0], rel=1e-5)
    finally:
        theirs._max_length = before
    ours.loglikelihood([Instance("loglikelihood", {}, (LONG, " red"), 1)])
    assert asked[-1][0] + asked[-1][1] == 31, "the window is as large as before"


@ONE
def test_likelihoods_are_read_and_texts_go_on_in_batches_of_so_many_tokens(
    models: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    vlm, _, _ = models
    passed: list[tuple[int, int]] = []

    def count(_model: object, inputs: tuple[torch.Tensor, ...], named: dict[str, torch.Tensor]) -> None:
        ids = named["input_ids"] if "input_ids" in named else inputs[0]
        if ids.shape[1] > 1:  # not a pass over a batch's next tokens
            passed.append(tuple(ids.shape))

    expected = ours_of(vlm, 4)
    said, followed = expected.loglikelihood(asked()), expected.generate_until(_continuations([], 4))
    longest = max(len(expected._theirs.tok_encode("".join(request.args))) for request in asked())
    monkeypatch.setattr(language_model_module, "TOKENS", 2 * longest)
    monkeypatch.setattr(language_model_module, "GENERATED", 2 * (longest + 4))
    hook = vlm.model.register_forward_pre_hook(count, with_kwargs=True)
    try:
        ours = ours_of(vlm, 4)
        found = ours.loglikelihood(asked())
        assert max(rows for rows, _ in passed) == 2 and all(rows * tokens <= 2 * longest for rows, tokens in passed)
        passed.clear()
        assert ours.generate_until(_continuations([], 4)) == followed
        assert max(rows for rows, _ in passed) == 2
        assert all(rows * (tokens + 4) <= 2 * (longest + 4) for rows, tokens in passed)
    finally:
        hook.remove()
    assert [greedy for _, greedy in found] == [greedy for _, greedy in said]
    assert [value for value, _ in found] == pytest.approx([value for value, _ in said], rel=1e-5)


def test_a_tie_per_character_is_one_in_the_options_own_length() -> None:
    """lm-eval divides by the option's characters, without the space before it: −2 / 2 and −10 / 10 are a tie."""
    requests = [Instance("loglikelihood", {}, ("What?", f" {option}"), n) for n, option in enumerate(("ab", "a" * 10))]
    assert _ties(requests, [-2.0, -10.0], 1e-4) == [0, 1]
    assert _ties(requests, [-2.0, -10.5], 1e-4) == []


@ONE
def test_hellaswag_divides_likelihoods_by_the_endings_length_once(models: Made) -> None:
    _, ours, _ = models
    benchmark = benchmarks()["hellaswag"]
    answers = text.run([benchmark], rendered_tasks(), ours, limit=None, seed=0)[benchmark.name].answers
    for item, answer in zip(items()["hellaswag"], answers, strict=True):
        pairs = [Instance("loglikelihood", {}, (answer.prompt, f" {option}"), 0) for option in item.options]
        likelihoods = [value for value, _ in ours.loglikelihood(pairs)]
        scaled = [value / len(option) for value, option in zip(likelihoods, item.options, strict=True)]
        best = item.options[max(range(4), key=scaled.__getitem__)]
        assert answer.score == float(best == item.answer)

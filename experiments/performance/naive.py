"""The passes that ours is held against: as one would first write them, and as a bare loop over ready tensors."""

from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch.nn.functional import cross_entropy, one_hot

from experiments.performance.rows import LIMIT, Rows
from selectmm.features.attended import most_attended
from selectmm.models.encode import Batch, Conversation, encode
from selectmm.models.inputs import inputs_of
from selectmm.models.losses import answer_logits
from selectmm.models.vlm import VLM
from selectmm.pool.pool import Pool
from selectmm.pool.sample import Turn

States = tuple[torch.Tensor, ...]


def all_layers(rows: Rows) -> Callable[[], np.ndarray]:
    """A row at a time, every layer kept, eager attention, logits of every token; all that the five methods read.

    Returns the answer losses, [rows].
    """
    vlm, pool = _eager(rows)

    def run() -> torch.Tensor:
        return torch.stack([_five(vlm, *seen)["loss"] for seen in _full_outputs(vlm, pool)]).numpy()

    return run


def all_layers_for_images(rows: Rows) -> Callable[[], np.ndarray]:
    """The same pass where only the image's mean state after layer 1 is wanted; [rows, width]."""
    vlm, pool = _eager(rows)

    def run() -> torch.Tensor:
        found = [_of_image(vlm, batch, hidden[1]) for batch, hidden, _, _ in _full_outputs(vlm, pool)]
        return torch.stack(found).numpy()

    return run


def bare_images(rows: Rows) -> Callable[[], None]:
    """A model cut off after its first layer, on unique images that are tensors already."""
    vlm, pool = rows.open_model(), rows.open_pool()
    shown = [Conversation((Turn("user", ""),), (pool.open_image(image),)) for image in pool.images]
    ready = _encoded(vlm, shown, rows.batch_size)
    decoder = vlm.model.get_submodule(vlm.family.layers.removesuffix(".layers"))
    decoder.layers = decoder.layers[:1]

    @torch.no_grad()
    def run() -> None:
        for batch in ready:
            vlm.model.model(**inputs_of(batch), use_cache=False)

    run()
    return run


def bare_rows(rows: Rows) -> Callable[[], None]:
    """The whole model with logits of the answers alone, on rows that are tensors already and sorted by their tokens."""
    vlm, pool = rows.open_model(), rows.open_pool()
    talks = sorted(conversations(pool), key=lambda c: encode(vlm, [c], side="right", limit=None)["input_ids"].shape[1])
    ready = _encoded(vlm, talks, rows.batch_size)

    @torch.no_grad()
    def run() -> None:
        for batch in ready:
            answer_logits(vlm.model, batch)

    return run


def conversations(pool: Pool) -> Iterator[Conversation]:
    """Every row, its image opened."""
    for row in range(len(pool)):
        sample = pool[row]
        yield Conversation(sample.turns, (pool.open_image(sample.image),) if sample.image else ())


def _eager(rows: Rows) -> tuple[VLM, Pool]:
    vlm = rows.open_model()
    vlm.model.set_attn_implementation("eager")
    return vlm, rows.open_pool()


def _encoded(vlm: VLM, talks: list[Conversation], size: int) -> list[Batch]:
    parts = [talks[start : start + size] for start in range(0, len(talks), size)]
    return [encode(vlm, part, side="right", limit=LIMIT) for part in parts]


@torch.no_grad()
def _full_outputs(vlm: VLM, pool: Pool) -> Iterator[tuple[Batch, States, States, torch.Tensor]]:
    """Each row's batch of one, its hidden states, attentions and logits."""
    for conversation in conversations(pool):
        batch = encode(vlm, [conversation], side="right", limit=LIMIT)
        output = vlm.model(**inputs_of(batch), output_hidden_states=True, output_attentions=True, use_cache=False)
        yield batch, output.hidden_states, output.attentions, output.logits


def _of_image(vlm: VLM, batch: Batch, hidden: torch.Tensor) -> torch.Tensor:
    return hidden[0, batch["input_ids"][0] == vlm.image_token_id].mean(0)


def _five(vlm: VLM, batch: Batch, hidden: States, attention: States, logits: torch.Tensor) -> dict[str, torch.Tensor]:
    words, answer = batch["instruction"][0], batch["labels"][0] != -100
    targets, predicted = batch["labels"][0, answer], logits[0, :-1][answer[1:]]
    made = {
        "loss": cross_entropy(predicted, targets),
        "error": (predicted.softmax(-1) - one_hot(targets, predicted.shape[-1])).norm(dim=-1).mean(),
        "question": hidden[0][0, words].mean(0),
        "answer": hidden[0][0, answer].mean(0),
    }
    image = batch["input_ids"][0] == vlm.image_token_id
    if image.any():
        kept = most_attended(attention[0][0][:, words].mean((0, 1))[image], 0.9)
        made["attended"] = hidden[1][0, image][kept].mean(0)
        made["image"], made["projected"] = _of_image(vlm, batch, hidden[1]), _of_image(vlm, batch, hidden[0])
    return made

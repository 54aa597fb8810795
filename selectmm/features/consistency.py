"""How much a row's image, question and answer say about each other (DICS' representation)."""

import string
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal

import torch
from torch.nn.functional import cross_entropy

from selectmm.features.blind import Removal, without_image
from selectmm.features.feature import Seen
from selectmm.features.loaded import encoded
from selectmm.models.encode import IGNORED, Batch, Conversation
from selectmm.models.forward import Reads
from selectmm.models.losses import answer_logits
from selectmm.pool.sample import Turn

# Words of the classes that DICS counts less: DT, IN, CC, PRP, WP, MD, RP and TO of the Penn Treebank. They are closed
# classes, so a list stands for a tagger; what it cannot know is which class a word that is in two has in its sentence.
LIGHT_WORDS = frozenset(
    # DT
    "a an the this that these those each every either neither another any some all both no "
    # IN
    "about above across after against along although among amongst around as at because before behind below beneath "
    "beside besides between beyond by despite down during except for from if in inside into like near of off on onto "
    "out outside over past per since so than though through throughout till toward towards under underneath unless "
    "until up upon via whereas whether while with within without "
    # CC
    "and or but nor yet plus minus times "
    # PRP
    "i me you he him she her it we us they them myself yourself himself herself itself ourselves yourselves themselves "
    "one mine yours his hers ours theirs "
    # WP
    "who whom what whoever whomever whatever "
    # MD
    "can could may might must shall should will would ought cannot "
    # RP
    "away back apart aside together forth "
    # TO
    "to".split()
)

ASK = "Based on the image, what is the likely question?"
ASK_KNOWING = "Based on the image and answer, what is the likely question? Answer: {}"


@dataclass(frozen=True)
class Consistency:
    """exp(L(y|x) − L(y|x, I)) and exp(L(x|I) − L(x|y, I)) of a row with image I, questions x and answers y; [rows, 2].

    Both are 1 for a row without image, the first also for one without an answer, the second for one without words of
    the user. From DICS (arXiv 2608.30209), whose code was not to be had. L is the mean loss of a turn's tokens, in
    which function words and punctuation count ``light`` and all others 1; the ratios are averaged over the turns.
    Questions are predicted in conversations turned round: the user asks "Based on the image, what is the likely
    question?", with the answer or without, and the assistant asks the row's question. Later turns follow earlier ones
    there as they do in the row.

    Three forward passes of its own, beside the one that it shares; eight bytes a row.

    Attributes:
        light: weight of tokens of function words and punctuation; 1 for all alike.
        mean: a turn's loss is divided by the sum of its ``weights``, or by the number of its ``tokens``.
        removal: how the image is taken away, see `selectmm.features.blind.BlindLoss`.
    """

    light: float = 0.1
    mean: Literal["weights", "tokens"] = "weights"
    removal: Removal = "drop"
    view: Literal["conversation"] = "conversation"
    vector: Literal[True] = True

    def reads(self) -> Reads:
        """Logits of the answers; turns and images, to write them otherwise."""
        return Reads(answers=True, pictures=True)

    def compute(self, seen: Seen) -> torch.Tensor:
        """The two ratios of each row, [n, 2]."""
        found = torch.ones(len(seen), 2, device=seen.tokens.device)
        shown = seen.image_tokens.any(1).nonzero().flatten()
        if len(shown):
            turns = partial(turn_losses, seen, light=self.light, mean=self.mean)
            sighted, blind = turns(seen.batch), turns(without_image(seen, shown, self.removal))
            talks = [seen.conversations[row] for row in shown.tolist()]
            guessed, knowing = (
                turns(_asking(seen, [turned(talk, ask) for talk in talks])) for ask in (ASK, ASK_KNOWING)
            )
            for place, row in enumerate(shown.tolist()):
                found[row, 0] = _ratio(blind[place], sighted[row])
                found[row, 1] = _ratio(guessed[place], knowing[place])
        return found


def turned(talk: Conversation, ask: str) -> Conversation:
    """A conversation in which the assistant asks the user's questions; ``ask`` may have a place for the answer.

    A question that no answer follows is left out. All images open the first turn.
    """
    turns, question = [], ""
    for turn in talk.turns:
        if turn.role == "user":
            question = turn.text
        elif question:
            turns += [Turn("user", ask.format(turn.text) if "{}" in ask else ask), Turn("assistant", question)]
            question = ""
    return replace(talk, turns=tuple(turns) or (Turn("user", ask),), image_turn=0, shown=())


def _asking(seen: Seen, talks: Sequence[Conversation]) -> Batch:
    loaded = encoded(seen.vlm, list(range(len(talks))), talks, pictures=False)
    return Seen(seen.vlm, loaded, Reads(), seen.limit).batch


def turn_losses(seen: Seen, batch: Batch, light: float, mean: Literal["weights", "tokens"]) -> list[list[float]]:
    """The loss of each turn that is answered for, by row; [rows] of lists. A turn is a run of answer tokens."""
    own = batch is seen.batch
    if own:
        logits, targets, rows = seen.answers.logits, seen.answers.targets, seen.answers.rows
    else:
        logits, targets, rows = answer_logits(seen.vlm.model, batch)
    losses = cross_entropy(logits.float(), targets, reduction="none")
    answered = batch["labels"][:, 1:] != IGNORED
    begins = answered & ~torch.cat([torch.zeros_like(answered[:, :1]), answered[:, :-1]], 1)
    turn = begins.cumsum(1)[answered]  # from 1, in its row
    weights = token_weights(seen, targets, turn, rows, light)
    found: list[list[float]] = [[] for _ in range(len(batch["labels"]))]
    if not len(turn):
        return found
    span = int(turn.max()) + 1
    places, of = (rows * span + turn).unique(return_inverse=True)
    counted = weights if mean == "weights" else torch.ones_like(weights)
    sums = [torch.zeros(len(places), device=turn.device).index_add_(0, of, v) for v in (losses * weights, counted)]
    for place, loss in zip(places.tolist(), (sums[0] / sums[1]).tolist(), strict=True):
        found[place // span].append(loss)
    return found


def token_weights(
    seen: Seen, targets: torch.Tensor, turn: torch.Tensor, rows: torch.Tensor, light: float
) -> torch.Tensor:
    """A weight for each answer token, [m]: ``light`` for those of function words and of punctuation, else 1.

    A token that begins with a space, or that changes between letters and punctuation, begins a word.
    """
    pieces = seen.vlm.processor.tokenizer.convert_ids_to_tokens(targets.tolist())
    special = set(seen.vlm.processor.tokenizer.all_special_tokens)
    places = list(zip(rows.tolist(), turn.tolist(), strict=True))
    weights = torch.ones(len(pieces), device=targets.device)
    for start, stop in _words(pieces, places, special):
        word = "".join(_plain(piece) for piece in pieces[start:stop]).lower()
        if word and pieces[start] not in special and (word in LIGHT_WORDS or not word.strip(string.punctuation)):
            weights[start:stop] = light
    return weights


def _words(pieces: Sequence[str], places: Sequence[object], special: set[str]) -> list[tuple[int, int]]:
    """Where each word's tokens begin and end."""
    starts = []
    for at, piece in enumerate(pieces):
        before = pieces[at - 1] if at and places[at - 1] == places[at] else None
        joins = (
            before is not None
            and not {piece, before} & special
            and piece[:1] not in _SPACES
            and _pointed(piece) == _pointed(before)
        )
        if not joins:
            starts.append(at)
    return list(zip(starts, [*starts[1:], len(pieces)], strict=True))


_SPACES = ("Ġ", "▁", "Ċ", " ")  # how byte-level and SentencePiece tokens begin where a space (or line) stood before


def _plain(piece: str) -> str:
    return piece.lstrip("".join(_SPACES))


def _pointed(piece: str) -> bool:
    return bool(_plain(piece)) and not _plain(piece).strip(string.punctuation)


def _ratio(without: Sequence[float], knowing: Sequence[float]) -> float:
    """Mean over the turns of exp(loss without − loss knowing); 1 if there is no turn."""
    pairs = list(zip(without, knowing, strict=False))  # the limit may have cut a turn from one of the two
    found = [float(torch.tensor(a - b, dtype=torch.float64).exp()) for a, b in pairs]
    return sum(found) / len(found) if found else 1.0

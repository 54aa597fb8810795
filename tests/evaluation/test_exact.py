"""The offline matcher in MM-Vet's judge's place."""

import pytest

from selectmm.evaluation.exact import matched


@pytest.mark.parametrize(
    ("answer", "target", "score"),
    [
        ("Red.", "red", 1),
        ("The circle is red", "red", 1),
        ("reddish", "red", 0),
        ("It is a red circle.", "the red circle", 1),
        ("14", "14.0", 0),
        ("The sum is 3.5.", "3.5", 1),
        ("x = -1", "-1<AND>-5", 0.5),
        ("-5 and then -1", "-1<AND>-5", 1),
        ("a tomato", "apple<OR>tomato", 1),
        ("nothing", "apple<OR>tomato", 0),
        ("", "red", 0),
    ],
)
def test_whole_words_count_in_shares_of_what_is_required(answer: str, target: str, score: float) -> None:
    assert matched(answer, target) == score

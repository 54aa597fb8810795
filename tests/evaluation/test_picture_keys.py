"""Items that show the same picture get the same key, whatever column it stands in."""

from datasets import Dataset, Features, List, Value
from datasets import Image as ImageFeature

from selectmm.evaluation.picture_keys import picture_keys
from tests.evaluation.material import image

RED, BLUE = image(0, "red"), image(0, "blue")


def _docs(feature: object, pictures: list[object]) -> Dataset:
    columns = {"image": pictures, "question": ["?"] * len(pictures)}
    return Dataset.from_dict(columns, features=Features({"image": feature, "question": Value("string")}))


def test_one_picture_one_key() -> None:
    first, again, other, none = picture_keys(_docs(ImageFeature(), [RED, RED, BLUE, None]), range(4))
    assert first == again != other
    assert (len(first), none) == (16, "")


def test_lists_of_pictures_count_as_a_whole() -> None:
    docs = _docs(List(ImageFeature()), [[RED, BLUE], [RED], [RED, BLUE], []])
    both, single, again, none = picture_keys(docs, range(4))
    assert both == again != single
    assert none == ""


def test_rows_are_those_asked_for_and_text_has_no_picture() -> None:
    docs = _docs(ImageFeature(), [RED, BLUE, RED])
    assert picture_keys(docs, [2, 1])[0] == picture_keys(docs, [0])[0]
    assert picture_keys(docs.select_columns(["question"]), range(3)) == ["", "", ""]

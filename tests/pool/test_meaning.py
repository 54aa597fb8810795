"""What fields of a row do to it: answers that are context, system prompts, paths; and which pools keep their names."""

import json
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from selectmm.cache.stage import fingerprint
from selectmm.errors import UserError
from selectmm.export.subset import export_subset
from selectmm.features.feature import Features
from selectmm.features.reading import conversations_of
from selectmm.methods.from_file import FromIndices
from selectmm.methods.subset import Subset
from selectmm.pool.composition import Composition
from selectmm.pool.doctor import Limit, diagnose
from selectmm.pool.llava_json import open_llava_json
from selectmm.pool.pool import Pool
from selectmm.pool.sample import Turn
from selectmm.pool.sharegpt import open_sharegpt

Open = Callable[..., Pool]


def talk(*texts: str, image: object = "a/1.png", **more: object) -> dict[str, object]:
    said = [{"from": ("human", "gpt")[place % 2], "value": text} for place, text in enumerate(texts)]
    return {"image": image, "conversations": said, **more}


@pytest.fixture
def place(tmp_path: Path) -> Path:
    (tmp_path / "images" / "a").mkdir(parents=True)
    Image.new("RGB", (8, 6), "red").save(tmp_path / "images" / "a" / "1.png")
    return tmp_path


@pytest.fixture
def llava(place: Path) -> Open:
    def opened(rows: list[object], bad_rows: str = "stop", system: str = "stop", name: str = "rows.json") -> Pool:
        file = place / name
        file.write_text("\n".join(map(json.dumps, rows)) if name.endswith("l") else json.dumps(rows))
        return open_llava_json(str(file), str(place / "images"), bad_rows, place / "cache", system=system)

    return opened


def name_by_file(place: Path, version: int) -> str:
    """The fingerprint that a LLaVA JSON's pool has had since the first version: of the file's bytes and the images."""
    content = sha256((place / "rows.json").read_bytes()).hexdigest()
    rows = fingerprint({"reader": "llava_json", "version": version, "sha256": content})
    sizes = fingerprint({"sizes": [(place / "images" / "a" / "1.png").stat().st_size]})
    return fingerprint({"pool": rows, "images": sizes, "version": 1})


def digest_by_hand(turns: list[list[object]], source: str = "a", image: str = "a/1.png") -> str:
    """Of a row, as the first version wrote it; an answer that is context has a third entry."""
    return sha256(json.dumps([source, turns, image], ensure_ascii=False).encode()).hexdigest()[:32]


def test_of_two_faults_the_row_s_first_is_told(llava: Open) -> None:
    """Whatever Python's hashes of texts are, which differ from process to process."""
    faults = {"audio": "a sound", "rejected": "a preference", "kto_tag": "a preference", "audios": "a sound"}
    turn = {"image": "an image inside a turn", **faults}
    for fields, names in ((one, order) for one in (faults, turn) for order in ([*one], [*one][::-1])):
        row = talk("What?", "A dog.")
        (row if fields is faults else row["conversations"][0]).update(dict.fromkeys(names, "x"))
        with pytest.raises(UserError, match=rf"1 row with {turn[names[0]]} .*'{names[0]}'"):
            llava([row])
    unread = [f"field {number}" for number in range(20)]
    pool = llava([talk("What?", "A dog.", **dict.fromkeys(unread, 1))])
    assert list(pool.health.fields) == unread


@pytest.mark.parametrize(
    "field", [{"kto_tag": False}, {"kto_tag": True}, {"kto_tag": 0}, {"label": False}, {"label": True}]
)
def test_a_row_that_says_whether_its_answer_is_good_is_a_preference(field: dict[str, object], llava: Open) -> None:
    """LLaMA-Factory's and ms-swift's rows for KTO; of these only the bad answers had been read."""
    with pytest.raises(
        UserError, match=rf"1 row with a preference .* says in '{next(iter(field))}' whether its answer"
    ):
        llava([talk("What?", "A dog.", **field)])


def test_a_label_that_is_no_verdict_and_a_sound_that_is_none_are_fields_that_are_not_read(
    llava: Open, place: Path
) -> None:
    fields = [{"label": 0}, {"label": "dog"}, {"label": [0, 1]}, {"audio": False}, {"kto_tag": None}, {"label": [None]}]
    rows = [talk("<image>What?", "A dog.", **one) for one in fields]
    rows[0]["conversations"][1] |= {"train": False, "label": True, "mood": {"is": ""}}
    pool = llava(rows)
    assert pool.health.fields == {"label": 3, "train of a turn": 1, "label of a turn": 1, "audio": 1}
    assert pool.fingerprint == name_by_file(place, 1)


@pytest.mark.parametrize("mark", [{"loss": False}, {"weight": 0}, {"loss": False, "weight": 0.0}, {"loss_scale": 0}])
def test_an_answer_that_is_not_trained_on_is_context(mark: dict[str, object], llava: Open, place: Path) -> None:
    row = talk("<image>What?", "Draft.", "Sure?", "Right.")
    plain, row["conversations"][1] = llava([row]), {"from": "gpt", "value": "Draft.", **mark}
    row["conversations"][3].update(dict.fromkeys(mark, True))
    pool = llava([row])
    assert [turn.trained for turn in pool[0].turns] == [True, False, True, True]
    said = [["user", "What?"], ["assistant", "Draft."], ["user", "Sure?"], ["assistant", "Right."]]
    assert plain[0].digest == digest_by_hand(said)
    said[1].append(False)
    assert pool[0].digest == digest_by_hand(said) != plain[0].digest
    assert pool.fingerprint != name_by_file(place, 1), "earlier versions trained on it"
    assert pool.health.untrained == [0] and plain.health.untrained == []
    assert next(conversations_of(pool, "answer", [0])).turns == (Turn("assistant", "Right."),)
    assert next(conversations_of(pool, "conversation", [0])).turns == pool[0].turns


def test_only_answers_that_are_trained_on_may_not_be_empty(llava: Open) -> None:
    row = talk("<image>What?", "", "Sure?", "Right.")
    with pytest.raises(UserError, match="1 row with an empty answer"):
        llava([row])
    row["conversations"][1]["loss"] = False
    assert len(llava([row])) == 1
    row["conversations"][3]["weight"] = 0
    with pytest.raises(
        UserError, match=r"1 row with no answer to train on \(first: Row 0 of .* has no answer to train"
    ):
        llava([row])


def test_an_exported_row_keeps_what_is_context(llava: Open, place: Path) -> None:
    row = talk("<image>What?", "Draft.", "Sure?", "Right.")
    row["conversations"][1]["loss"] = False
    pool = llava([row, talk("<image>What?", "A dog.")])
    for name in ("llava", "ms_swift", "llama_factory"):
        export_subset(pool, Subset(np.arange(2)), name, place / name)
    again = open_llava_json(str(place / "llava/subset.json"), str(place / "images"), "stop", place / "cache")
    other = open_sharegpt(
        str(place / "ms_swift/subset.jsonl"), str(place / "images"), "stop", str(place / "cache"), "stop", "source"
    )
    digests = pool.table["digest"].to_pylist()
    assert again.table["digest"].to_pylist() == other.table["digest"].to_pylist() == digests
    warned = "**1 row has answers with `loss: false`** (row 0…)"
    pages = {name: (place / name / "README.md").read_text() for name in ("llava", "ms_swift", "llama_factory")}
    assert {name for name, page in pages.items() if warned in page} == {"llava", "llama_factory"}


def test_a_system_prompt_in_llava_json_is_dealt_with_as_asked(llava: Open, place: Path) -> None:
    rows = [talk("<image>What?", "A dog.", system="Be brief."), talk("<image>What?", "A dog.", system="")]
    with pytest.raises(UserError, match=r"1 row with a system prompt \(first: Row 0 of .*pool\.system=join"):
        llava(rows)
    assert len(llava(rows, "drop")) == 1
    out = llava(rows, system="leave_out")
    assert out.fingerprint == name_by_file(place, 1), "what earlier versions did without a word"
    assert out[0].turns[0].text == "What?" and out.health.system == [0]
    joined = llava(rows, system="join")
    assert joined[0].turns[0].text == "Be brief.\n\nWhat?" and joined.fingerprint != out.fingerprint
    spoken = {
        "image": "a/1.png",
        "conversations": [{"from": "system", "value": "Be brief."}, *rows[1]["conversations"]],
    }
    assert llava([spoken], system="join")[0].digest == joined[0].digest
    with pytest.raises(UserError, match=r"pool\.system=keep is not valid; choose turn, stop, join or leave_out\."):
        llava(rows, system="keep")


@pytest.mark.parametrize("system", ["turn", "stop", "join", "leave_out"])
def test_pools_without_such_fields_keep_their_names(system: str, llava: Open, place: Path) -> None:
    assert llava([talk("<image>What?", "A dog.", model="x")], system=system).fingerprint == name_by_file(place, 1)
    assert llava([talk("<image>What?", "A dog. ")], system=system).fingerprint == name_by_file(place, 2)


def test_a_system_prompt_joins_the_first_question_also_behind_an_answer_that_is_left_out(llava: Open) -> None:
    row = talk("<image>What?", "A dog.", system="Be brief.")
    row["conversations"].insert(0, {"from": "gpt", "value": "Hello"})
    assert [turn.text for turn in llava([row], system="join")[0].turns] == ["Be brief.\n\nWhat?", "A dog."]


def test_absolute_paths_into_the_image_folder_become_relative_and_name_the_source(llava: Open, place: Path) -> None:
    plain = llava([talk("<image>What?", "A dog.")])
    absolute = llava([talk("<image>What?", "A dog.", image=str(place / "images" / "a" / "1.png"))])
    assert absolute[0] == plain[0] and absolute.counts() == {"a": 1}
    (place / "link").symlink_to(place / "images")
    (place / "rows.json").write_text(json.dumps([talk("<image>What?", "A dog.", image=str(place / "images/a/1.png"))]))
    assert open_llava_json(str(place / "rows.json"), str(place / "link"), "stop", place / "cache")[0] == plain[0]
    dotted = str(place / "images" / "a" / "..")
    assert open_llava_json(str(place / "rows.json"), dotted, "stop", place / "cache")[0] == plain[0]
    with pytest.raises(UserError, match="1 row with an image path that leaves the image folder"):
        llava([talk("<image>What?", "A dog.", image="/data/images/a/1.png")])


ODD = [{}, talk("<image>What?", "A dog.", id="x"), talk("<image>What?", "A cat.", image="a/none.png", id="y")]


@pytest.mark.parametrize(("name", "first"), [("rows.json", 0), ("rows.jsonl", 1)])
def test_indices_are_places_in_the_file_and_ids(name: str, first: int, llava: Open, place: Path) -> None:
    rows = [*ODD, talk("What?", "A bird.", image=None), talk("<image>What?", "A fish.", id="z")]
    pool = llava(rows, "drop", name=name)
    export_subset(pool, Subset(np.array([0, 2, 2])), "indices", place / "out")
    unit = "line" if first else "row"
    entries = json.loads((place / "out" / "rows.json").read_text())
    assert entries == [{unit: 1 + first, "id": "x"}, *[{unit: 4 + first, "id": "z"}] * 2]
    assert [rows[entry[unit] - first]["id"] for entry in entries] == ["x", "z", "z"]

    def chosen(listed: object) -> list[int]:
        (place / "listed.json").write_text(json.dumps(listed))
        method = FromIndices(str(place / "listed.json"))
        return method.select(pool, Features({}), 1, np.random.default_rng(0)).rows.tolist()

    assert chosen(entries) == [0, 2, 2] and chosen([2, 0]) == [0, 2]
    for listed, said in (
        ([{unit: first, "id": None}], rf"lists {unit} {first}, which the pool does not have: it was made for another"),
        ([{unit: 1 + first, "id": "w"}], rf"lists {unit} {1 + first} with id 'w', which in the pool has id 'x'"),
        ([{"id": "x"}], rf"which has no whole number '{unit}'"),
        ([{unit: 10**30}], "which the pool does not have"),
    ):
        with pytest.raises(UserError, match=said):
            chosen(listed)


def test_rows_are_named_by_their_place_in_the_file_also_after_dropping(llava: Open, place: Path) -> None:
    rows = [*ODD, talk("<image>What?", " ", id=7), talk("<image>What?", "A fish.", id="z")]
    with pytest.raises(
        UserError, match=r"1 row with no turns \(first: Line 1 of .*, 1 row with an empty answer\. The full"
    ):
        llava(rows, name="rows.jsonl")
    with pytest.raises(UserError) as problem:
        llava(rows[1:], name="rows.jsonl")
    assert "missing image (first: line 2 (id 'y'), a/none.png)" in str(problem.value)
    assert "an empty answer (first: line 3 (id '7'), a/1.png)" in str(problem.value)
    listing = Path(str(problem.value).partition("The full list is in ")[2].partition(". ")[0])
    assert [json.loads(line) for line in listing.read_text().splitlines()] == [
        {"line": 2, "id": "y", "image": "a/none.png", "reason": "a missing image"},
        {"line": 3, "id": "7", "image": "a/1.png", "reason": "an empty answer"},
    ]
    pool = llava(rows, "drop", name="rows.jsonl")
    assert [pool.named(row) for row in range(len(pool))] == ["line 2 (id 'x')", "line 5 (id 'z')"]
    assert pool.health.reasons == {"no turns": 1, "a missing image": 1, "an empty answer": 1}


def test_a_pool_of_which_no_row_can_be_read_is_told_in_any_case(llava: Open) -> None:
    with pytest.raises(
        UserError, match=r"^No row of the pool can be used: it has 2 rows with no turns \(first: Row 0 of"
    ):
        llava([{}, {}], "drop")
    assert len(llava([{}, {}], "keep")) == 0


def test_the_doctor_shows_each_reason_with_examples_and_fields_that_are_not_read(llava: Open, place: Path) -> None:
    rows = [talk("<image>What?", "A dog.", model="x", tools=[1], id=n) for n in range(5)]
    rows += [talk("<image>What?", "A dog.", model="x", id=9)]
    rows[5]["conversations"][1]["mood"] = "glad"
    pool = llava(rows, "keep")
    found = {finding.name: finding for finding in diagnose(pool, None, Limit(), "stop")}
    tools = found["cannot be read: tools that are no objects"]
    assert (tools.count, tools.of, tools.weight, len(tools.examples)) == (5, 6, "blocks", 3)
    assert tools.examples[1].startswith(f"Row 1 of {place / 'rows.json'} (id 1) has a tool or a call in tools")
    assert set(found["field that is not read"].examples) == {"model (1)", "mood of a turn (1)"}
    assert diagnose(pool, None, Limit(), "drop")[0].weight == "look"
    assert diagnose(llava([{}], "keep"), Composition(3, {"a": {"b": 3}}, []), Limit(), "stop")[0].count == 1

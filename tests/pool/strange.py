"""Rows of which is known what becomes of them: bad ones by their reason, and good ones in other words."""

JsonRow = dict[str, object]

ASKED, SAID = {"role": "user", "content": "<image>What?"}, {"role": "assistant", "content": "A dog."}
PICTURE = {"images": ["a/1.png"]}
BAD: dict[str, list[object]] = {
    "a sound": [{"messages": [ASKED, SAID], "audios": ["a.wav"], **PICTURE}],
    "tools that are no JSON": [{"messages": [ASKED, SAID], "tools": '[{"name": "f"]', **PICTURE}],
    "tools that are no objects": [
        {"messages": [ASKED, SAID], "tools": [7], **PICTURE},
        {"messages": [ASKED, {"role": "function_call", "content": "7"}], **PICTURE},
    ],
    "a call without a name": [{"messages": [ASKED, {**SAID, "tool_calls": [{"id": "f"}]}], **PICTURE}],
    "a call without arguments": [
        {"messages": [ASKED, {**SAID, "tool_calls": [{"name": "f", "arguments": "7"}]}], **PICTURE}
    ],
    "a preference": [
        {"messages": [ASKED, SAID], "rejected_response": "A cat.", **PICTURE},
        {"messages": [ASKED], "chosen": SAID, "rejected": SAID, **PICTURE},
        {"messages": [ASKED, SAID], "kto_tag": False, **PICTURE},
        {"messages": [ASKED, {**SAID, "kto_tag": False}], **PICTURE},
        {"messages": [ASKED, SAID], "label": False, **PICTURE},
    ],
    "objects": [
        {"messages": [ASKED, {**SAID, "content": "<bbox>"}], "objects": {"bbox": [[8, 8, 50, 40]]}, **PICTURE}
    ],
    "more or fewer <image> than images": [
        {"messages": [ASKED, SAID], "images": ["a/1.png", "a/2.png"]},
        {"messages": [{**ASKED, "content": "<image><image><image>"}, SAID], "images": ["a/1.png", "a/2.png"]},
        {"messages": [{**ASKED, "content": "<image><image>"}, SAID], "videos": ["v/1.mp4"]},
        {"messages": [{**ASKED, "content": "<image><video>"}, SAID], "video": "v/1.mp4"},
    ],
    "too many images": [{"messages": [ASKED, SAID], "images": ["a/1.png"] * 1000}],
    "an image inside a turn": [{"messages": [{**ASKED, "images": ["a/1.png"]}, SAID]}],
    "a clip that is an object": [{"messages": [ASKED, SAID], "videos": [{"path": "v/1.mp4"}]}],
    "an image that is an object": [{"messages": [ASKED, SAID], "images": [{"path": "a/1.png"}]}],
    "an image that is no path": [
        {"messages": [ASKED, SAID], "images": [7]}, {"messages": [ASKED, SAID], "image": True}
    ],
    "an image inside the row": [{"messages": [ASKED, SAID], "image": "data:image/png;base64," + "A" * 90_000}],
    "an image address": [{"messages": [ASKED, SAID], "image": "https://example.org/1.png"}],
    "an image path with a NUL": [{"messages": [ASKED, SAID], "image": "a/\x001.png"}],
    "an over-long image path": [{"messages": [ASKED, SAID], "image": f"a/{'é' * 128}.png"}],
    "an image path that leaves the image folder": [
        {"messages": [ASKED, SAID], "image": "../a/1.png"}, {"messages": [ASKED, SAID], "image": "/etc/hostname"}
    ],
    "a part of another shape": [{"messages": [{"role": "user", "content": [{"text": "What?"}]}, SAID]}],
    "a part of an unknown type": [{"messages": [{"role": "user", "content": [{"type": "file"}]}, SAID]}],
    "an image part without a path": [{"messages": [{"role": "user", "content": [{"type": "image"}]}, SAID]}],
    "a turn without text": [{"messages": [ASKED, {**SAID, "content": False}], **PICTURE}],
    "a turn without a role": [{"messages": [ASKED, {"content": "A dog."}], **PICTURE}],
    "a role that is no word": [{"messages": [ASKED, {**SAID, "role": ["assistant"]}], **PICTURE}],
    "an unknown role": [{"messages": [ASKED, {**SAID, "role": "parrot"}], **PICTURE}],
    "a turn of another shape": [{"messages": [ASKED, "A dog."], **PICTURE}],
    "turns that are no list": [{"messages": {"role": "user"}, **PICTURE}],
    "turns that do not alternate": [
        {"messages": [ASKED, ASKED, SAID], **PICTURE}, {"messages": [ASKED], **PICTURE},
        {"messages": [ASKED, {"role": "tool", "content": "3"}, SAID], **PICTURE},
    ],
    "no turns": [{"messages": None, **PICTURE}, {"text": "What?"}],
    "a system prompt": [
        {"messages": [ASKED, SAID], "system": "Be brief.", **PICTURE},
        {"messages": [{"role": "system", "content": "Be brief."}, ASKED, SAID], **PICTURE},
    ],
    "a system prompt that is no text": [{"messages": [ASKED, SAID], "system": {"any": 1}, **PICTURE}],
    "a system turn that is not the first": [
        {"messages": [ASKED, SAID, {"role": "system", "content": "Be brief."}], **PICTURE}
    ],
    "a weight that is neither 0 nor 1": [
        {"messages": [ASKED, {**SAID, "weight": 0.5}], **PICTURE},
        {"messages": [ASKED, {**SAID, "loss": "no"}], **PICTURE},
    ],
    "no answer to train on": [{"messages": [ASKED, {**SAID, "loss": False}], **PICTURE}],
    "fields that contradict each other": [
        {"messages": [ASKED, SAID], "image": "a/1.png", "images": ["a/2.png"]},
        {"messages": [ASKED, SAID], "conversations": [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": ""}]},
        {"messages": [ASKED, {**SAID, "loss": False, "weight": 1}], **PICTURE},
    ],
    "half a character": [
        {"messages": [ASKED, {**SAID, "content": "\ud800"}], **PICTURE}, {"messages": [ASKED, SAID], "id": "\udc80"}
    ],
    "a source that is no name": [
        {"messages": [ASKED, SAID], "source": ["a"], **PICTURE}, {"messages": [ASKED, SAID], "source": "a" * 5000}
    ],
    "another shape": [None, 7, "row", [ASKED, SAID]],
}  # fmt: skip
GOOD: list[JsonRow] = [  # the same row in other words; what is there and says nothing is not there
    {"messages": [ASKED, SAID], "images": ["a/1.png"]},
    {"messages": [ASKED, SAID], "image": "a/1.png", "images": None},
    {"messages": [ASKED, SAID], "image": "a/1.png", "images": []},
    {"messages": [ASKED, SAID], "image": "", "images": ["a/1.png"]},
    {"messages": [ASKED, SAID], "image": "a/1.png", "images": ["a/1.png"]},
    {
        "messages": [ASKED, SAID],
        "image": float("nan"),
        "images": ["a/1.png"],
        "system": "",
        "videos": [],
        "tools": None,
    },
    {"conversations": [{"from": "human", "value": "<image>What?"}, {"from": "gpt", "value": "A dog."}], "messages": []}
    | PICTURE,
    {"messages": [ASKED, {**SAID, "loss": True, "weight": 1, "tool_calls": None}], "objects": {"bbox": []}} | PICTURE,
    {"messages": [ASKED, SAID], "id": 10**4500 // 10**4400, "objects": {"bbox": [[1, 2, 3, 4]]}} | PICTURE,
    {"messages": [ASKED, SAID], "id": {"any": [1]}, "source": None, "model": "", "width": 7} | PICTURE,
]

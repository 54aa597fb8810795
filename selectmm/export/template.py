"""The prompt that a model was trained with, as a chat template (Jinja) that transformers and lmms-eval apply."""

import json
from typing import cast

from transformers import PreTrainedTokenizerBase

from selectmm.models.render import render
from selectmm.models.vlm import VLM, Template
from selectmm.pool.sample import Turn

JINJA = """\
{{%- macro said(content) %}}
{{%- if content is string %}}{{{{ content }}}}
{{%- else %}}{{%- for part in content %}}
{{%- if part['type'] == 'text' %}}{{{{ part['text'] }}}}{video}{{%- else %}}{{{{ {image} }}}}{{%- endif %}}
{{%- endfor %}}{{%- endif %}}{{%- endmacro %}}
{{%- if messages[0]['role'] != 'system' %}}{{{{ {start} }}}}
{{%- elif {system_prefix} %}}{{{{ {system_prefix} + said(messages[0]['content']) + {user_suffix} }}}}
{{%- elif said(messages[0]['content']) in {start} %}}{{{{ {start} }}}}
{{%- else %}}{{{{ raise_exception('This model was trained with one system prompt, or none, and knows no other.') }}}}
{{%- endif %}}
{{%- for message in messages %}}
{{%- if message['role'] == 'user' %}}{{{{ {user_prefix} + said(message['content']) + {user_suffix} }}}}
{{%- elif message['role'] == 'assistant' %}}
{{{{- {assistant_prefix} + said(message['content']) + {assistant_suffix} }}}}
{{%- endif %}}
{{%- endfor %}}{{%- if add_generation_prompt %}}{{{{ {opening} }}}}{{%- endif %}}"""


def chat_template(vlm: VLM) -> str | None:
    """The Jinja text, or None if the base's own template already writes what the model was trained with."""
    start = _plain_start(vlm.family.template, vlm.processor.tokenizer)
    return None if _own(vlm) in {start, vlm.family.template.start} else jinja_of(vlm.family.template, start)


def jinja_of(template: Template, start: str) -> str:
    """A template that writes what `selectmm.models.encode.render` writes, but for another start.

    A message's content is a text, or a list of parts whose images stand where they are in it. A first system message
    takes the place of the start in ChatML; elsewhere it has to be the one of training.
    """
    system = template.system[0] if template.system else ""
    return JINJA.format(
        start=json.dumps(start),
        system_prefix=json.dumps(system),
        image=json.dumps(template.image),
        video=f"{{%- elif part['type'] == 'video' %}}{{{{ {json.dumps(template.video)} }}}}" if template.video else "",
        user_prefix=json.dumps(template.user_prefix),
        user_suffix=json.dumps(template.user_suffix),
        assistant_prefix=json.dumps(template.assistant_prefix),
        assistant_suffix=json.dumps(template.assistant_suffix),
        opening=json.dumps(template.assistant_prefix.rstrip(" ")),
    )


def _plain_start(template: Template, tokenizer: PreTrainedTokenizerBase) -> str:
    """Without the beginning-of-text token, where the tokenizer puts one in front of every text by itself."""
    bos = tokenizer.bos_token
    if bos and tokenizer("a")["input_ids"][0] == tokenizer.bos_token_id:
        return template.start.removeprefix(bos)
    return template.start


def _own(vlm: VLM) -> str | None:
    """What stands in front of a conversation in the base's own template; None if the rest differs from ours, too.

    Wrappers of lmms-eval's give it plain texts as well as lists of parts.
    """
    turns = (Turn("user", "one"), Turn("assistant", "two"), Turn("user", "three"))
    said = [{"role": turn.role, "content": [{"type": "text", "text": turn.text}]} for turn in turns]
    cast(list, said[0]["content"]).insert(0, {"type": "image"})
    try:
        text = vlm.processor.apply_chat_template(said, add_generation_prompt=True, tokenize=False)
        plain = [{"role": turn.role, "content": turn.text} for turn in turns]
        words = vlm.processor.tokenizer.apply_chat_template(
            plain, chat_template=vlm.processor.chat_template, add_generation_prompt=True, tokenize=False
        )
    except Exception:  # it has no template, or one of a language model alone, which may fail in any way on parts
        return None
    shown, ours = (render(vlm.family.template, turns, n)[0].removeprefix(vlm.family.template.start) for n in (1, 0))
    return text.removesuffix(shown) if text.endswith(shown) and words.endswith(ours) else None

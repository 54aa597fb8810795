"""Let transformers read a ``tokenizer.model`` beside a protobuf that sentencepiece's own description is too new for.

sentencepiece 0.2.3 brings code that was generated for protobuf 7, which wandb excludes. Importing it fails,
transformers then takes the file for tiktoken's, and Vicuna, whose only tokenizer file this is, cannot be opened.
transformers has the same description for older protobufs.
"""

import importlib
import sys

NAME = "sentencepiece.sentencepiece_model_pb2"


def lend_description() -> None:
    """Put transformers' description where it looks for sentencepiece's, if that cannot be imported."""
    try:
        importlib.import_module(NAME)
    except ModuleNotFoundError:
        return  # no sentencepiece, or no protobuf; transformers says so
    except Exception:  # protobuf's VersionError, which it raises from a place of its own
        ours = importlib.import_module("transformers.utils.sentencepiece_model_pb2_new")
        sys.modules[NAME] = ours
        sys.modules["sentencepiece"].sentencepiece_model_pb2 = ours  # type: ignore[attr-defined]  # the module that the package lacks

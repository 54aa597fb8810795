"""Build LLaVA as it is before its second training stage: language model, CLIP tower, trained projector.

LLaVA-1.5's own recipe starts from --language lmsys/vicuna-7b-v1.5 --tower openai/clip-vit-large-patch14-336
--projector mm_projector.bin, the last from liuhaotian/llava-v1.5-mlp2x-336px-pretrain-vicuna-7b-v1.5. Then run with
model=llava15_7b_stage1 model.path=FOLDER. All parts are in main memory while the model is built.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from selectmm.export.folder import new_folder
from selectmm.models.assemble import assemble
from selectmm.screen import answer


def main(arguments: Sequence[str]) -> None:
    """Write a Hugging Face folder.

    Raises:
        UserError: the folder is not empty or cannot be written, or a part is missing or does not fit.
    """
    asked = _parser().parse_args(arguments)
    with new_folder(asked.to) as folder:
        assemble(asked.language, asked.tower, asked.projector, folder)
    print(f"Model   {asked.to}")
    answer({"model": asked.to})


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("selectmm assemble", description=__doc__)
    part = "a local folder, or owner/name[@revision] of the hub"
    parser.add_argument("--language", required=True, metavar="FOLDER_OR_ID", help=f"language model: {part}")
    parser.add_argument("--tower", required=True, metavar="FOLDER_OR_ID", help=f"CLIP: {part}")
    parser.add_argument(
        "--projector", required=True, type=Path, metavar="FILE", help="mm_projector.bin or .safetensors"
    )
    parser.add_argument("--to", required=True, type=Path, metavar="FOLDER", help="a new or empty folder")
    return parser

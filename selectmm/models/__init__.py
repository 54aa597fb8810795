"""Vision-language models: one file per family, one way to turn conversations into tensors."""

import os

import torch
from transformers.utils import logging

from selectmm.models import torchvision_ops  # noqa: F401  (before anything imports torchvision)

if not torch.cuda.is_available():
    os.environ.setdefault("DS_ACCELERATOR", "cpu")  # otherwise DeepSpeed warns, on every import, that it looked for one
logging.disable_progress_bar()  # bars over weight files, between ours

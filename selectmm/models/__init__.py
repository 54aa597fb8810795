"""Vision-language models: one file per family, one way to turn conversations into tensors."""

from selectmm.models import torchvision_ops  # noqa: F401  (before anything imports torchvision)

"""The embedded default: a model, a pool and eleven mini-benchmarks out of pip packages; see README.md beside this."""

from selectmm.models import torchvision_ops  # noqa: F401  (before anything here imports torchvision)

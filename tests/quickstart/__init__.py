import selectmm.models  # noqa: F401  (lets torchvision import, before timm wants it)

"""Let torchvision import beside a torch build that its compiled operators were not made for.

The torchvision wheel on PyPI is linked against CUDA torch. Beside a CPU torch its C++ library does not load, and
torchvision then fails at import because two operator schemas are missing, and with it every image processor of
transformers. Declaring the two schemas is enough: the transforms that we use are plain torch. The operators
themselves stay absent, and calling one raises.
"""

import torch


def _declare_missing_operators() -> torch.library.Library | None:
    try:
        import torchvision
    except RuntimeError as problem:
        if "torchvision::nms" not in str(problem):
            raise
        library = torch.library.Library("torchvision", "DEF")
        library.define("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        library.define("qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        import torchvision  # noqa: F401

        return library
    return None


_library = _declare_missing_operators()  # a Library's operators live only as long as it does

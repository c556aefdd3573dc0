"""Lets torchvision be imported beside a torch without CUDA.

PyPI's torchvision for Linux is built against CUDA. Beside a CPU-only torch its compiled operators don't load, and
`import torchvision` dies with "operator torchvision::nms does not exist", although its Python half would work. Declaring the
two operators that it looks up on import is enough for that half.
"""

import torch


def import_torchvision():
    """The torchvision module. Call it before importing anything that imports torchvision by itself, such as diffusers."""
    try:
        import torchvision
    except RuntimeError as error:
        if "torchvision::nms" not in str(error):
            raise
        library = torch.library.Library("torchvision", "DEF")
        library.define("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        library.define("qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        import_torchvision.library = library  # the declarations live as long as this object
        import torchvision
    return torchvision

"""Fine-tune a model on a multiset of rows; training knows nothing of methods.

`recipe` says what is learned and how it is spread; `finetune` runs it, `adapter` opens what it wrote. Behind them:
`targets` (where LoRA sits), `full` (weights that are themselves trained), `unchanged` (a lent model comes back),
`plan` (which rows at which step), `data` (rows to tensors), `module` (loss and optimiser), `callback` (what is written
while it runs), `checkpoint`, `fit` (one process of a run), `memory` (when it runs out), `strategy`, and for several
processes `job`, `spawn`, `worker` and `operators`. The README shows recipes and strategies.
"""

from selectmm.models import torchvision_ops  # noqa: F401  (before Lightning imports torchvision)

"""Fine-tune a model on a multiset of rows; training knows nothing of methods.

`recipe` says what is learned and how it is spread; `finetune` is the door, `adapter` opens what it wrote. Behind them:
`targets` (where LoRA sits), `whole` (weights that are themselves trained), `unchanged` (a lent model comes back),
`plan` (which rows at which step), `data` (rows to tensors), `module` (loss and optimiser), `keeper` (what is written
while it runs), `checkpoint`, `fit` (one process of a run), `memory` (when it runs out), `strategy`, and for several
processes `job`, `spawn`, `rank`, `worker` and `operators`. The README shows recipes and strategies.
"""

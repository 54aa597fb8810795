"""selectmm: compare data-selection methods for fine-tuning vision-language models.

Start reading at `selectmm.run.run`, which goes from the pool to the record. The parts, in the order of the data flow:

    pool        rows, read from files and checked before training
    features    what methods need to know about the rows, computed once and shared
    methods     one file per selection method; each returns a subset
    models      LLaVA, LLaVA-OneVision, Qwen-VL, InternVL: templates, tensors, forward passes
    tuning      recipes, LoRA and full fine-tuning with PyTorch Lightning, DDP and DeepSpeed
    evaluation  benchmarks, run by lmms-eval and lm-eval
    records     costs, cached stages, the run record, W&B
    report      tables, plots, leaderboard
    export      tuned models and subsets for other people's tools
    quickstart  the embedded model, pool and benchmarks
"""

__version__ = "0.1.0"

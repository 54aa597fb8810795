"""selectmm: compare data-selection methods for vision-language models on one line.

Follow `selectmm.run.run` from the pool to the record. The parts, in the order in which data flows:

    pool        rows, read from LLaVA JSON and looked at before anything long starts
    features    what methods need to know of the rows, computed once and shared
    methods     one file per selection method; a subset file is what comes out
    models      LLaVA, Qwen2-VL: templates, tensors, forward passes
    tuning      the recipe, LoRA under PyTorch Lightning, DDP and DeepSpeed
    evaluation  lmms-eval and lm-eval, each known to one file
    records     the cost clock, stages, the run record, W&B
    report      tables and the time-versus-score picture
    export      tuned models and subsets for other people's tools
    quickstart  the embedded model, pool and benchmarks
"""

__version__ = "0.1.0"

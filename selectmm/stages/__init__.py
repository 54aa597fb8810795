"""The five stages of a run, one file each, in this order: pool, select, finetune, evaluate, record."""

"""The five stages of a run, in this order: pool, select, finetune, evaluate, record.

One file each; schedule.py joins the second and the third.
"""

"""What is publicly known of models, pools and benchmarks, so that a plan needs none of them on this machine.

Every entry names where it can be looked up; what is an assumption of ours says so in ``assumed``. Shapes and numbers of
items were written down from memory and not compared with those sources, except for the totals that the tests compare.
"""

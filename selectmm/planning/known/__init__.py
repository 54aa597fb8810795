"""What is publicly known of models, pools and benchmarks, so that a plan needs none of them on this machine.

Every entry names where it is from; what is an assumption of ours says so in ``assumed``.
"""

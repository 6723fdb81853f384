"""Our own experiments on questions that no paper answers, one file for each.

one_synapse.py is a part of plasticity.py.
"""

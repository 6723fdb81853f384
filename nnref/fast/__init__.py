"""Faster twins of what the rest of nnref spells out. Skip it when reading; without it all works.

    memory.py    arrays from memory that earlier arrays have left behind
    threads.py   work shared out among the cores, with BLAS held to one thread each
    cpu.py       the twins for NumPy

A method marked @accelerated (backend.py) is replaced by its twin, unless NNREF_FAST=0.
"""

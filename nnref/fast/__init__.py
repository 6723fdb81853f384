"""Faster twins of methods in the rest of nnref. Skip it when reading; all works without it.

    memory.py    large arrays in memory that earlier arrays used
    threads.py   work divided among the cores, with BLAS limited to one thread on each
    pieces.py    work on large arrays piece by piece
    conv.py, few.py, winograd.py, local.py    convolutions, locally connected layers
    norm.py, pool.py, steps.py        BatchNorm, max pooling, the optimizers
    cpu.py       the table of twins for NumPy, and those of Linear, ReLU and small things
    gpu.py, kernels.cu                the table of twins for CuPy, and its kernels

A method marked @accelerated (backend.py) is replaced by its twin, unless NNREF_FAST=0.
"""

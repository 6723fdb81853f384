"""nnref: an educational reference for learning with a swappable feedback matrix.

Where to start reading: feedback.py, layers/linear.py, layers/activations.py, patches.py and
layers/conv.py, in this order. What lies where, from the bottom up (imports run downward only):

    backend, errors, files    NumPy or CuPy; the one exception for bad input; reading and writing
    init, patches, feedback   random numbers; images as rows; the rules: which B?
    layers/                   forward and backward of every layer, and containers for them
    losses, optim, models     the other parts of a network that learns, and a zoo of networks
    fast/                     faster twins of slow functions: skip it when reading
    data/                     data sets, from files to batches
    measure, train            angles and sizes to look at; the training loop
    rules/                    all rules by name; B that learns, errors that take another way
    plots/                    all figures
    questions/                mechanisms for open questions: Dale's law, late errors, and others
    parallel/                 many trainings side by side, one training on many processes
    runs/                     training in a folder that survives a kill, with a report
    tools/                    the demo, self-tests, gradient checks, the benchmark
    experiments/              replications of papers and experiments of our own
    commands/, cli, __main__  the command line: python -m nnref
"""

__version__ = "0.1.0"

"""Rules beyond feedback.py, and the table of all of them (known.py).

mirror.py                      B that learns
direct.py                      the error of the outputs straight to every layer
inverse.py, targets.py         targets in place of errors; alternating.py trains them in turns
microcircuit.py                dendrites and interneurons; microcircuit_ode.py: the same in time
own.py                         a reader's own rule, from a file
"""

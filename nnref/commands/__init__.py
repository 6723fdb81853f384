"""The commands of `python -m nnref`, a file each.

add_options(command)    adds the options of the command to its argparse parser
EXAMPLES                for its --help: arguments -> what for
run(options)            carries it out; returns the exit status
"""

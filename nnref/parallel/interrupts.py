"""Let Ctrl-C wait for a while, where nothing could answer it."""

import contextlib
import signal


@contextlib.contextmanager
def interrupts_waiting():
    """Hold Ctrl-C back inside this context.

    A process started inside holds it back, too, until it calls `let_interrupts_wait(False)`.
    """
    let_interrupts_wait(True)
    try:
        yield
    finally:
        let_interrupts_wait(False)


def let_interrupts_wait(whether: bool):
    """Let Ctrl-C wait from now on, or take effect; on Windows it always takes effect."""
    if hasattr(signal, "pthread_sigmask"):
        how = signal.SIG_BLOCK if whether else signal.SIG_UNBLOCK
        signal.pthread_sigmask(how, {signal.SIGINT})

"""Ctrl-C and SIGTERM end a command the same way: in good order."""

import signal


def end_in_good_order() -> None:
    """Let both signals raise KeyboardInterrupt (on an event loop: cancel the main task), wherever we were started.

    A shell without job control starts what it puts in the background with SIGINT ignored, and that is inherited.
    """
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))

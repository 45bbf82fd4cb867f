"""For all tests."""

import signal

from hypothesis import HealthCheck, settings

# The same examples in every run, so that a failure can be repeated; how long one takes says nothing on a busy machine.
settings.register_profile("repeatable", derandomize=True, database=None, deadline=None, suppress_health_check=list(HealthCheck),
                          print_blob=False)
settings.load_profile("repeatable")

# A shell starts background jobs with SIGINT ignored, and children inherit that: the tests of Ctrl-C need the usual handler.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

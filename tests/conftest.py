"""What every test starts from."""

import signal

from tests.postgres import postgres  # noqa: F401  a fixture

# A job in the background of a shell starts with Ctrl-C ignored; the tests of Ctrl-C need it as on a terminal.
signal.signal(signal.SIGINT, signal.default_int_handler)

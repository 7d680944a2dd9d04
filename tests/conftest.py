"""What every test starts from."""

import signal

# A job in the background of a shell starts with Ctrl-C ignored; the tests of Ctrl-C need it as on a terminal.
signal.signal(signal.SIGINT, signal.default_int_handler)

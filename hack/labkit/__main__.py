import signal
import sys

from labkit.cli import main

before = signal.getsignal(signal.SIGINT)
code = main(sys.argv[1:])
# there is nothing left that an interruption could break off
signal.signal(signal.SIGINT, before)
sys.exit(code)

"""The world as plain frozen values, and the steps that may change it. No I/O, no clock, no chance.

Sizes are bytes, spans are seconds (float), moments of the operator's or agent's monotonic clock
are called `..._at` and are floats; only what people read carries wall time (datetime, UTC).
"""

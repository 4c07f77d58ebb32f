"""The operator as a process: what it remembers, its queue, its executor, its monitors.

Nothing here talks to the outside but through `ports`, so the simulator runs it as it is.
"""

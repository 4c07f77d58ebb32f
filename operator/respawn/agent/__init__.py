"""The host's side as processes: the agent carries placements out and guards starts.

Nothing here talks to the outside but through `ports`, so the simulator runs it as it is.
"""

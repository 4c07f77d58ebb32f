"""What a host's agent decides: carry out placements, guard starts, pause, rejoin. Pure as well."""

"""Other simulators and ours on the same sessions."""

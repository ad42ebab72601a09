"""The digital twin: a true site, advanced in simulated time, seen through simulated instruments."""

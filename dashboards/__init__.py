"""EdgeManager, the web interface: its own process, which knows the HTTP contract and nothing else.

`python -m dashboards` serves it; the environment variable `EDGE_API` says where the controller answers.
"""

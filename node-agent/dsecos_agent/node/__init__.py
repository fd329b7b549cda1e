"""This node: what it has, what it holds, what its Node object says."""

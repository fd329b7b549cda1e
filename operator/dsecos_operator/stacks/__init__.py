"""Stack: rendered, placed, and turned into a Guest on its node.

The way of a Stack: observe (cache) -> license -> render -> assign (node, address) -> desired Guest -> plan ->
act -> status. A step that says no ends the way there; what was deployed before stays as it was.
"""

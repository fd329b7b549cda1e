"""The operator's tests. A package of its own name: pytest would else name it after the folder `operator`,
and put that in the place of the standard library's module.
"""

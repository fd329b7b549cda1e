"""The node's own firewall and uplinks, changed as one transaction that undoes itself.

Pure are `model` (what is wanted), `check` (what is refused before it is tried) and `render` (its text).
The uplinks are a package beside this one. `undo` is a process of its own. `keeper` puts them together;
`controller` obeys the HostPolicy.
"""

"""The node's own firewall: one nftables table, changed as a transaction that undoes itself.

Pure are `model` (what is wanted), `check` (what is refused before it is tried) and `render` (its text).
`undo` is a process of its own. `keeper` puts them together; `controller` obeys the HostPolicy.
"""

"""The host's own uplinks: MTU, addresses and default routes, as far as the HostPolicy names them.

Pure are `model` (what there is), `check` (what is refused before it is tried) and `plan` (what ip(8) is
told). `kernel` looks and acts, `watch` hears of changes. The transaction is the one of `hostfirewall`.
"""

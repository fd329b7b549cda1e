"""The firewall: two nftables tables of our own, rendered as a whole and replaced as a whole. `model` is its
input.
"""

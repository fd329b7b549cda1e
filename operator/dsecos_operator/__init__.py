"""Turns Stacks into Guests on Nodes."""

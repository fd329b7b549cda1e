"""NetworkZone: judged, and attached to each node that has guests of it."""

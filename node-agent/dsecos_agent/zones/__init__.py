"""ZoneAttachments: one zone's presence on this node."""

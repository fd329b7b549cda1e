"""Names of a zone's guests: a name server at each zone's gateway."""

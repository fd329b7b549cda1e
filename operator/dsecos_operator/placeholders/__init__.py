"""Kinds whose controller comes later: they say so."""

"""Guests: observe, plan, act; one controller."""

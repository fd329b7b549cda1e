"""What a machine lacks and how to get it: `probe` looks, `judge` decides (pure), the verb shows."""

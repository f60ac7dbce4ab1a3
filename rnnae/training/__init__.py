"""A run: its schedule, its steps, its milestones, and several seeds of it."""

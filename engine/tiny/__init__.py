"""The small RL loop that records the bundled sample."""

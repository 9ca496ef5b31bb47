"""The real world: what generates rollouts and records them. Needs torch; the simulator does not."""

"""What to draft. One file a drafter; each replays whole rollouts and drafts live, identically."""

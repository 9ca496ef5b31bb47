"""From a trace to what to turn on, with what it rests on and when it would be wrong."""

"""The same calls, run now, in this process: nothing is stored."""

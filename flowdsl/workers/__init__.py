"""Workers: they poll, do what the task asks, and respond. `decider` decides, `activities` runs functions."""

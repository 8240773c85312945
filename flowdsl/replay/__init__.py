"""Events in, decisions out: the same history always gives the same decisions and the same values."""

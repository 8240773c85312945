"""What a user writes: decorators, options, promises and the functions that workflow code may call."""

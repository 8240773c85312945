"""The command line's commands, one module per subject; `cli` registers them."""

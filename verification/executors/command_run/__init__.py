"""`command.run`: runs a command the operator listed, in a process of its own, within limits."""

"""``doctor``: is this installation, and this machine, fit for the work; and what mends it."""

"""Every number that the documentation claims, by a command."""

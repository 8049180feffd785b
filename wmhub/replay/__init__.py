"""Replays traces of both schedulers without TVM: actions and nests, for many candidates at once."""

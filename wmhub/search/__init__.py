"""Search: a checkpoint inside TVM, as cost model or as search strategy, and `tune`."""

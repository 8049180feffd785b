"""Workload zoo, candidate sampling, the fast builder and runner, the collect loop."""

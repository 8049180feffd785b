"""Datasets: a folder of Parquet files that a manifest describes, sorted, and split by workload."""

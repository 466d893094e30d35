"""What DuckDB adds to the desk: years of history as Parquet, and indicators computed from them."""

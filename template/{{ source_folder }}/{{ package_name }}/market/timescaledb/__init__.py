"""What TimescaleDB adds to the desk: hypertables, and candles of every level."""

"""What the recovery of the data layer adds to the desk: one chapter of its story."""
